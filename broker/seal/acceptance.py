"""Acceptance: the broker's signed word on where and when an envelope entered the stream (§9)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from broker.checks import Check
from broker.names import AgencyId, Digest, Millis
from broker.seal.parts import Signed, read_signed
from broker.seal.wire import Cursor, text

_STATEMENT: Final = struct.Struct(">16sIQQ32s32s")


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
        return _STATEMENT.pack(*self)


def decode_statement(data: bytes) -> Statement:
    """The statement with these bytes.

    Raises:
        Invalid: check ACCEPTANCE.
    """
    cursor = Cursor(data, Check.ACCEPTANCE)
    statement = Statement(*_STATEMENT.unpack(cursor.take(_STATEMENT.size)))
    cursor.end()
    return statement


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
    statement = Statement(*_STATEMENT.unpack(cursor.take(_STATEMENT.size)))
    acceptance = Acceptance(statement, AgencyId(cursor.text()), read_signed(cursor))
    cursor.end()
    return acceptance
