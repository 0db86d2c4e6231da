"""Reading: each call fetches exactly what stands at the positions it is given; nothing is fetched ahead unasked.

A fetch either answers at once or waits at the node for a message. One that waits holds up what follows it on its
connection, so the two kinds have connections of their own; one still waiting when the call ends serves the next call.
In memory are at most one answer of ``limit_bytes`` and one batch beyond it for each node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NamedTuple

from aiokafka import errors as kafka
from aiokafka.protocol.fetch import FetchRequest

from broker.errors import StreamError
from broker.stream.kafka.connection import READ_COMMITTED, Connection, Topic, by_leader, require_ok
from broker.stream.kafka.records import decode
from broker.stream.protocol import Stored

POLL_SECONDS: Final = 0.5
"""How long a node holds a fetch that finds nothing; a message ends it at once."""
PARTITION_BYTES: Final = 65_536
"""Of one partition in an answer, at least so much, however many share it."""
_RUN: Final = 16
"""So many messages of one partition before the next has its turn."""


class _Answer(NamedTuple):
    """What a fetch gave: partition to its messages, to where it goes on, and to what forbids going on."""

    stored: dict[int, list[Stored]]
    following: dict[int, int]
    outside: frozenset[int]


@dataclass(slots=True)
class _Waiting:
    """A fetch that waits at a node, and the positions it was sent with."""

    positions: dict[int, int]
    task: asyncio.Task[_Answer]


@dataclass(slots=True)
class Reader:
    """Reads one topic, one call at a time. ``lane`` names its waiting connections."""

    connection: Connection
    topic: str
    lane: str
    _waiting: dict[int, _Waiting] = field(default_factory=dict)

    async def read(
        self, positions: Mapping[int, int], partitions: Sequence[int], limit_bytes: int, wait: float
    ) -> list[Stored]:
        """What stands at these positions and after; see ``Stream.read``.

        Raises:
            Refused, StreamError: see ``Stream.read``.
        """
        if not partitions:
            await asyncio.sleep(wait)
            return []
        at = {partition: positions.get(partition, 0) for partition in _turned(partitions, positions)}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            stored = await self.connection.insist(lambda: self._now(at, limit_bytes))
            left = deadline - loop.time()
            if stored or left <= 0:
                return stored
            stored = await self.connection.insist(
                lambda left=left: self._later(at, limit_bytes, left),  # type: ignore[misc]
                seconds=left + 2 * POLL_SECONDS + 20,
            )
            if stored:
                return stored

    async def close(self) -> None:
        """Gives up what waits."""
        tasks = [one.task for one in self._waiting.values()]
        self._waiting.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _now(self, at: dict[int, int], limit_bytes: int) -> list[Stored]:
        """What is there; markers of transactions are stepped over until there is a message or the end."""
        while True:
            topic = await self.connection.current(self.topic)
            fetches = [
                self._fetch(topic, node, {one: at[one] for one in led}, limit_bytes, wait=0.0, lane="fetch")
                for node, led in by_leader(topic, at).items()
            ]
            moved = False
            stored: dict[int, list[Stored]] = {}
            for answer in await asyncio.gather(*fetches):
                stored |= answer.stored
                moved |= await self._move(at, answer)
            found = in_turns([stored[one] for one in at if stored.get(one)], limit_bytes)
            if found or not moved:
                return found

    async def _later(self, at: dict[int, int], limit_bytes: int, left: float) -> list[Stored]:
        """What comes within the time that is left, or a little more."""
        topic = await self.connection.current(self.topic)
        for node, led in by_leader(topic, at).items():
            positions = {one: at[one] for one in led}
            known = self._waiting.get(node)
            if known is None or known.positions != positions or known.task.done():
                fetch = self._fetch(topic, node, positions, limit_bytes, wait=min(left, POLL_SECONDS), lane=self.lane)
                self._waiting[node] = _Waiting(positions, _started(fetch))
        tasks = {one.task for one in self._waiting.values()}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        self._waiting = {node: one for node, one in self._waiting.items() if one.task not in done}
        stored: dict[int, list[Stored]] = {}
        for task in done:
            answer = await task
            if not set(answer.following) <= set(at) or any(
                messages and messages[0].offset < at[one] for one, messages in answer.stored.items()
            ):
                continue  # sent by an earlier call, for other positions
            stored |= answer.stored
            await self._move(at, answer)
        return in_turns([stored[one] for one in at if stored.get(one)], limit_bytes)

    async def _move(self, at: dict[int, int], answer: _Answer) -> bool:
        """Steps over what holds no message; whether that brought it further.

        Raises:
            StreamError: a position that the partition does not have.
        """
        moved = False
        for partition, following in answer.following.items():
            if not answer.stored.get(partition) and following > at[partition]:
                at[partition], moved = following, True
        for partition in answer.outside:
            at[partition], moved = await self._first_kept(partition, at[partition]), True
        return moved

    async def _first_kept(self, partition: int, position: int) -> int:
        ends, first = await self.connection.ends(self.topic), await self.connection.ends(self.topic, first=True)
        if position > ends[partition]:
            # To wait here would skip whatever is written there next.
            raise StreamError(
                f"{self.topic} ends before the position of this reader: the topic was made anew or restored;"
                " its operator must say which",
                partition=partition,
                position=position,
            )
        if 0 < position < first[partition]:
            raise StreamError(
                f"what {self.topic} had at the position of this reader is kept no longer; its operator must say"
                " from where to go on",
                partition=partition,
                position=position,
                first=first[partition],
            )
        return first[partition] if position == 0 else position

    async def _fetch(
        self, topic: Topic, node: int, positions: dict[int, int], limit_bytes: int, *, wait: float, lane: str
    ) -> _Answer:
        each = max(PARTITION_BYTES, limit_bytes // len(positions))
        wanted = [(partition, offset, each) for partition, offset in positions.items()]
        request = FetchRequest(int(wait * 1_000), 1, limit_bytes, READ_COMMITTED, [(topic.physical, wanted)])
        response = await self.connection.send(node, request, lane)
        require_ok(getattr(response, "error_code", 0))
        stored, following, outside = dict[int, list[Stored]](), dict[int, int](), set[int]()
        for _, parts in response.topics:
            for part in parts:
                partition, code = part[0], part[1]
                if kafka.for_code(code) is kafka.OffsetOutOfRangeError:
                    outside.add(partition)
                    continue
                require_ok(code)
                found = self._decode(part, positions[partition])
                stored[partition], following[partition] = found.stored, found.following
        return _Answer(stored, following, frozenset(outside))

    def _decode(self, part: Any, start: int) -> Any:
        return decode(
            part[-1] or b"",
            topic=self.topic,
            partition=part[0],
            start=start,
            aborted=part[5] or (),
            unsafe_sender_time=self.connection.settings.unsafe_sender_time,
        )


def in_turns(runs: Sequence[Sequence[Stored]], limit_bytes: int) -> list[Stored]:
    """Messages of each partition in its order, a few of each in turn, up to the limit but at least one."""
    found: list[Stored] = []
    turns = [iter(run) for run in runs]
    while turns:
        further = []
        for turn in turns:
            before = len(found)
            for stored in islice(turn, _RUN):
                limit_bytes -= _size(stored)
                if limit_bytes < 0 and found:
                    return found
                found.append(stored)
            if len(found) - before == _RUN:
                further.append(turn)
        turns = further
    return found


def _size(stored: Stored) -> int:
    message = stored.message
    return len(message.key) + len(message.value) + sum(len(name) + len(value) for name, value in message.headers)


def _turned(partitions: Sequence[int], positions: Mapping[int, int]) -> list[int]:
    """The partitions, beginning with another one as the reader moves on: Kafka fills an answer in this order."""
    first = sum(positions.values()) % len(partitions)
    return [*partitions[first:], *partitions[:first]]


def _started(fetch: Any) -> asyncio.Task[_Answer]:
    task: asyncio.Task[_Answer] = asyncio.get_running_loop().create_task(fetch)
    # Nobody may ask any more; then its failure is nobody's.
    task.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    return task
