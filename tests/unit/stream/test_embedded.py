"""What the embedded driver promises beyond the contract of ``Stream``."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from broker.clock import SystemRandom
from broker.errors import InputError, StreamError
from broker.names import AgencyId, Millis
from broker.stream import embedded_file, headers, topics
from broker.stream.protocol import Headers
from tests.unit.stream.contract import CWC, event, everything, run
from tests.unit.stream.worlds import Embedded


@pytest.fixture
def world(tmp_path: Path) -> Embedded:
    return Embedded(tmp_path)


def test_appended_at_is_the_clock_of_the_stream(world: Embedded) -> None:
    """The time of a message is read when it is stored, from the clock that was given."""

    async def story() -> None:
        member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
        await member.publish([event(1)])
        world.clock.at = Millis(world.clock.at + 5_000)
        await member.publish([event(2)])
        found = await everything(broker, topics.EVENTS)
        assert [stored.appended_at - 1_770_000_000_000 for stored in found] == [0, 5_000]
        await member.close()
        await broker.close()

    run(story())


def test_enrolling_adds_a_topic_and_changes_no_other(world: Embedded) -> None:
    """A topic that is there keeps its id; the new agency can read its own."""

    async def story() -> None:
        newcomer = AgencyId("in.kl.ngo.marigold-nest")
        broker = await world.open(topics.BROKER)
        before = await broker.topic_id(topics.in_topic(CWC))
        embedded_file.enrol(world.path, agencies=[CWC, newcomer], random=SystemRandom())
        again, member = await world.open(topics.BROKER), await world.open(topics.member(newcomer))
        assert await again.topic_id(topics.in_topic(CWC)) == before
        assert await member.read(topics.in_topic(newcomer), {}) == []
        await member.close()
        await again.close()
        await broker.close()

    run(story())


def test_cancelling_one_caller_leaves_the_others_theirs(world: Embedded) -> None:
    """Messages of several callers go in one transaction; one that gives up takes nothing from the others."""

    async def story() -> None:
        member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
        await member.publish([event(0)])
        tasks = [asyncio.create_task(member.publish([event(n)])) for n in range(1, 9)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(outcome, list) for outcome in done) == 7
        assert len(await everything(broker, topics.EVENTS)) == 9
        await member.close()
        await broker.close()

    run(story())


def test_messages_are_never_changed_or_deleted_by_sql(world: Embedded) -> None:
    """The file itself refuses an ordinary UPDATE or DELETE."""

    async def story() -> None:
        member = await world.open(topics.member(CWC))
        await member.publish([event(0)])
        await member.close()

    run(story())
    other = sqlite3.connect(world.path)
    for statement in ("DELETE FROM messages", "UPDATE messages SET value = x'00'"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            other.execute(statement)
    other.close()


@pytest.mark.parametrize("given", [(), (("a", b""),), (("ce_id", b"\x00" * 300), ("ü", b"x"), ("ce_id", b"y"))])
def test_headers_come_back_as_they_were(given: Headers) -> None:
    """Order, repeats and empty values are kept."""
    assert headers.decode(headers.encode(given)) == given


def test_cut_headers_are_never_taken_for_whole_ones() -> None:
    """Cut anywhere but between two headers, decoding says that the stream is damaged."""
    first = headers.encode((("ce_id", b"12"),))
    whole = headers.encode((("ce_id", b"12"), ("ce_type", b"rescue.notice")))
    for end in range(1, len(whole)):
        if end != len(first):
            with pytest.raises(StreamError, match="damaged"):
                headers.decode(whole[:end])


def test_a_wrong_agency_id_makes_no_file(tmp_path: Path) -> None:
    """``create`` checks first and leaves nothing behind."""
    with pytest.raises(InputError):
        embedded_file.create(tmp_path / "s.db", agencies=[AgencyId("No Agency")], random=SystemRandom())
    assert list(tmp_path.iterdir()) == []
