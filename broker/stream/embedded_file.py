"""The blocking half of the embedded driver: the tables of a stream file, and one connection to it.

Leaves threads, rights and the gathering of concurrent writes to ``embedded``.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from broker.clock import Clock, Random
from broker.errors import InputError, StreamError
from broker.names import AgencyId, Millis
from broker.stream import headers as wire
from broker.stream import sqlite_file, topics
from broker.stream.protocol import Message, Position, Stored

FORMAT: Final = sqlite_file.Format(
    what="stream file",
    application_id=0x43425331,  # "CBS1"
    version=1,
    error=StreamError,
    # The rowid of a message is its place: topic, partition and offset in one number, so that a partition lies
    # together on the disk, in order, and its end is found in one descent of the tree.
    schema="""
        CREATE TABLE topics (
            number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, topic_id BLOB NOT NULL, partitions INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE messages (
            place INTEGER PRIMARY KEY, appended_at INTEGER NOT NULL,
            key BLOB NOT NULL, headers BLOB NOT NULL, value BLOB NOT NULL
        ) STRICT;
        CREATE TABLE committed (
            reader TEXT NOT NULL, topic INTEGER NOT NULL REFERENCES topics, partition INTEGER NOT NULL,
            next INTEGER NOT NULL, PRIMARY KEY (reader, topic, partition)
        ) STRICT, WITHOUT ROWID;
        CREATE TRIGGER never_deleted BEFORE DELETE ON messages
            BEGIN SELECT RAISE(ABORT, 'messages are never deleted'); END;
        CREATE TRIGGER never_changed BEFORE UPDATE ON messages
            BEGIN SELECT RAISE(ABORT, 'messages are never changed'); END
    """,
)

_OFFSET_BITS: Final = 40
_PARTITION_BITS: Final = 8
_OFFSET_MASK: Final = (1 << _OFFSET_BITS) - 1
_RUN: Final = 16
"""A read takes so many messages from one partition before it turns to the next."""

_READ: Final = (
    "SELECT place, appended_at, key, headers, value FROM messages WHERE place >= ? AND place < ? ORDER BY place"
)
_LAST: Final = "SELECT place FROM messages WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1"


class Topic(NamedTuple):
    """A topic as the file has it."""

    name: str
    number: int
    topic_id: bytes
    partitions: int

    def place(self, partition: int, offset: int = 0) -> int:
        """The rowid of a message."""
        return ((self.number << _PARTITION_BITS | partition) << _OFFSET_BITS) | offset


class Row(NamedTuple):
    """A message ready to be stored: its topic and partition found, its headers encoded."""

    topic: Topic
    partition: int
    headers: bytes
    message: Message


def create(path: Path, *, agencies: Iterable[AgencyId], random: Random) -> None:
    """Make a stream file with the central topics and an ``in`` topic for each agency.

    Raises:
        StreamError: a file of that name is there, or it cannot be made.
        InputError: an agency id is not one; nothing is made.
    """
    names = [*topics.CENTRAL, *map(topics.in_topic, agencies)]
    sqlite_file.create(path, FORMAT, fill=lambda connection: _add(connection, names, random))


def enrol(path: Path, *, agencies: Iterable[AgencyId], random: Random) -> None:
    """Give each of these agencies an ``in`` topic; one that has it keeps it.

    Raises:
        StreamError: the file cannot be opened or written.
        InputError: an agency id is not one; nothing is done.
    """
    names = [topics.in_topic(agency) for agency in agencies]
    connection = sqlite_file.connect(path, FORMAT)
    try:
        with sqlite_file.failures(FORMAT, path), sqlite_file.transaction(connection):
            _add(connection, names, random)
    finally:
        connection.close()


class StreamFile:
    """One connection to a stream file, used by one thread at a time. Raises ``StreamError`` for all failures."""

    def __init__(self, path: Path, *, factory: type[sqlite3.Connection], busy_ms: int) -> None:
        """Open it; see ``sqlite_file.connect``."""
        self._path = path
        self._log = f"{path}-wal"  # SQLite's name for its write-ahead file
        self._connection = sqlite_file.connect(path, FORMAT, factory=factory, busy_ms=busy_ms)

    def close(self) -> None:
        """Let go of the file."""
        with sqlite_file.failures(FORMAT, self._path):
            self._connection.close()

    def topic(self, name: str) -> Topic:
        """The topic of this name.

        Raises:
            StreamError: the file has none.
        """
        with sqlite_file.failures(FORMAT, self._path):
            row = self._connection.execute(
                "SELECT name, number, topic_id, partitions FROM topics WHERE name = ?", (name,)
            ).fetchone()
        if row is None:
            raise StreamError(f"the stream has no topic {name}; its operator enrols the agency first")
        return Topic(*row)

    def append(self, rows: Sequence[Row], clock: Clock) -> list[Position]:
        """Store them all or none. Offsets are given within the transaction: no holes, and no one overtakes."""
        positions: list[Position] = []
        values: list[tuple[int, Millis, bytes, bytes, bytes]] = []
        with sqlite_file.failures(FORMAT, self._path), sqlite_file.transaction(self._connection):
            now = clock.now()
            ends: dict[int, int] = {}
            for topic, partition, headers, message in rows:
                start = topic.place(partition)
                offset = ends.get(start)
                if offset is None:
                    offset = self._end(topic, partition)
                ends[start] = offset + 1
                values.append((start + offset, now, message.key, headers, message.value))
                positions.append(Position(topic.name, partition, offset))
            self._connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?)", values)
        return positions

    def version(self) -> int:
        """A number that changes when another connection has written."""
        with sqlite_file.failures(FORMAT, self._path):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def sign_of_writing(self) -> tuple[int, int] | None:
        """Size and time of the write-ahead file: costs no transaction, but may miss a write within one tick of time.

        None where there is no such file or it cannot be looked at.
        """
        try:
            found = os.stat(self._log)
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def read(
        self, topic: Topic, positions: Mapping[int, int], partitions: Sequence[int], limit_bytes: int
    ) -> list[Stored]:
        """What stands there, each partition in its order.

        Cases interleave as they may on Kafka: runs from each partition in turn, beginning with another one
        as the reader moves on.
        """
        first = sum(positions.values()) % len(partitions) if partitions else 0
        order = (*partitions[first:], *partitions[:first])
        with sqlite_file.failures(FORMAT, self._path):
            turns = [
                (p, self._connection.execute(_READ, (topic.place(p, positions.get(p, 0)), topic.place(p + 1))))
                for p in order
            ]
            try:
                stored = _in_turns(topic.name, turns, limit_bytes)
            finally:
                for _, cursor in turns:
                    cursor.close()
            if not stored:
                for partition in order:
                    self._require_within(topic, partition, positions.get(partition, 0))
        return stored

    def ends(self, topic: Topic) -> dict[int, int]:
        """Partition -> offset of its next message."""
        with sqlite_file.failures(FORMAT, self._path):
            return {p: self._end(topic, p) for p in range(topic.partitions)}

    def commit(self, reader: str, topic: Topic, positions: Mapping[int, int]) -> None:
        """Keep these positions for the reader."""
        with sqlite_file.failures(FORMAT, self._path), sqlite_file.transaction(self._connection):
            for partition, offset in positions.items():
                if offset > self._end(topic, partition):
                    raise InputError("a position beyond the end of its partition", field="positions")
            self._connection.executemany(
                "INSERT INTO committed VALUES (?, ?, ?, ?)"
                " ON CONFLICT (reader, topic, partition) DO UPDATE SET next = excluded.next",
                [(reader, topic.number, partition, offset) for partition, offset in positions.items()],
            )

    def committed(self, reader: str, topic: Topic) -> dict[int, int]:
        """Every partition of the topic -> the position kept for the reader."""
        with sqlite_file.failures(FORMAT, self._path):
            kept = dict(
                self._connection.execute(
                    "SELECT partition, next FROM committed WHERE reader = ? AND topic = ?", (reader, topic.number)
                ).fetchall()
            )
        return {p: kept.get(p, 0) for p in range(topic.partitions)}

    def _end(self, topic: Topic, partition: int) -> int:
        last = self._connection.execute(_LAST, (topic.place(partition), topic.place(partition + 1))).fetchone()
        return 0 if last is None else (last[0] & _OFFSET_MASK) + 1

    def _require_within(self, topic: Topic, partition: int, position: int) -> None:
        if position > self._end(topic, partition):
            # To wait here would skip whatever is written there next.
            raise StreamError(
                f"{topic.name} ends before the position of this reader: the stream file was replaced or"
                " restored from an older backup; its operator must say which",
                partition=partition,
                position=position,
            )


def _in_turns(name: str, turns: Sequence[tuple[int, sqlite3.Cursor]], limit_bytes: int) -> list[Stored]:
    stored: list[Stored] = []
    while turns:
        further = []
        for partition, cursor in turns:
            before = len(stored)
            for place, appended_at, key, headers, value in islice(cursor, _RUN):
                limit_bytes -= len(key) + len(headers) + len(value)
                if limit_bytes < 0 and stored:
                    return stored
                message = Message(name, key, value, wire.decode(headers))
                stored.append(Stored(message, partition, place & _OFFSET_MASK, Millis(appended_at)))
            if len(stored) - before == _RUN:
                further.append((partition, cursor))
        turns = further
    return stored


def _add(connection: sqlite3.Connection, names: Sequence[str], random: Random) -> None:
    connection.executemany(
        "INSERT INTO topics (name, topic_id, partitions) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
        [(name, random.bytes(16), topics.partition_count(name)) for name in names],
    )
