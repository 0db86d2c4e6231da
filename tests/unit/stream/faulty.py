"""Things that fail on purpose, both ways: what was to be written is not there, or is there though an error came.

``FaultyStream`` wraps any stream; ``failing_connection`` makes a class of SQLite connections for ``factory``.
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final

from broker.errors import StreamError
from broker.stream.protocol import READ_BYTES, Message, Position, Stored, Stream

WRITES: Final = ("BEGIN", "COMMIT", "INSERT", "UPDATE", "DELETE", "SAVEPOINT", "RELEASE")


class Fault(enum.Enum):
    """How one write fails."""

    NONE = enum.auto()
    LOST = enum.auto()
    """Not persisted, and an error."""
    REPORTED = enum.auto()
    """Persisted, and an error all the same."""


class FaultyStream:
    """A stream whose writes fail as ``faults`` says, one for each write; when it ends, none fails any more."""

    def __init__(self, stream: Stream, faults: Iterator[Fault]) -> None:
        self._stream, self._faults = stream, faults

    async def publish(self, messages: Sequence[Message]) -> list[Position]:
        fault = next(self._faults, Fault.NONE)
        if fault is Fault.LOST:
            raise StreamError("lost on purpose")
        positions = await self._stream.publish(messages)
        if fault is Fault.REPORTED:
            raise StreamError("stored, and reported lost on purpose")
        return positions

    async def read(
        self,
        topic: str,
        positions: Mapping[int, int],
        *,
        partitions: Collection[int] | None = None,
        limit_bytes: int = READ_BYTES,
        wait: float = 0.0,
    ) -> list[Stored]:
        return await self._stream.read(topic, positions, partitions=partitions, limit_bytes=limit_bytes, wait=wait)

    async def partitions(self, topic: str) -> int:
        return await self._stream.partitions(topic)

    async def topic_id(self, topic: str) -> bytes:
        return await self._stream.topic_id(topic)

    async def ends(self, topic: str) -> dict[int, int]:
        return await self._stream.ends(topic)

    async def commit(self, topic: str, positions: Mapping[int, int]) -> None:
        fault = next(self._faults, Fault.NONE)
        if fault is Fault.LOST:
            raise StreamError("lost on purpose")
        await self._stream.commit(topic, positions)
        if fault is Fault.REPORTED:
            raise StreamError("kept, and reported lost on purpose")

    async def committed(self, topic: str) -> dict[int, int]:
        return await self._stream.committed(topic)

    async def share(self, topic: str) -> frozenset[int]:
        return await self._stream.share(topic)

    async def close(self) -> None:
        await self._stream.close()


def failing_connection(at: int, fault: Fault) -> type[sqlite3.Connection]:
    """A class of connections of which the ``at``-th writing statement (from 0) fails in this way.

    It counts over all connections of the class; ``fired`` on the class says whether it came to that.
    """
    numbers = count()

    class Failing(sqlite3.Connection):
        fired = False

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            return self._guard(sql, lambda: sqlite3.Connection.execute(self, sql, *values))

        def executemany(self, sql: str, values: Any) -> sqlite3.Cursor:
            return self._guard(sql, lambda: sqlite3.Connection.executemany(self, sql, values))

        def _guard(self, sql: str, work: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
            if not sql.lstrip().startswith(WRITES) or next(numbers) != at:
                return work()
            type(self).fired = True
            if fault is Fault.REPORTED:
                work()
            error = sqlite3.OperationalError("failed on purpose")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            error.sqlite_errorname = "SQLITE_IOERR"
            raise error

    return Failing


class SmallDisk(sqlite3.Connection):
    """A connection to a disk that is full soon: at 60 pages of SQLite."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        super().execute("PRAGMA max_page_count = 60")
