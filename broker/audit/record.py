"""The bytes of a record (``docs/spec/records.md``): one step of one message, said by the party that took it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from broker.checks import Check
from broker.clock import Random
from broker.names import AgencyId, CaseRef, Digest, KeyId, Millis
from broker.seal.header import SUITE
from broker.seal.parts import Signed, read_signed, sign_batch
from broker.seal.wire import NO_DIGEST, Cursor, bytes16, text

_TAG: Final = b"casebridge/1/record"
_MESSAGE: Final = b"casebridge/1/records"
NO_CASE: Final = CaseRef(bytes(16))


class Kind(enum.IntEnum):
    """What happened; numbers are never reused."""

    CHAIN_OPENED = 1
    """A new life of the author: its sequence starts at 0."""
    ACCEPTED = 2
    """The broker accepted a root; the body is the acceptance statement."""
    DELIVERED = 3
    """The broker put a slice into a reader's topic; the body names the readers."""
    QUARANTINED = 4
    """The broker, or a recipient, refused; the body is the number of the check."""
    RECEIVED = 5
    """A recipient stored its slice, verified."""
    OPENED = 6
    """A post opened blocks: post, purpose code, part numbers."""
    DENIED = 7
    """A post asked for a block that it may not open: post, purpose code, compartment."""


class Record(NamedTuple):
    """One record; ``root`` is that of the envelope concerned, ``body`` depends on the kind and holds no content."""

    kind: Kind
    author: AgencyId
    instance: bytes
    incarnation: int
    sequence: int
    previous: Digest
    salt: bytes
    at: Millis
    case: CaseRef
    root: Digest
    body: bytes

    def encode(self) -> bytes:
        """The record's bytes, without its signature."""
        return b"".join(
            (
                bytes((SUITE, self.kind)),
                text(self.author),
                self.instance,
                self.incarnation.to_bytes(8, "big"),
                self.sequence.to_bytes(8, "big"),
                self.previous,
                self.salt,
                self.at.to_bytes(8, "big"),
                self.case,
                self.root,
                bytes16(self.body),
            )
        )


def record_digest(data: bytes) -> Digest:
    """The digest by which the author's next record cites this one."""
    return Digest(sha256(_TAG + data).digest())


def records_message(author: AgencyId, key_id: KeyId, size: int, batch_root: bytes) -> bytes:
    """What an author signs for a batch of records."""
    return b"".join((_MESSAGE, bytes((SUITE,)), text(author), key_id, size.to_bytes(4, "big"), batch_root))


class Step(NamedTuple):
    """What a record is to say, before it has its place in the author's chain."""

    kind: Kind
    at: Millis
    case: CaseRef
    root: Digest
    body: bytes = b""


class Chain:
    """One life of a record author: numbers and links its records. Held by one task at a time."""

    def __init__(
        self, author: AgencyId, instance: bytes, incarnation: int, *, sequence: int = 0, previous: Digest | None = None
    ) -> None:
        self._author, self._instance, self._incarnation = author, instance, incarnation
        self.sequence, self.previous = sequence, previous or Digest(NO_DIGEST)

    def write(
        self, steps: Sequence[Step], *, key_id: KeyId, sign: Callable[[bytes], bytes], random: Random
    ) -> list[bytes]:
        """The signed records of these steps, in order."""
        bodies = []
        for step in steps:
            record = Record(
                step.kind,
                self._author,
                self._instance,
                self._incarnation,
                self.sequence,
                self.previous,
                random.bytes(16),
                step.at,
                step.case,
                step.root,
                step.body,
            ).encode()
            bodies.append(record)
            self.sequence, self.previous = self.sequence + 1, record_digest(record)
        if not bodies:
            return []
        signed = sign_batch(bodies, signer=self._author, key_id=key_id, sign=sign, message=records_message)
        return [bytes16(body) + member.encode() for body, member in zip(bodies, signed, strict=True)]


def decode_record(data: bytes) -> tuple[Record, bytes, Signed]:
    """A record, its bytes and its signature, which is not yet verified.

    Raises:
        Invalid: check WIRE.
    """
    cursor = Cursor(data, Check.WIRE)
    body = cursor.bytes16()
    signed = read_signed(cursor)
    cursor.end()
    inner = Cursor(body, Check.WIRE)
    inner.u8()
    record = Record(
        Kind(inner.u8()),
        AgencyId(inner.text()),
        inner.take(8),
        inner.u64(),
        inner.u64(),
        Digest(inner.take(32)),
        inner.take(16),
        Millis(inner.u64()),
        CaseRef(inner.take(16)),
        Digest(inner.take(32)),
        inner.bytes16(),
    )
    inner.end()
    return record, body, signed
