"""The notary: everything that was said stands in one tree, once, whoever dies in between; another topic halts it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest

from broker import merkle
from broker.audit.notary import Halted, Memory, Notary, audited, decode_audit_record, entry_of, replay
from broker.audit.record import Kind, decode_record
from broker.errors import Invalid, StreamError
from broker.names import Millis
from broker.seal.envelope import decode_slice
from broker.seal.parts import PartKind
from broker.stream.protocol import Message, Stored, Stream
from broker.stream.topics import AUDIT, EVENTS, NOTARY, RECORDS
from broker.tlog.log import Log
from broker.tlog.note import Ed25519Signer
from tests.story.small_exchange import CWC, HOME, OTHER, World, alert, world
from tests.unit.stream.faulty import Fault, FaultyStream

SIGNERS = [Ed25519Signer("audit.example/one", bytes(32))]


def play(folder: Path, story: Callable[[World], Awaitable[None]]) -> None:
    """Plays a story in a new world."""

    async def run() -> None:
        async with world(folder) as made:
            await story(made)

    asyncio.run(run())


async def said(made: World) -> None:
    """An alert that is opened, one more, and something that is no envelope."""
    published = made.publish(HOME, alert())
    await made.settle()
    made.adapter(OTHER).open(published.event_id, post="desk", purpose="case-work")
    await made.adapter(OTHER).send()
    await made.adapter(CWC).stream.publish([Message(EVENTS, bytes(16), b"no envelope")])
    made.publish(HOME, alert())
    await made.settle()


def log_of(made: World, tmp_path: Path, name: str = "log") -> Log:
    """The log in this folder."""
    return Log.open(tmp_path / name, signers=SIGNERS, clock=made.clock)


async def everything(stream: Stream, topic: str) -> list[Stored]:
    """All that stands in a topic."""
    return await stream.read(topic, {})


async def check(made: World, tmp_path: Path) -> list[Stored]:
    """Each message of both topics stands in the audit topic once, and the tree is that of the topic."""
    stream = await made.exchange.open_stream(NOTARY)
    written = await everything(stream, AUDIT)
    places = [decode_audit_record(stored.message.value).place for stored in written]
    expected = [
        (topic, stored.partition, stored.offset)
        for topic in (RECORDS, EVENTS)
        for stored in await everything(stream, topic)
    ]
    assert sorted(places) == sorted(expected)
    log = log_of(made, tmp_path)
    leaves = [merkle.leaf_hash(entry) for entry in replay(written)]
    assert (log.state.size, log.state.root) == (len(leaves), merkle.root(leaves))
    log.close()
    await stream.close()
    return written


def test_everything_that_was_said_stands_in_the_tree(tmp_path: Path) -> None:
    """Envelopes by their bones, records verbatim, rubbish by its digest; each proved by a checkpoint."""

    async def story(made: World) -> None:
        await said(made)
        stream, log = await made.exchange.open_stream(NOTARY), log_of(made, tmp_path)
        notary = Notary(stream, log)
        await notary.start()
        notes = await notary.settle()
        written = await check(made, tmp_path)
        records = [decode_audit_record(stored.message.value) for stored in written]
        assert sorted({record.kind for record in records}) == [1, 2, 3]
        kinds = {decode_record(record.body)[0].kind for record in records if record.kind == 1}
        assert kinds == {Kind.ACCEPTED, Kind.DELIVERED, Kind.QUARANTINED, Kind.OPENED}
        bones = [decode_slice(record.body) for record in records if record.kind == 2]
        assert {one.root for one in bones} == {one.arrival.root for one in made.received(OTHER)}
        assert {part.kind for one in bones for part in one.parts.values()} == {PartKind.LEDGER, PartKind.HASH}
        for index in range(log.state.size):
            proof = log.prove(index, notes[-1])
            assert log.entry(index) == entry_of(written[index].message.value)
            assert proof.place == index
        log.close()
        await stream.close()

    play(tmp_path, story)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
def test_a_copy_that_fails_both_ways_is_there_once(tmp_path: Path, fault: Fault) -> None:
    """Every other write to the audit topic fails, and the notary starts anew each time."""

    async def story(made: World) -> None:
        await said(made)
        faults: Iterator[Fault] = cycle([fault, Fault.NONE])
        for _ in range(12):
            stream = FaultyStream(await made.exchange.open_stream(NOTARY), faults)
            log = log_of(made, tmp_path)
            try:
                notary = Notary(stream, log)
                await notary.start()
                await notary.settle()
            except StreamError:
                continue
            finally:
                log.close()
                await stream.close()
            break
        await check(made, tmp_path)
        await made.next_works()
        again = await made.exchange.open_stream(NOTARY)
        log = log_of(made, tmp_path)
        await Notary(again, log).settle()
        log.close()
        await again.close()
        await check(made, tmp_path)

    play(tmp_path, story)


def test_a_tree_is_made_again_from_the_topic(tmp_path: Path) -> None:
    """Without its folder the notary makes the same tree from the topic, and copies nothing twice."""

    async def story(made: World) -> None:
        await said(made)
        stream, log = await made.exchange.open_stream(NOTARY), log_of(made, tmp_path)
        await Notary(stream, log).settle()
        second = log_of(made, tmp_path, "second")
        await Notary(stream, second).settle()
        assert (second.state.size, second.state.root) == (log.state.size, log.state.root)
        log.close()
        second.close()
        await stream.close()
        await check(made, tmp_path)

    play(tmp_path, story)


def test_another_topic_halts_the_notary(tmp_path: Path) -> None:
    """A topic that was truncated, or replaced by one of the same length, is not gone on with."""

    async def story(made: World) -> None:
        await said(made)
        stream, log = await made.exchange.open_stream(NOTARY), log_of(made, tmp_path)
        notary = Notary(stream, log)
        await notary.settle()
        memory = Memory.decode(log.state.source)
        for changed, match in (
            (Memory(memory.offset + 1, memory.last, memory.positions), "shorter"),
            (Memory(memory.offset, bytes(32), memory.positions), "another"),
        ):
            notary.memory = changed
            with pytest.raises(Halted, match=match):
                await notary.start()
        log.close()
        await stream.close()

    play(tmp_path, story)


def test_what_no_notary_wrote_is_refused(tmp_path: Path) -> None:
    """Another version, kind or source, bytes left over; the memory of a new log is empty."""
    good = audited(Stored(Message(EVENTS, bytes(16), b"x"), 3, 7, Millis(5))).encode()
    assert decode_audit_record(good).encode() == good
    for broken in (
        b"\x02" + good[1:],
        good[:1] + b"\x04" + good[2:],
        good[:2] + b"\x03" + good[3:],
        good + b"\0",
        good[:-1],
    ):
        with pytest.raises(Invalid):
            decode_audit_record(broken)
    assert Memory.decode(b"") == Memory()
