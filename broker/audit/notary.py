"""The notary: what members and broker say, and what stood on the events topic, in one order that cannot be changed.

It copies records and the bare bones of envelopes to ``casebridge.audit`` in the order in which it reads them, and makes
a tlog entry of each (``docs/spec/audit.md``). It gives no verdict and drops nothing. The audit topic is all that it
remembers by: where it goes on reading, and what the tree holds, follow from the topic alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

from broker.checks import Check
from broker.errors import Invalid, StreamError
from broker.names import Millis
from broker.seal.envelope import Envelope, decode_envelope, encode_slice
from broker.seal.parts import Part, PartKind
from broker.seal.wire import Cursor, bytes32
from broker.stream.protocol import Message, Stored, Stream
from broker.stream.topics import AUDIT, EVENTS, RECORDS
from broker.tlog.log import Log
from broker.tlog.note import Note

VERSION: Final = 1
BATCH: Final = 2_048
"""Messages to a commit of the log, at most."""
_SOURCES: Final = {RECORDS: 1, EVENTS: 2}
_TOPICS: Final = {number: topic for topic, number in _SOURCES.items()}
_HEAD: Final = struct.Struct(">BBBIQQ")
_POSITION: Final = struct.Struct(">BIQ")
_STATE: Final = struct.Struct(">Q32sH")
_KEY: Final = bytes(16)


class Place(NamedTuple):
    """Where something stood on the stream: topic, partition, offset."""

    topic: str
    partition: int
    offset: int


class AuditRecord(NamedTuple):
    """One message of the audit topic: what stood where, and when the stream took it.

    ``kind`` is 1 for a record, verbatim; 2 for an envelope without what only its readers need; 3 for the SHA-256 of
    something on the events topic that is no envelope.
    """

    kind: int
    place: Place
    appended_at: Millis
    body: bytes

    def encode(self) -> bytes:
        """The message's bytes."""
        topic, partition, offset = self.place
        head = _HEAD.pack(VERSION, self.kind, _SOURCES[topic], partition, offset, self.appended_at)
        return head + bytes32(self.body)


def decode_audit_record(data: bytes) -> AuditRecord:
    """The message with these bytes.

    Raises:
        Invalid: check WIRE.
    """
    cursor = Cursor(data, Check.WIRE)
    version, kind, source, partition, offset, at = _HEAD.unpack(cursor.take(_HEAD.size))
    body = cursor.bytes32()
    cursor.end()
    if version != VERSION or kind not in (1, 2, 3) or source not in _TOPICS:
        raise Invalid(Check.WIRE, "not a message of the audit topic")
    return AuditRecord(kind, Place(_TOPICS[source], partition, offset), Millis(at), body)


def entry_of(data: bytes) -> bytes:
    """The tlog entry of a message of the audit topic: a version and a digest, so that tiles can be public."""
    return bytes((VERSION,)) + sha256(data).digest()


def audited(stored: Stored) -> AuditRecord:
    """What the notary writes of one message of the records or events topic."""
    topic, value = stored.message.topic, stored.message.value
    place = Place(topic, stored.partition, stored.offset)
    if topic == RECORDS:
        return AuditRecord(1, place, stored.appended_at, value)
    try:
        return AuditRecord(2, place, stored.appended_at, _bones(decode_envelope(value)))
    except Invalid:
        return AuditRecord(3, place, stored.appended_at, sha256(value).digest())


def _bones(envelope: Envelope) -> bytes:
    """Header, signature, the ledger, and of every other part its hash: a slice that proves the root by itself."""
    parts = [
        (i, part if part.kind == PartKind.LEDGER else Part(PartKind.HASH, envelope.tree[0][i]))
        for i, part in enumerate(envelope.parts, 1)
    ]
    return encode_slice(envelope.header_bytes, envelope.signed_bytes, len(parts) + 1, parts, (), b"")


@dataclass(slots=True)
class Memory:
    """Where the notary goes on: the audit topic's next offset, its last message's digest, the sources' positions."""

    offset: int = 0
    last: bytes = bytes(32)
    positions: dict[tuple[str, int], int] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The bytes that the log keeps with its state."""
        rows = [
            _POSITION.pack(_SOURCES[topic], partition, following)
            for (topic, partition), following in sorted(self.positions.items())
        ]
        return b"".join((_STATE.pack(self.offset, self.last, len(rows)), *rows))

    @classmethod
    def decode(cls, data: bytes) -> Memory:
        """The memory with these bytes; that of a new log, where there are none."""
        if not data:
            return cls()
        offset, last, count = _STATE.unpack_from(data)
        rows = _POSITION.iter_unpack(data[_STATE.size : _STATE.size + count * _POSITION.size])
        return cls(offset, last, {(_TOPICS[topic], partition): following for topic, partition, following in rows})

    def take(self, stored: Stored) -> None:
        """Goes on behind this message of the audit topic."""
        place = decode_audit_record(stored.message.value).place
        self.offset, self.last = stored.offset + 1, sha256(stored.message.value).digest()
        name = (place.topic, place.partition)
        self.positions[name] = max(place.offset + 1, self.positions.get(name, 0))


class Halted(StreamError):
    """The audit topic is not the one that the tree was made from: nothing may be added until people have looked."""


class Notary:
    """One notary. Held by one task; a second one on the same log is stopped by the log."""

    def __init__(self, stream: Stream, log: Log) -> None:
        self._stream, self._log = stream, log
        self.memory = Memory.decode(log.state.source)

    async def start(self) -> None:
        """Looks whether the audit topic is the one that the tree was made from.

        Raises:
            Halted: it is shorter, or its last message is another.
            StreamError: out of reach.
        """
        end = (await self._stream.ends(AUDIT)).get(0, 0)
        if end < self.memory.offset:
            raise Halted("the audit topic is shorter than the tree; it was truncated or replaced")
        if self.memory.offset:
            (last, *_) = await self._stream.read(AUDIT, {0: self.memory.offset - 1}, limit_bytes=1)
            if (last.offset + 1, sha256(last.message.value).digest()) != (self.memory.offset, self.memory.last):
                raise Halted("the audit topic is another than the tree was made from")

    async def step(self) -> Note | None:
        """Takes the audit topic into the tree, or, where all is in it, copies what is new; a new checkpoint, if any.

        Call it again and again. What it raises changes nothing: open log and notary again.

        Raises:
            StreamError: out of reach; what was copied is found in the topic.
            StoreError: the log's disk refused.
            Invalid: check WIRE: the audit topic holds something that no notary wrote.
        """
        written = await self._stream.read(AUDIT, {0: self.memory.offset})
        if written:
            return self._append(written[:BATCH])
        await self._copy()
        return None

    async def settle(self) -> list[Note]:
        """Steps until nothing is new; the checkpoints, not published."""
        notes = []
        while True:
            note = await self.step()
            if note is not None:
                notes.append(note)
            elif not await self._stream.read(AUDIT, {0: self.memory.offset}, limit_bytes=1):
                return notes

    def _append(self, written: Sequence[Stored]) -> Note:
        memory = Memory.decode(self.memory.encode())
        for stored in written:
            memory.take(stored)
        note = self._log.append([entry_of(stored.message.value) for stored in written], source=memory.encode())
        self.memory = memory
        return note

    async def _copy(self) -> None:
        found: list[Stored] = []
        for topic in _SOURCES:
            places = {one[1]: following for one, following in self.memory.positions.items() if one[0] == topic}
            found += await self._stream.read(topic, places)
        if found:
            await self._stream.publish([Message(AUDIT, _KEY, audited(stored).encode()) for stored in found[:BATCH]])


def replay(messages: Sequence[Stored]) -> Iterator[bytes]:
    """The entries that an audit topic gives: whoever has the topic can make the same tree."""
    yield from (entry_of(stored.message.value) for stored in messages)
