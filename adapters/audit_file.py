"""The audit topic as an auditor keeps it: each message under its place in the tree, found by case.

It holds nothing that does not stand in the topic, and can be removed: it is made again. Leaves judging to
``adapters.tracing`` and ``broker.audit.fsck``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self

from adapters.db import Database
from broker.audit.notary import VERSION, decode_audit_record
from broker.audit.record import Kind, Record, decode_record
from broker.errors import Invalid, StoreError
from broker.merkle import leaf_hash
from broker.names import CaseRef, EventId, Millis
from broker.seal.envelope import decode_slice
from broker.seal.parts import Signed
from broker.seal.wire import Cursor
from broker.stream.protocol import Stored
from broker.stream.sqlite_file import Format

AUDIT_FILE: Final = "audit.sqlite"
RECORD: Final = 1
ENVELOPE: Final = 2
_NOTHING: Final = b""
_FORMAT: Final = Format(
    what="audit file",
    application_id=0x43424131,  # "CBA1"
    version=1,
    error=StoreError,
    schema="""
        CREATE TABLE messages (
            place INTEGER PRIMARY KEY, kind INTEGER NOT NULL, case_ref BLOB NOT NULL, event_id BLOB NOT NULL,
            root BLOB NOT NULL, appended_at INTEGER NOT NULL, digest BLOB NOT NULL, message BLOB NOT NULL
        ) STRICT;
        CREATE INDEX of_case ON messages (case_ref, place);
        CREATE INDEX of_event ON messages (event_id) WHERE length(event_id) > 0;
        CREATE TABLE position (one INTEGER PRIMARY KEY CHECK (one = 1), next INTEGER NOT NULL) STRICT;
        INSERT INTO position VALUES (1, 0);
    """,
)


class Kept(NamedTuple):
    """One message: its place in the tree, and the SHA-256 that its entry holds; of a record the message itself.

    ``event_id`` is named where the message says it without a root: of a refused attempt.
    """

    place: int
    kind: int
    case: CaseRef
    event_id: bytes
    root: bytes
    appended_at: Millis
    digest: bytes
    message: bytes

    @property
    def leaf(self) -> bytes:
        """The leaf hash of its tlog entry."""
        digest = sha256(self.message).digest() if self.kind == RECORD else self.digest
        return leaf_hash(bytes((VERSION,)) + digest)

    @property
    def record(self) -> tuple[Record, bytes, Signed]:
        """As ``decode_record``.

        Raises:
            Invalid: check WIRE.
        """
        return decode_record(decode_audit_record(self.message).body)


def kept_of(place: int, message: bytes) -> Kept:
    """What is kept of a message; what cannot be read belongs to no case, and is told by ``fsck``."""
    digest = sha256(message).digest()
    try:
        audited = decode_audit_record(message)
        at, body = audited.appended_at, audited.body
        if audited.kind == ENVELOPE:
            bones = decode_slice(body)
            header = bones.header
            return Kept(place, ENVELOPE, header.case_ref, header.event_id, bones.root, at, digest, _NOTHING)
        if audited.kind == RECORD:
            record = decode_record(body)[0]
            event = denied(record.body)[2] if record.kind is Kind.DENIED else _NOTHING
            return Kept(place, RECORD, record.case, event, record.root, at, digest, message)
    except (Invalid, ValueError):
        pass
    return Kept(place, 0, CaseRef(_NOTHING), _NOTHING, _NOTHING, Millis(0), digest, _NOTHING)


def denied(body: bytes) -> tuple[str, str, EventId, bytes]:
    """Post, purpose, event and the numbers of the compartments of a refused attempt (``docs/spec/records.md`` §2).

    Raises:
        Invalid: check WIRE.
    """
    cursor = Cursor(body)
    post, purpose, event = cursor.text(), cursor.text(), EventId(cursor.take(16))
    return post, purpose, event, cursor.take(len(body) - cursor.at)


class AuditFile:
    """One auditor's copy."""

    def __init__(self, database: Database) -> None:
        """Use ``open``."""
        self._db = database

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The one in this home.

        Raises:
            StoreError: it cannot be opened.
        """
        return cls(Database.open(folder / AUDIT_FILE, _FORMAT))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def count(self) -> int:
        """How many messages are here."""
        with self._db.reading() as db:
            return int(db.execute("SELECT COALESCE(MAX(place) + 1, 0) FROM messages").fetchone()[0])

    @property
    def next(self) -> int:
        """The offset of the audit topic to read next."""
        with self._db.reading() as db:
            return int(db.execute("SELECT next FROM position").fetchone()[0])

    def add(self, batch: Collection[Stored]) -> None:
        """Keeps what follows in the topic.

        Raises:
            StoreError: the database refused; nothing was kept.
        """
        with self._db.writing() as db:
            start = self.count
            self.put(kept_of(start + number, one.message.value) for number, one in enumerate(batch))
            db.execute("UPDATE position SET next = ?", (max(one.offset for one in batch) + 1,))

    def put(self, rows: Iterable[Kept]) -> None:
        """Keeps these rows as they are."""
        with self._db.writing() as db:
            db.executemany("INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def of_case(self, case: CaseRef, events: Iterable[EventId]) -> list[Kept]:
        """What was said of a case, and of these events of it, in the order of the tree."""
        with self._db.reading() as db:
            found = {row[0]: row for row in db.execute("SELECT * FROM messages WHERE case_ref = ?", (case,))}
            for event in events:
                found.update((row[0], row) for row in db.execute(_OF_EVENT, (event,)))
        return [Kept(*found[place]) for place in sorted(found)]


_OF_EVENT: Final = "SELECT * FROM messages WHERE event_id = ? AND length(event_id) > 0"
