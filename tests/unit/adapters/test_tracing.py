"""What an auditor is told of a case from its records: what a withdrawal cannot take back, and what is missing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from adapters.audit_file import AuditFile, kept_of
from adapters.demo import script
from adapters.tracing import Line, Told, follow, tell
from broker.audit.notary import AuditRecord, Notary, Place, decode_audit_record
from broker.audit.record import Chain, Kind, Step, decode_record
from broker.clock import DAY, rfc3339
from broker.names import Compartment, Digest, Millis
from broker.seal.wire import text
from broker.stream.topics import AUDIT, NOTARY, RECORDS, auditor
from broker.tlog.log import Log
from broker.tlog.note import Ed25519Signer
from tests.story.scenario import Scenario, scenario
from tests.story.small_exchange import AUDITOR

ASKED = "M09"


def _reply_by(step: script.Step, record: dict[str, object]) -> dict[str, object]:
    """The verification that is asked for has a time by which to answer."""
    return {**record, "replyBy": rfc3339(Millis(step.at + DAY))} if step.id == ASKED else record


async def _notarized(made: Scenario, folder: Path) -> list[bytes]:
    """Every adapter sends what it owes, the notary writes it down; the audit topic."""
    await made.exchange.settle(made.broker)
    stream = await made.exchange.open_stream(NOTARY)
    log = Log.open(folder / "log", signers=[Ed25519Signer("audit.example/one", bytes(32))], clock=made.clock)
    await Notary(stream, log).settle()
    log.close()
    found = [stored.message.value for stored in await stream.read(AUDIT, {})]
    await stream.close()
    return found


def _told(made: Scenario, folder: Path, messages: list[bytes]) -> Told:
    """What the auditor is told from these messages."""
    folder.mkdir(mode=0o700)
    file = AuditFile.open(folder)
    file.put(kept_of(place, message) for place, message in enumerate(messages))
    adapter = made.adapter(AUDITOR)
    told = tell(adapter, adapter.files.get(made.script.cases[made.script.case]), file, None)
    file.close()
    return told


def _of(told: Told, what: str) -> list[Line]:
    return [line for line in told.lines if line.what == what]


def _without(messages: list[bytes], kind: Kind, root: bytes) -> list[bytes]:
    """The messages without the record of this kind about this envelope."""

    def is_it(message: bytes) -> bool:
        audited = decode_audit_record(message)
        record = decode_record(audited.body)[0] if audited.kind == 1 else None
        return record is not None and (record.kind, record.root) == (kind, root)

    return [message for message in messages if not is_it(message)]


def _evil(made: Scenario, root: Digest) -> bytes:
    """A record that its author signed, with a post that would clear the terminal on which it is shown."""
    author = next(iter(made.members))
    key, at = made.exchange.homes[author].ring.signing, made.clock.at
    body = b"".join((text("\x1b[2J"), text("case-work"), bytes((Compartment.LOCATION,))))
    step = Step(Kind.OPENED, at, made.script.cases[made.script.case], root, body)
    chain = Chain(author, b"instance", 1)
    (record,) = chain.write([step], key_id=key.id, sign=key.sign, random=made.exchange.random)
    return AuditRecord(1, Place(RECORDS, 0, 10_000), at, record).encode()


def test_a_withdrawal_names_what_was_read_and_what_is_missing_or_overdue_is_told(tmp_path: Path) -> None:
    """The case of the demo: honest, it is sound; without a record of the broker's, the line that is missing is named."""

    async def run() -> None:
        async with scenario(tmp_path, _reply_by) as made:
            await made.play("G1")
            made.views(ASKED)
            made.views("G1")
            made.clock.at = Millis(made.clock.at + 2 * DAY)
            (overdue,) = _of(_told(made, tmp_path / "early", await _notarized(made, tmp_path)), "overdue")
            assert overdue.event == made.script.events[ASKED]
            await made.play("K3")
            made.clock.at = Millis(made.clock.at + DAY)
            messages = await _notarized(made, tmp_path)
            told = _told(made, tmp_path / "all", messages)
            assert (told.faults, _of(told, "overdue")) == ([], [])
            (withdrawn,) = _of(told, "withdrawn")
            assert "opened on it before: person-identity of P-1 at 2026-02-05 11:30:00 IST, location of P-1" in (
                withdrawn.words
            )
            kept = made.adapter(AUDITOR).files.get(made.script.cases[made.script.case]).kept(made.script.events[ASKED])
            assert kept is not None
            for kind, reason in (
                (Kind.ACCEPTED, "no acceptance of it is recorded"),
                (Kind.DELIVERED, "no delivery of it is recorded"),
            ):
                less = _told(made, tmp_path / kind.name, _without(messages, kind, kept.slice.root))
                (missing,) = less.faults
                assert (missing.what, missing.event, missing.fault) == ("missing", made.script.events[ASKED], reason)
            evil = _evil(made, kept.slice.root)
            (wrong,) = _told(made, tmp_path / "evil", [*messages, evil]).faults
            assert "characters that no code and no name has" in wrong.fault
            assert (wrong.post, wrong.purpose) == ("", "")
            only = told.only(event=None, compartment="location", person="P-2")
            assert {line.what for line in only.lines} <= {"opened", "refused"}
            assert all("P-2" in line.persons for line in only.lines if line.persons)

    asyncio.run(run())


def test_the_auditors_copy_follows_the_topic(tmp_path: Path) -> None:
    """What is read again is kept once, and what is new is taken in behind it, each under its place in the tree."""

    async def run() -> None:
        async with scenario(tmp_path) as made:
            await made.play("M01")
            folder = tmp_path / "copy"
            folder.mkdir(mode=0o700)
            file, counts = AuditFile.open(folder), []
            for step in ("M02", "M03"):
                await made.play(step)
                messages = await _notarized(made, tmp_path)
                stream = await made.exchange.open_stream(auditor(AUDITOR))
                await follow(stream, file)
                await follow(stream, file)
                await stream.close()
                counts.append((file.count, len(messages)))
            assert counts[0][0] < counts[1][0]
            assert all(kept == there for kept, there in counts)
            case = made.script.cases[made.script.case]
            for one in file.of_case(case, ()):
                assert one.leaf == kept_of(one.place, messages[one.place]).leaf
            assert file.of_case(case, ())
            file.close()

    asyncio.run(run())
