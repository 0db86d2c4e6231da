"""The embedded driver: a whole stream in one SQLite file, for a laptop, a pilot and the demo.

Several processes of one user of the machine may use the file at once. Rights are enforced in the handle:
whoever can open the file itself can read and break all of it, which is why its mode is 0600 and why more than
one operator needs Kafka (``docs/spec/stream.md`` §4). A new file is made by ``embedded_file.create``.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeVar

from broker.clock import Clock
from broker.errors import StreamError
from broker.stream import checks, sqlite_file, topics
from broker.stream.embedded_file import Row, StreamFile, Topic
from broker.stream.protocol import READ_BYTES, Message, Position, Stored

GROUP_BYTES: Final = 8 * 1024 * 1024
"""Messages of concurrent calls that wait for the disk are written in one transaction, up to about this much."""

_POLL: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
"""Seconds between two looks of a waiting reader; the last one repeats."""
_SURE: Final = 8
"""After the first looks, a look without a sign of writing is spared, but every eighth is made."""

_T = TypeVar("_T")


@dataclass(slots=True)
class _Group:
    rows: list[Row] = field(default_factory=list)
    size: int = 0
    task: asyncio.Task[list[Position]] | None = None


class EmbeddedStream:
    """A ``Stream`` on one file. Offsets have no holes; a ``publish`` is stored whole or not at all.

    SQLite blocks, so writing and reading have a thread and a connection each; nothing of it runs in the event
    loop.
    """

    def __init__(self, writer: StreamFile, reader: StreamFile, *, principal: topics.Principal, clock: Clock) -> None:
        """Use ``open``."""
        self._writer, self._reader = writer, reader
        self._principal, self._clock = principal, clock
        self._writes, self._reads = ThreadPoolExecutor(1, "stream-write"), ThreadPoolExecutor(1, "stream-read")
        self._topics: dict[str, Topic] = {}
        self._group: _Group | None = None
        self._writing = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        principal: topics.Principal,
        clock: Clock,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
        busy_ms: int = sqlite_file.BUSY_MS,
    ) -> Self:
        """A handle for this principal.

        Args:
            clock: what ``appended_at`` is read from.
            factory: the class of the connections.
            busy_ms: how long to wait for another writer before giving up.

        Raises:
            StreamError: not there, foreign, of another version, open to others, read-only or damaged.
        """

        def both() -> tuple[StreamFile, StreamFile]:
            writer = StreamFile(path, factory=factory, busy_ms=busy_ms)
            try:
                return writer, StreamFile(path, factory=factory, busy_ms=busy_ms)
            except BaseException:
                writer.close()
                raise

        writer, reader = await asyncio.to_thread(both)
        return cls(writer, reader, principal=principal, clock=clock)

    async def publish(self, messages: Sequence[Message]) -> list[Position]:
        """See ``Stream.publish``."""
        rows = [_row(message, await self._writable(message.topic)) for message in messages]
        self._require_open()
        if not rows:
            return []
        group = self._group
        if group is None or group.task is None or group.size > GROUP_BYTES:
            group = self._group = _Group()
            group.task = asyncio.get_running_loop().create_task(self._write(group))
        start = len(group.rows)
        group.rows += rows
        group.size += sum(len(message.value) for message in messages)
        # Shielded: one caller that gives up must not call back what others wait for.
        positions = await asyncio.shield(group.task)
        return positions[start : start + len(rows)]

    async def read(
        self,
        topic: str,
        positions: Mapping[int, int],
        *,
        partitions: Collection[int] | None = None,
        limit_bytes: int = READ_BYTES,
        wait: float = 0.0,
    ) -> list[Stored]:
        """See ``Stream.read``."""
        found = await self._readable(topic)
        wanted = checks.partitions(found.partitions, range(found.partitions) if partitions is None else partitions)
        start = checks.positions(found.partitions, positions)
        seen = -1

        def look() -> list[Stored]:
            nonlocal seen
            version = self._reader.version()
            if version == seen:
                return []
            seen = version
            return self._reader.read(found, start, wanted, limit_bytes)

        loop = asyncio.get_running_loop()
        deadline, looks = loop.time() + wait, 0
        sign: tuple[int, int] | None = None
        stored: list[Stored] = []
        while True:
            before, sign = sign, self._reader.sign_of_writing()
            if sign != before or looks < len(_POLL) or looks % _SURE == 0:
                stored = await self._reading(look)
            left = deadline - loop.time()
            if stored or left <= 0:
                return stored
            await asyncio.sleep(min(left, _POLL[min(looks, len(_POLL) - 1)]))
            looks += 1

    async def partitions(self, topic: str) -> int:
        """See ``Stream.partitions``."""
        topics.require_known(self._principal, topic)
        return (await self._topic(topic)).partitions

    async def topic_id(self, topic: str) -> bytes:
        """See ``Stream.topic_id``."""
        topics.require_known(self._principal, topic)
        return (await self._topic(topic)).topic_id

    async def ends(self, topic: str) -> dict[int, int]:
        """See ``Stream.ends``."""
        found = await self._readable(topic)
        return await self._reading(lambda: self._reader.ends(found))

    async def commit(self, topic: str, positions: Mapping[int, int]) -> None:
        """See ``Stream.commit``."""
        found = await self._readable(topic)
        kept = checks.positions(found.partitions, positions)
        async with self._writing:
            self._require_open()
            await _in(self._writes, lambda: self._writer.commit(self._principal.name, found, kept))

    async def committed(self, topic: str) -> dict[int, int]:
        """See ``Stream.committed``."""
        found = await self._readable(topic)
        return await self._reading(lambda: self._reader.committed(self._principal.name, found))

    async def share(self, topic: str) -> frozenset[int]:
        """See ``Stream.share``; one handle of a principal reads at a time, which its home's lock sees to."""
        return frozenset(range((await self._readable(topic)).partitions))

    async def close(self) -> None:
        """See ``Stream.close``."""
        if self._closed:
            return
        self._closed = True
        group = self._group
        if group is not None and group.task is not None:
            await asyncio.wait([group.task])
        async with self._writing:
            await _in(self._writes, self._writer.close)
        await _in(self._reads, self._reader.close)
        self._writes.shutdown()
        self._reads.shutdown()

    async def _write(self, group: _Group) -> list[Position]:
        """Wait for the disk while others join the group, then write it."""
        async with self._writing:
            if self._group is group:
                self._group = None
            return await _in(self._writes, lambda: self._writer.append(group.rows, self._clock))

    async def _writable(self, name: str) -> Topic:
        topics.require_write(self._principal, name)
        return self._topics.get(name) or await self._topic(name)

    async def _readable(self, name: str) -> Topic:
        topics.require_read(self._principal, name)
        return self._topics.get(name) or await self._topic(name)

    async def _topic(self, name: str) -> Topic:
        if name not in self._topics:
            self._topics[name] = await self._reading(lambda: self._reader.topic(name))
        return self._topics[name]

    async def _reading(self, work: Callable[[], _T]) -> _T:
        self._require_open()
        return await _in(self._reads, work)

    def _require_open(self) -> None:
        if self._closed:
            raise StreamError("this handle on the stream was closed; open another")


async def _in(thread: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
    return await asyncio.get_running_loop().run_in_executor(thread, work)


def _row(message: Message, topic: Topic) -> Row:
    headers = checks.require_within_limits(message)
    return Row(topic, topics.partition_of(message.key, topic.partitions), headers, message)
