"""Whoever replays the audit topic finds what the notary does not say, and names who is to be asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

from broker.audit.fsck import Fsck
from broker.audit.notary import AuditRecord, Notary, Place, decode_audit_record, entry_of
from broker.audit.record import Chain, Kind, Step, decode_record
from broker.names import AgencyId, CaseRef, Digest
from broker.seal.acceptance import Statement, decode_statement
from broker.seal.envelope import decode_slice
from broker.stream.topics import AUDIT, NOTARY, RECORDS
from broker.tlog.checkpoint import Checkpoint, parse_checkpoint
from broker.tlog.compare import Comparison
from broker.tlog.served import served
from tests.story.small_exchange import HOME, HUB, World, world
from tests.story.test_notary import everything, log_of, said


def topic(folder: Path) -> tuple[World, list[bytes]]:
    """What the notary wrote of an ordinary day."""

    async def run() -> tuple[World, list[bytes]]:
        async with world(folder) as made:
            await said(made)
            stream, log = await made.exchange.open_stream(NOTARY), log_of(made, folder)
            log.publish((await Notary(stream, log).settle())[-1])
            written = [stored.message.value for stored in await everything(stream, AUDIT)]
            log.close()
            await stream.close()
            return made, written

    return asyncio.run(run())


def reasons(made: World, messages: list[bytes]) -> set[str]:
    """What a replay of these messages says."""
    fsck = Fsck(made.adapter(HOME).ground)
    for message in messages:
        fsck.take(message)
    return {verdict.reason for verdict in fsck.finish()}


def differences(messages: list[bytes], log: Path, checkpoint: Checkpoint) -> set[str]:
    """What a comparison of these messages with a log says."""
    compared = Comparison(checkpoint, served(str(log)).read)
    for message in messages:
        compared.take(entry_of(message))
    return {difference.reason for difference in compared.finish()}


def of_kind(messages: list[bytes], kind: Kind, *, root: bytes | None = None) -> int:
    """The index of the first record of a kind; about this envelope, where one is named."""
    for index, message in enumerate(messages):
        record = decode_audit_record(message)
        if record.kind == 1 and decode_record(record.body)[0].kind == kind and root in (None, root_of(message)):
            return index
    raise AssertionError(kind)


def root_of(message: bytes) -> bytes:
    """The envelope that a record is about."""
    return decode_record(decode_audit_record(message).body)[0].root


def test_each_lie_is_told_in_words(tmp_path: Path) -> None:
    """An ordinary day is clean; dropped, altered, twice, late, withheld and unrecorded each have their own verdict."""
    made, good = topic(tmp_path)
    log = tmp_path / "log"
    checkpoint = parse_checkpoint(served(str(log)).checkpoint().text)
    assert (reasons(made, good), differences(good, log, checkpoint)) == (set(), set())
    assert reasons(made, [*good, good[of_kind(good, Kind.ACCEPTED)]]) == set()

    opened = of_kind(good, Kind.OPENED)
    accepted = of_kind(good, Kind.ACCEPTED, root=root_of(good[opened]))
    dropped = [*good[:accepted], *good[accepted + 1 :]]
    assert reasons(made, dropped) == {
        "records of the author are missing before this one: 1",
        "delivered, but no acceptance of it is recorded",
    }
    assert "messages of the checkpoint are withheld" in differences(dropped, log, checkpoint)

    record = decode_audit_record(good[opened])
    broken = record._replace(body=record.body[:-1] + bytes((record.body[-1] ^ 1,))).encode()
    altered = [*good[:opened], broken, *good[opened + 1 :]]
    assert "the signature does not verify" in reasons(made, altered)
    assert "the checkpoint is of another tree than the topic gives" in differences(altered, log, checkpoint)
    for path in sorted((log / "tile").rglob("*")):
        if path.is_file():
            whole = path.read_bytes()
            path.write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
            (found,) = differences(good, log, checkpoint)
            assert found.endswith("with other contents than the topic gives")
            path.write_bytes(whole)

    later = [_later(message) for message in good]
    assert reasons(made, later) == {"the acceptance names another envelope or time than stood there"}
    bare = [message for message in good if decode_audit_record(message).kind != 2]
    assert reasons(made, bare) == {"accepted what the notary never saw at that place"}


def _later(message: bytes) -> bytes:
    """The message as if the stream had taken an envelope a second later than it did."""
    record: AuditRecord = decode_audit_record(message)
    if record.kind != 2:
        return message
    return record._replace(appended_at=type(record.appended_at)(record.appended_at + 1000)).encode()


def test_what_a_broker_or_member_says_otherwise_is_told(tmp_path: Path) -> None:
    """Two records with one number, two acceptances, two envelopes at one place, and a member that plays broker."""

    async def run() -> None:
        async with world(tmp_path) as made:
            await said(made)
            stream, log = await made.exchange.open_stream(NOTARY), log_of(made, tmp_path)
            await Notary(stream, log).settle()
            good = [stored.message.value for stored in await everything(stream, AUDIT)]
            log.close()
            await stream.close()
            accepted = [one for one in good if is_record(one, Kind.ACCEPTED)]
            first, second = (decode_statement(decode_record(decode_audit_record(one).body)[0].body) for one in accepted)
            otherwise = first._replace(bundle=Digest(bytes(32)))
            there = second._replace(partition=first.partition, offset=first.offset)
            lies = {
                "the envelope was accepted in two ways": [spoken(made, HUB, otherwise)],
                "another envelope was accepted at the same place": [spoken(made, HUB, there)],
                "the author signed two records with one number": [spoken(made, HUB, first), spoken(made, HUB, second)],
                "the signature does not verify": [spoken(made, HOME, first)],
            }
            for reason, lie in lies.items():
                left = [one for one in good if one != accepted[1] or "same place" not in reason]
                assert reason in reasons(made, [*left, *lie]), reason
            unsigned = [_unsigned(one) for one in good]
            assert reasons(made, unsigned) == {"accepted an envelope that its author did not sign"}

    asyncio.run(run())


def is_record(message: bytes, kind: Kind) -> bool:
    """Whether this message of the audit topic is a record of this kind."""
    record = decode_audit_record(message)
    return record.kind == 1 and decode_record(record.body)[0].kind == kind


def spoken(made: World, agency: AgencyId, statement: Statement) -> bytes:
    """A message of the audit topic in which this agency says, signed, that it accepted; the first of a new life."""
    key = made.exchange.homes[agency].ring.signing
    step = Step(Kind.ACCEPTED, made.clock.at, CaseRef(bytes(16)), statement.root, statement.encode())
    chain = Chain(agency, b"instance", 1)
    (record,) = chain.write([step], key_id=key.id, sign=key.sign, random=FixedRandom())
    return AuditRecord(1, Place(RECORDS, 0, 10_000), made.clock.at, record).encode()


class FixedRandom:
    """Randomness that is always the same, so that what is said twice is the same."""

    def bytes(self, count: int) -> bytes:
        """Zeros."""
        return bytes(count)


def _unsigned(message: bytes) -> bytes:
    """The message with another signature, if it is an envelope."""
    record = decode_audit_record(message)
    if record.kind != 2:
        return message
    signature = decode_slice(record.body).signed.signature
    return record._replace(body=record.body.replace(signature, bytes(64))).encode()
