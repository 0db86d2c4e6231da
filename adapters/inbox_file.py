"""The tables of the inbox and the values that stand in them.

Leaves the rules of writing to ``inbox`` and ``casebook``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from sqlite3 import Connection
from typing import Final

from broker.errors import StoreError
from broker.names import AgencyId, CaseRef, Compartment, Digest, EventId, Millis, PersonRef
from broker.stream.protocol import Position
from broker.stream.sqlite_file import Format

FORMAT: Final = Format(
    what="inbox",
    application_id=0x43424931,  # "CBI1"
    version=2,
    error=StoreError,
    # One envelope is in the inbox once. What is in quarantine does not count: a bad slice of an envelope must
    # not keep out the good one that comes later, and the same bad bytes are kept once.
    schema="""
        CREATE TABLE slices (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            event_id BLOB NOT NULL, root BLOB NOT NULL, case_ref BLOB NOT NULL, type TEXT NOT NULL,
            variant TEXT NOT NULL, author TEXT NOT NULL, slice BLOB NOT NULL, slice_digest BLOB NOT NULL,
            topic TEXT, partition INTEGER, "offset" INTEGER, accepted_at INTEGER, received_at INTEGER NOT NULL,
            state INTEGER NOT NULL, needs TEXT NOT NULL, check_number INTEGER, reason TEXT NOT NULL,
            opened INTEGER NOT NULL DEFAULT 0
        ) STRICT;
        CREATE UNIQUE INDEX once ON slices (root) WHERE state <> 3;
        CREATE UNIQUE INDEX once_quarantined ON slices (slice_digest) WHERE state = 3;
        CREATE INDEX of_event ON slices (event_id);
        CREATE INDEX of_case ON slices (case_ref, id);
        CREATE INDEX waiting ON slices (id) WHERE state = 2;
        CREATE TABLE positions (
            topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE openings (
            id INTEGER PRIMARY KEY AUTOINCREMENT, event_id BLOB NOT NULL, compartment INTEGER NOT NULL, person BLOB,
            post TEXT NOT NULL, purpose TEXT NOT NULL, at INTEGER NOT NULL, receipt INTEGER
        ) STRICT;
        CREATE INDEX unreceipted ON openings (id) WHERE receipt IS NULL;
        CREATE TABLE receipts (
            id INTEGER PRIMARY KEY AUTOINCREMENT, incarnation INTEGER NOT NULL, number INTEGER NOT NULL,
            case_ref BLOB NOT NULL, digest BLOB NOT NULL CHECK (length(digest) = 32), record BLOB NOT NULL,
            sent INTEGER NOT NULL DEFAULT 0, UNIQUE (incarnation, number)
        ) STRICT;
        CREATE INDEX unsent ON receipts (id) WHERE sent = 0;
        CREATE TABLE facts (
            case_ref BLOB NOT NULL, position INTEGER NOT NULL, event_id BLOB NOT NULL, fact BLOB NOT NULL,
            PRIMARY KEY (case_ref, position, event_id)
        ) STRICT;
        CREATE TABLE mandates (
            digest BLOB PRIMARY KEY, case_ref BLOB NOT NULL, link BLOB NOT NULL
        ) STRICT;
        CREATE INDEX mandates_of_case ON mandates (case_ref);
        CREATE TABLE counted (
            publisher TEXT NOT NULL, instance BLOB NOT NULL, incarnation INTEGER NOT NULL, counter INTEGER NOT NULL,
            sequence INTEGER NOT NULL, root BLOB NOT NULL, PRIMARY KEY (publisher, instance, incarnation, counter)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE told (
            agency TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (agency, digest)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE labels (
            case_ref BLOB NOT NULL, person BLOB NOT NULL, alias TEXT NOT NULL,
            PRIMARY KEY (case_ref, person), UNIQUE (case_ref, alias)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE reviews (root BLOB PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE findings (
            id INTEGER PRIMARY KEY AUTOINCREMENT, root BLOB NOT NULL, event_id BLOB NOT NULL, case_ref BLOB NOT NULL,
            check_number INTEGER NOT NULL, agency TEXT NOT NULL, reason TEXT NOT NULL, at INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX findings_of_case ON findings (case_ref, id)
    """,
)


class State(enum.IntEnum):
    """Where a slice stands; the numbers are stored."""

    RECEIVED = 1
    """Valid: may be kept and shown."""
    PENDING = 2
    """Waits for something that is on its way."""
    QUARANTINED = 3
    """A check failed."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A slice to be stored, sealed as it came or as ``docs/spec/envelope.md`` §3.3 keeps it.

    ``accepted`` and ``accepted_at`` are where and when the envelope entered the stream. In quarantine, what
    could not be read is left empty; ``root`` is then of no meaning. ``needs`` says what a pending one waits
    for; ``check`` and ``reason`` say why one is in quarantine. No content in either.
    """

    event_id: EventId
    root: bytes
    case: CaseRef
    type: str
    variant: str
    author: AgencyId
    slice: bytes
    accepted: Position | None
    accepted_at: Millis | None
    state: State = State.RECEIVED
    needs: str = ""
    check: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice as the inbox has it; ``id`` ascends in the order of arrival. ``opened``: some block was opened."""

    id: int
    arrival: Arrival
    received_at: Millis
    opened: bool


@dataclass(frozen=True, slots=True)
class Opening:
    """That a post opened a block, and under which purpose code; ``person`` where the compartment is personal."""

    event_id: EventId
    compartment: Compartment
    person: PersonRef | None
    post: str
    purpose: str
    at: Millis


@dataclass(frozen=True, slots=True)
class Receipt:
    """A signed record of this agency, for ``casebridge.records``; ``number`` and ``digest`` form its chain."""

    id: int
    incarnation: int
    number: int
    case: CaseRef
    digest: Digest
    record: bytes


_SELECT: Final = (
    "SELECT id, event_id, root, case_ref, type, variant, author, slice, topic, partition,"
    ' "offset", accepted_at, received_at, state, needs, check_number, reason, opened FROM slices WHERE '
)


def select(connection: Connection, where: str, values: Iterable[object]) -> list[Slice]:
    """The slices for which this holds; ``where`` is SQL of ours, what comes from outside is in ``values``."""
    return [
        Slice(
            id=row[0],
            arrival=Arrival(
                event_id=row[1],
                root=row[2],
                case=row[3],
                type=row[4],
                variant=row[5],
                author=row[6],
                slice=row[7],
                accepted=None if row[8] is None else Position(row[8], row[9], row[10]),
                accepted_at=row[11],
                state=State(row[13]),
                needs=row[14],
                check=row[15],
                reason=row[16],
            ),
            received_at=row[12],
            opened=bool(row[17]),
        )
        for row in connection.execute(_SELECT + where, tuple(values))
    ]


def insert(connection: Connection, arrival: Arrival, received_at: Millis) -> bool:
    """Store it unless it is there; whether it was stored."""
    place = (None, None, None) if arrival.accepted is None else tuple(arrival.accepted)
    cursor = connection.execute(
        "INSERT INTO slices (event_id, root, case_ref, type, variant, author, slice, slice_digest, topic, partition,"
        ' "offset", accepted_at, received_at, state, needs, check_number, reason)'
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            *(arrival.event_id, arrival.root, arrival.case, arrival.type, arrival.variant, arrival.author),
            *(arrival.slice, sha256(arrival.slice).digest(), *place, arrival.accepted_at, received_at),
            *(arrival.state, arrival.needs, arrival.check, arrival.reason),
        ),
    )
    return cursor.rowcount == 1
