"""Acceptance: the broker's signed word on where and when an envelope entered the stream (§9)."""

from __future__ import annotations

from typing import NamedTuple

from broker.checks import Check
from broker.names import AgencyId, Digest, Millis
from broker.seal.parts import Signed, read_signed
from broker.seal.wire import Cursor, text


class Statement(NamedTuple):
    """What is accepted: place, time, bundle in force, root."""

    topic_id: bytes
    partition: int
    offset: int
    appended_at: Millis
    bundle: Digest
    root: Digest

    def encode(self) -> bytes:
        """The statement's bytes."""
        return b"".join(
            (
                self.topic_id,
                self.partition.to_bytes(4, "big"),
                self.offset.to_bytes(8, "big"),
                self.appended_at.to_bytes(8, "big"),
                self.bundle,
                self.root,
            )
        )


class Acceptance(NamedTuple):
    """A statement with the signature of the broker that made it."""

    statement: Statement
    broker: AgencyId
    signed: Signed

    def encode(self) -> bytes:
        """The acceptance's bytes."""
        return self.statement.encode() + text(self.broker) + self.signed.encode()


def decode_acceptance(data: bytes) -> Acceptance:
    """The acceptance with these bytes.

    Raises:
        Invalid: check ACCEPTANCE.
    """
    cursor = Cursor(data, Check.ACCEPTANCE)
    topic_id, partition, offset, appended_at = cursor.take(16), cursor.u32(), cursor.u64(), Millis(cursor.u64())
    statement = Statement(topic_id, partition, offset, appended_at, Digest(cursor.take(32)), Digest(cursor.take(32)))
    acceptance = Acceptance(statement, AgencyId(cursor.text()), read_signed(cursor))
    cursor.end()
    return acceptance
