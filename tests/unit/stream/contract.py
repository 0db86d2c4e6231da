"""The contract of ``Stream`` as tests, for any driver: subclass ``StreamContract`` and give it a fixture ``world``."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

import pytest

from broker.errors import CasebridgeError, InputError, Refused, StreamError
from broker.limits import ENVELOPE_BYTES
from broker.names import AgencyId
from broker.stream import topics
from broker.stream.protocol import Message, Position, Stored, Stream

POLICE: Final = AgencyId("in.mp.police.ahtu.mandla")
CWC: Final = AgencyId("in.kl.cwc.ernakulam")
AGENCIES: Final = (POLICE, CWC)

_T = TypeVar("_T")


class World(Protocol):
    """A stream with the central topics and those of ``AGENCIES``, empty."""

    async def open(self, principal: topics.Principal) -> Stream:
        """A new handle."""


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end, but not for ever."""
    return asyncio.run(asyncio.wait_for(work, 30))


def case(number: int) -> bytes:
    """A key: a case reference."""
    return number.to_bytes(16, "big")


def event(number: int, *, of: int = 0) -> Message:
    """The number-th event of a case."""
    return Message(topics.EVENTS, case(of), f"{of}/{number}".encode(), (("ce_id", b"%d" % number),))


async def everything(stream: Stream, topic: str, *, limit_bytes: int = 1 << 22) -> list[Stored]:
    """All that a reader finds who keeps its own positions, in the order in which it finds it."""
    positions: dict[int, int] = {}
    found: list[Stored] = []
    while batch := await stream.read(topic, positions, limit_bytes=limit_bytes):
        for stored in batch:
            assert stored.offset >= positions.get(stored.partition, 0)
            positions[stored.partition] = stored.offset + 1
        found += batch
    return found


def by_key(found: list[Stored]) -> dict[bytes, list[bytes]]:
    """Key -> values in the order found."""
    cases: dict[bytes, list[bytes]] = {}
    for stored in found:
        cases.setdefault(stored.message.key, []).append(stored.message.value)
    return cases


RIGHTS: Final = [
    # who, topic, may write, may read
    ("member", topics.EVENTS, True, False),
    ("member", topics.RECORDS, True, False),
    ("member", topics.in_topic(CWC), False, True),
    ("member", topics.in_topic(POLICE), False, False),
    ("member", topics.AUDIT, False, False),
    ("member", topics.QUARANTINE, False, False),
    ("broker", topics.EVENTS, False, True),
    ("broker", topics.RECORDS, True, False),
    ("broker", topics.in_topic(CWC), True, False),
    ("broker", topics.AUDIT, False, False),
    ("broker", topics.QUARANTINE, True, False),
    ("notary", topics.EVENTS, False, True),
    ("notary", topics.RECORDS, False, True),
    ("notary", topics.in_topic(CWC), False, False),
    ("notary", topics.AUDIT, True, True),
    ("notary", topics.QUARANTINE, False, False),
    ("auditor", topics.EVENTS, False, True),
    ("auditor", topics.RECORDS, False, False),
    ("auditor", topics.in_topic(CWC), False, False),
    ("auditor", topics.AUDIT, False, True),
    ("auditor", topics.QUARANTINE, False, False),
    ("operator", topics.EVENTS, False, False),
    ("operator", topics.RECORDS, False, False),
    ("operator", topics.in_topic(CWC), False, False),
    ("operator", topics.AUDIT, False, False),
    ("operator", topics.QUARANTINE, False, True),
]

PRINCIPALS: Final = {
    "member": topics.member(CWC),
    "broker": topics.BROKER,
    "notary": topics.NOTARY,
    "auditor": topics.auditor(CWC),
    "operator": topics.OPERATOR,
}


class StreamContract:
    """What every driver must keep."""

    def test_what_is_published_is_read_as_it_was(self, world: World) -> None:
        """Key, value, headers and position come back unchanged, with a time of the stream."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            sent = [Message(topics.EVENTS, case(1), b"\x00\xff" * 9, (("ce_id", b"7"), ("ce_id", b""), ("ü", b"\x00")))]
            (position,) = await member.publish(sent)
            (stored,) = await everything(broker, topics.EVENTS)
            assert [stored.message] == sent
            assert stored.position == position == Position(topics.EVENTS, position.partition, 0)
            assert stored.appended_at > 0
            await member.close()
            await broker.close()

        run(story())

    def test_a_case_keeps_its_order_and_cases_interleave(self, world: World) -> None:
        """Events of a case are read in the order published; those of several cases are not read one case after the other."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            for number in range(0, 60, 10):
                await member.publish([event(n, of=c) for n in range(number, number + 10) for c in range(12)])
            found = await everything(broker, topics.EVENTS, limit_bytes=500)
            assert by_key(found) == {case(c): [b"%d/%d" % (c, n) for n in range(60)] for c in range(12)}
            assert len({stored.partition for stored in found}) > 1
            published = [b"%d/%d" % (c, n) for n in range(60) for c in range(12)]
            assert [stored.message.value for stored in found] != published
            await member.close()
            await broker.close()

        run(story())

    def test_a_partition_is_numbered_from_zero_without_repeats(self, world: World) -> None:
        """Positions that ``publish`` returns are those that the reader finds, ascending from 0."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            told = [p for c in range(20) for p in await member.publish([event(n, of=c) for n in range(3)])]
            found = [stored.position for stored in await everything(broker, topics.EVENTS)]
            assert sorted(told) == sorted(found)
            assert len(set(told)) == 60
            ends = await broker.ends(topics.EVENTS)
            assert {p: max(t.offset for t in told if t.partition == p) + 1 for p in {t.partition for t in told}} == {
                p: end for p, end in ends.items() if end
            }
            await member.close()
            await broker.close()

        run(story())

    def test_reading_goes_on_from_the_positions_of_the_caller(self, world: World) -> None:
        """A reader that starts again anywhere finds exactly what stands there and after."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            (first, *_) = await member.publish([event(n) for n in range(10)])
            for start in range(11):
                found = await broker.read(topics.EVENTS, {first.partition: start})
                assert [stored.message.value for stored in found] == [b"0/%d" % n for n in range(start, 10)]
            assert not await broker.read(topics.EVENTS, {}, partitions=[(first.partition + 1) % 8])
            assert len(await broker.read(topics.EVENTS, {}, partitions=[first.partition])) == 10
            await member.close()
            await broker.close()

        run(story())

    def test_a_read_is_bounded_in_bytes_but_always_goes_on(self, world: World) -> None:
        """A message larger than the bound is given alone; nothing is given beyond the bound otherwise."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            await member.publish([Message(topics.EVENTS, case(1), bytes(1_000)) for _ in range(5)])
            assert len(await broker.read(topics.EVENTS, {}, limit_bytes=10)) == 1
            assert len(await broker.read(topics.EVENTS, {}, limit_bytes=2_500)) == 2
            assert len(await everything(broker, topics.EVENTS, limit_bytes=1)) == 5
            await member.close()
            await broker.close()

        run(story())

    def test_a_waiting_reader_is_woken_soon(self, world: World) -> None:
        """``wait`` ends when a message comes, and ends empty when none does."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            assert await broker.read(topics.EVENTS, {}, wait=0.05) == []
            reading = asyncio.create_task(broker.read(topics.EVENTS, {}, wait=20))
            await asyncio.sleep(0.2)
            assert not reading.done()
            await member.publish([event(1)])
            assert len(await asyncio.wait_for(reading, 5)) == 1
            await member.close()
            await broker.close()

        run(story())

    def test_concurrent_calls_each_get_their_own_positions(self, world: World) -> None:
        """Many tasks publish on one handle: each is told where its own messages stand, in its own order."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            told = await asyncio.gather(*(member.publish([event(0, of=c), event(1, of=c)]) for c in range(100)))
            found = {stored.position: stored.message for stored in await everything(broker, topics.EVENTS)}
            assert len(found) == 200
            for number, (first, second) in enumerate(told):
                assert (found[first], found[second]) == (event(0, of=number), event(1, of=number))
                assert first.offset < second.offset
            await member.close()
            await broker.close()

        run(story())

    @pytest.mark.parametrize(("who", "topic", "writes", "reads"), RIGHTS)
    def test_rights_are_those_of_the_table(self, world: World, who: str, topic: str, writes: bool, reads: bool) -> None:
        """What the table gives is done; what it does not give raises ``Refused`` and does nothing."""

        async def story() -> None:
            stream = await world.open(PRINCIPALS[who])
            calls = [
                (writes, stream.publish([Message(topic, case(1), b"x")])),
                (reads, stream.read(topic, {})),
                (reads, stream.ends(topic)),
                (reads, stream.commit(topic, {})),
                (reads, stream.committed(topic)),
            ]
            for allowed, call in calls:
                if allowed:
                    await call
                else:
                    with pytest.raises(Refused):
                        await call
            await stream.close()

        run(story())

    def test_a_batch_with_one_refused_message_is_refused_whole(self, world: World) -> None:
        """Nothing of a call is stored when one of its topics may not be written."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            with pytest.raises(Refused):
                await member.publish([event(1), Message(topics.in_topic(POLICE), case(1), b"forged")])
            assert await everything(broker, topics.EVENTS) == []
            await member.close()
            await broker.close()

        run(story())

    def test_positions_are_kept_for_each_reader(self, world: World) -> None:
        """``committed`` gives what the same principal committed last, in this handle or another, and 0 elsewhere."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            (at, *_) = await member.publish([event(n) for n in range(5)])
            assert set((await broker.committed(topics.EVENTS)).values()) == {0}
            await broker.commit(topics.EVENTS, {at.partition: 3})
            again = await world.open(topics.BROKER)
            assert (await again.committed(topics.EVENTS))[at.partition] == 3
            await again.commit(topics.EVENTS, {at.partition: 2})
            assert (await broker.committed(topics.EVENTS))[at.partition] == 2
            notary = await world.open(topics.NOTARY)
            assert set((await notary.committed(topics.EVENTS)).values()) == {0}
            for stream in (member, broker, again, notary):
                await stream.close()

        run(story())

    def test_topics_keep_their_id_and_partitions(self, world: World) -> None:
        """Each topic has its own 16 bytes and its number of partitions, the same for all who may write or read it."""

        async def story() -> None:
            handles = {name: await world.open(principal) for name, principal in PRINCIPALS.items()}
            ids: dict[str, bytes] = {}
            for who, topic, writes, reads in RIGHTS:
                if not (writes or reads):
                    with pytest.raises(Refused):
                        await handles[who].topic_id(topic)
                    with pytest.raises(Refused):
                        await handles[who].partitions(topic)
                    continue
                found = await handles[who].topic_id(topic)
                assert len(found) == 16
                assert ids.setdefault(topic, found) == found
                assert await handles[who].partitions(topic) == topics.partition_count(topic)
            assert len(set(ids.values())) == len(ids) == 5
            for stream in handles.values():
                await stream.close()

        run(story())

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            pytest.param(InputError, Message(topics.EVENTS, case(1), bytes(ENVELOPE_BYTES + 1)), id="value too large"),
            pytest.param(InputError, Message(topics.EVENTS, bytes(300), b"x"), id="key too large"),
            pytest.param(
                InputError, Message(topics.EVENTS, b"", b"x", (("h", bytes(20_000)),)), id="headers too large"
            ),
            pytest.param(InputError, Message(topics.EVENTS, b"", b"x", (("", b"y"),)), id="a header without a name"),
            pytest.param(InputError, Message("elsewhere", b"", b"x"), id="a topic that is not of the exchange"),
        ],
    )
    def test_what_is_over_a_limit_is_refused(
        self, world: World, error: type[CasebridgeError], message: Message
    ) -> None:
        """A message that breaks a limit names the field, and nothing of its call is stored."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            with pytest.raises(error):
                await member.publish([event(1), message])
            assert await everything(broker, topics.EVENTS) == []
            await member.publish([Message(topics.EVENTS, case(1), bytes(ENVELOPE_BYTES))])
            await member.close()
            await broker.close()

        run(story())

    def test_an_agency_that_is_not_enrolled_has_no_topic(self, world: World) -> None:
        """Topics are never made by writing to them."""

        async def story() -> None:
            broker = await world.open(topics.BROKER)
            with pytest.raises(StreamError, match="enrol"):
                await broker.publish([Message(topics.in_topic(AgencyId("in.xx.unknown")), case(1), b"x")])
            await broker.close()

        run(story())

    def test_impossible_positions_are_refused(self, world: World) -> None:
        """Partitions that are not there, negative offsets and positions beyond the end never pass in silence."""

        async def story() -> None:
            broker = await world.open(topics.BROKER)
            for positions in ({8: 0}, {-1: 0}, {0: -1}):
                with pytest.raises(InputError):
                    await broker.read(topics.EVENTS, positions)
                with pytest.raises(InputError):
                    await broker.commit(topics.EVENTS, positions)
            with pytest.raises(InputError):
                await broker.commit(topics.EVENTS, {0: 1})
            with pytest.raises(StreamError, match="restored"):
                await broker.read(topics.EVENTS, {0: 1})
            await broker.close()

        run(story())

    def test_a_closed_handle_refuses(self, world: World) -> None:
        """After ``close``, which may be called twice, every call raises ``StreamError``; what was under way is done."""

        async def story() -> None:
            member, broker = await world.open(topics.member(CWC)), await world.open(topics.BROKER)
            under_way = asyncio.create_task(member.publish([event(1)]))
            await asyncio.sleep(0)
            await member.close()
            await member.close()
            with pytest.raises(StreamError):
                await member.publish([event(2)])
            done = await asyncio.gather(under_way, return_exceptions=True)
            stored = len(await everything(broker, topics.EVENTS))
            assert stored == (0 if isinstance(done[0], StreamError) else 1)
            await broker.close()

        run(story())
