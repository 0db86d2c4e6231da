"""The tables of the outbox and the values that stand in them. Leaves the rules of writing to ``outbox``."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Final

from broker.errors import StoreError
from broker.names import AgencyId, CaseRef, EventId, Millis
from broker.stream import headers as wire
from broker.stream.protocol import Headers, Position
from broker.stream.sqlite_file import Format

NO_PREVIOUS: Final = bytes(32)
"""``previous`` of the first envelope of an incarnation (``docs/spec/envelope.md`` §3.1)."""

FORMAT: Final = Format(
    what="outbox",
    application_id=0x43424F31,  # "CBO1"
    version=1,
    error=StoreError,
    schema="""
        CREATE TABLE instance (
            one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL CHECK (length(id) = 8), place TEXT NOT NULL
        ) STRICT;
        CREATE TABLE incarnations (
            incarnation INTEGER PRIMARY KEY, opened_at INTEGER NOT NULL, last_head BLOB NOT NULL,
            next INTEGER NOT NULL, head BLOB NOT NULL CHECK (length(head) = 32)
        ) STRICT;
        CREATE TABLE counters (
            incarnation INTEGER NOT NULL REFERENCES incarnations, reader TEXT NOT NULL, next INTEGER NOT NULL,
            PRIMARY KEY (incarnation, reader)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE envelopes (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            event_id BLOB NOT NULL UNIQUE, root BLOB NOT NULL UNIQUE, case_ref BLOB NOT NULL, type TEXT NOT NULL,
            headers BLOB NOT NULL, envelope BLOB NOT NULL, idempotency_key TEXT UNIQUE,
            incarnation INTEGER NOT NULL REFERENCES incarnations, sequence INTEGER NOT NULL,
            state INTEGER NOT NULL, created_at INTEGER NOT NULL,
            topic TEXT, partition INTEGER, "offset" INTEGER, check_number INTEGER,
            UNIQUE (incarnation, sequence)
        ) STRICT;
        CREATE INDEX queued ON envelopes (id) WHERE state = 1;
        CREATE INDEX of_case ON envelopes (case_ref, id)
    """,
)


class State(enum.IntEnum):
    """How far an envelope has come; the numbers are stored."""

    QUEUED = 1
    SENT = 2
    """In the stream, durably."""
    ACCEPTED = 3
    """The broker accepted it. Final."""
    REFUSED = 4
    """The broker put it in quarantine. Final."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What the outbox gives one envelope for its header and its slots; ``counters`` has one for each reader."""

    incarnation: int
    sequence: int
    previous_root: bytes
    counters: Mapping[AgencyId, int]


@dataclass(frozen=True, slots=True)
class Draft:
    """A sealed and signed envelope to be kept. ``idempotency_key`` is the caller's, and says nothing of the content."""

    event_id: EventId
    root: bytes
    case: CaseRef
    type: str
    envelope: bytes
    headers: Headers = ()
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """An envelope as the outbox has it. ``position`` is set once sent, ``check`` where it was refused."""

    id: int
    draft: Draft
    incarnation: int
    sequence: int
    state: State
    created_at: Millis
    position: Position | None
    check: int | None


_SELECT: Final = (
    "SELECT event_id, root, case_ref, type, envelope, headers, idempotency_key, id, incarnation, sequence, state,"
    ' created_at, topic, partition, "offset", check_number FROM envelopes WHERE '
)


def select(connection: Connection, where: str, *values: object) -> list[Kept]:
    """The envelopes for which this holds; ``where`` is SQL of ours, what comes from outside is in ``values``."""
    return [
        Kept(
            id=row[7],
            draft=Draft(
                event_id=row[0],
                root=row[1],
                case=row[2],
                type=row[3],
                envelope=row[4],
                headers=wire.decode(row[5]),
                idempotency_key=row[6],
            ),
            incarnation=row[8],
            sequence=row[9],
            state=State(row[10]),
            created_at=row[11],
            position=None if row[12] is None else Position(*row[12:15]),
            check=row[15],
        )
        for row in connection.execute(_SELECT + where, values)
    ]
