"""The inbox: what this agency has received, still sealed, and how far it has read its stream.

A slice and the position after it are stored in one transaction, once for each envelope root: delivery at least
once becomes exactly once here. Beside them stand the receipts that this agency owes. Leaves verifying and
opening to the caller, keys to the keystore, and what a case has come to, to ``casebook``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Final, Self

from adapters.casebook import Casebook
from adapters.db import Database
from adapters.findings import Findings
from adapters.inbox_file import FORMAT, Arrival, Opening, Receipt, Slice, State, insert, select
from broker.clock import Clock
from broker.errors import InputError, StoreError
from broker.names import CaseRef, Compartment, Digest, EventId, Millis
from broker.stream.sqlite_file import BUSY_MS

NO_PREVIOUS: Final = Digest(bytes(32))
"""The digest before the first receipt of an incarnation."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch: the positions in it of what was new, and of what the inbox had already."""

    new: tuple[int, ...]
    known: tuple[int, ...]


class Inbox:
    """The inbox of one adapter. Any thread and process may use it; one writes at a time, the others wait.

    Every method that writes is durable on return, or, within ``writing``, when that block ends.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        """Use ``open``."""
        self._db, self._clock = database, clock
        self.casebook = Casebook(database)
        self.findings = Findings(database, clock)

    @classmethod
    def open(cls, path: Path, *, clock: Clock, factory: type[Connection] = Connection, busy_ms: int = BUSY_MS) -> Self:
        """Open the inbox, made if it is not there.

        Raises:
            StoreError: see ``Database.open``.
        """
        return cls(Database.open(path, FORMAT, factory=factory, busy_ms=busy_ms), clock)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Everything written within, to the casebook too, is kept together or not at all.

        Raises:
            StoreError: the database refused; nothing of the block is kept.
        """
        with self._db.writing():
            yield

    @property
    def version(self) -> int:
        """A number that changes when another process has written this inbox; what is held in memory is old then."""
        return self._db.version

    def store(self, batch: Sequence[Arrival], positions: Mapping[tuple[str, int], int]) -> Outcome:
        """Keep the slices that are new, and the positions after all of them, in one transaction.

        Args:
            batch: in the order of the stream.
            positions: (topic, partition) -> offset to read next.

        Raises:
            StoreError: the database refused; read the same messages again.
        """
        new: list[int] = []
        with self._db.writing() as db:
            now = self._clock.now()
            for number, arrival in enumerate(batch):
                if insert(db, arrival, now):
                    new.append(number)
            db.executemany(
                "INSERT INTO positions VALUES (?, ?, ?)"
                " ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next",
                [(topic, partition, following) for (topic, partition), following in positions.items()],
            )
        taken = frozenset(new)
        return Outcome(tuple(new), tuple(i for i in range(len(batch)) if i not in taken))

    def positions(self, topic: str) -> dict[int, int]:
        """Partition -> offset to read next, as ``Stream.read`` takes it."""
        with self._db.reading() as db:
            return dict(db.execute("SELECT partition, next FROM positions WHERE topic = ?", (topic,)).fetchall())

    def get(self, event_id: EventId) -> Slice:
        """The slice of this event: one that is valid before one that waits, before one in quarantine.

        Raises:
            InputError: no such event.
        """
        return self._first("event_id = ? ORDER BY state, id LIMIT 1", event_id)

    def slices_of(self, event_id: EventId) -> list[Slice]:
        """Everything of this event: valid before waiting before in quarantine; nothing where it never came."""
        return self._rows("event_id = ? ORDER BY state, id", event_id)

    def events_like(self, digits: str, limit: int = 3) -> list[EventId]:
        """Events whose id begins with these hexadecimal digits; a few are enough to see that it is not one."""
        with self._db.reading() as db:
            rows = db.execute(
                "SELECT DISTINCT event_id FROM slices WHERE lower(hex(event_id)) LIKE ? || '%' LIMIT ?", (digits, limit)
            )
            return [EventId(row[0]) for row in rows if set(digits) <= set("0123456789abcdef")]

    def by_root(self, root: bytes) -> Slice | None:
        """The slice of this envelope, received or pending; None if there is none."""
        found = self._rows("root = ? AND state <> 3", root)
        return found[0] if found else None

    def slices(
        self,
        *,
        case: CaseRef | None = None,
        state: State | None = None,
        after: int = 0,
        limit: int = 100,
        newest: bool = False,
    ) -> list[Slice]:
        """Slices in the order of their arrival, those after ``Slice.id`` ``after``; of all cases or of one.

        The first ``limit`` of them, or, where ``newest``, the last.
        """
        where, values = ["id > ?"], [after]
        if case is not None:
            where.append("case_ref = ?")
        if state is not None:
            where.append("state = ?")
        chosen = [value for value in (case, state) if value is not None]
        order = " ORDER BY id DESC LIMIT ?" if newest else " ORDER BY id LIMIT ?"
        found = self._rows(" AND ".join(where) + order, *values, *chosen, limit)
        return found[::-1] if newest else found

    def cases(self) -> list[CaseRef]:
        """The cases of which something valid or waiting is here, or a fact, in the order of their reference."""
        with self._db.reading() as db:
            rows = db.execute(
                "SELECT case_ref FROM slices WHERE state <> 3 UNION SELECT case_ref FROM facts ORDER BY 1"
            )
            return [row[0] for row in rows]

    def pending(self, limit: int = 1_000) -> list[Slice]:
        """What waits, in the order of its arrival."""
        return self._rows("state = 2 ORDER BY id LIMIT ?", limit)

    def latest(self) -> dict[int, Millis]:
        """For each partition of the events: when the broker accepted the newest of what is valid here. Reads it all."""
        with self._db.reading() as db:
            rows = db.execute("SELECT partition, MAX(accepted_at) FROM slices WHERE state = 1 GROUP BY partition")
            return dict(rows.fetchall())

    def received(self, number: int, *, kept: bytes | None = None) -> None:
        """What waited is valid now. ``kept`` replaces the slice, when its slot is no longer needed.

        Args:
            number: ``Slice.id``.

        Raises:
            InputError: nothing of this number waits or is received.
        """
        with self._db.writing() as db:
            if kept is not None:
                self._change(db, "UPDATE slices SET slice = ? WHERE id = ? AND state <> 3", kept, number)
            self._change(db, "UPDATE slices SET state = 1, needs = '' WHERE id = ? AND state <> 3", number)

    def waits(self, number: int, *, needs: str) -> None:
        """What waited waits on, for something else.

        Raises:
            InputError: nothing of this number waits.
        """
        with self._db.writing() as db:
            self._change(db, "UPDATE slices SET needs = ? WHERE id = ? AND state = 2", needs, number)

    def quarantine(self, number: int, *, check: int, reason: str) -> None:
        """What waited failed a check after all. ``reason`` is one plain sentence without content.

        Raises:
            InputError: nothing of this number waits.
        """
        with self._db.writing() as db:
            db.execute(
                "DELETE FROM slices WHERE state = 3 AND slice_digest = (SELECT slice_digest FROM slices WHERE id = ?)"
                " AND id <> ?",
                (number, number),
            )
            self._change(
                db,
                "UPDATE slices SET state = 3, needs = '', check_number = ?, reason = ? WHERE id = ? AND state = 2",
                *(check, reason, number),
            )

    def opening(self, openings: Sequence[Opening]) -> None:
        """Note what is about to be opened. Content is decrypted only AFTER this has returned.

        Raises:
            StoreError: not noted: the content stays closed.
            InputError: an event is not here.
        """
        with self._db.writing() as db:
            for event_id in {opening.event_id for opening in openings}:
                self._change(db, "UPDATE slices SET opened = 1 WHERE event_id = ? AND state <> 3", event_id)
            db.executemany(
                "INSERT INTO openings (event_id, compartment, person, post, purpose, at) VALUES (?, ?, ?, ?, ?, ?)",
                [(o.event_id, o.compartment, o.person, o.post, o.purpose, o.at) for o in openings],
            )

    def openings(self, event_id: EventId) -> list[Opening]:
        """Who opened what of this event, in order of time."""
        with self._db.reading() as db:
            return [opening for _, opening in _openings(db, "event_id = ? ORDER BY id", event_id)]

    def unreceipted(self, limit: int = 1_000) -> list[tuple[int, Opening]]:
        """Openings that stand in no receipt yet, each with its number, in order of time."""
        with self._db.reading() as db:
            return _openings(db, "receipt IS NULL ORDER BY id LIMIT ?", limit)

    def next_receipt(self, incarnation: int) -> tuple[int, Digest]:
        """Number (from 0) and previous digest of the next receipt; call it within ``writing``, then ``put_receipt``."""
        with self._db.reading() as db:
            last = db.execute(
                "SELECT number, digest FROM receipts WHERE incarnation = ? ORDER BY number DESC LIMIT 1", (incarnation,)
            ).fetchone()
        return (0, NO_PREVIOUS) if last is None else (last[0] + 1, last[1])

    def last_receipt(self) -> Digest:
        """The digest of the newest receipt of any life; zeros where there is none."""
        with self._db.reading() as db:
            last = db.execute("SELECT digest FROM receipts ORDER BY id DESC LIMIT 1").fetchone()
        return NO_PREVIOUS if last is None else last[0]

    def put_receipt(
        self,
        *,
        incarnation: int,
        number: int,
        case: CaseRef,
        digest: Digest,
        record: bytes,
        openings: Iterable[int] = (),
    ) -> None:
        """Keep a signed receipt until it is sent, and note which openings (their numbers) stand in it.

        Raises:
            StoreError: the number is not the next one, or the database refused.
        """
        with self._db.writing() as db:
            if number != self.next_receipt(incarnation)[0]:
                raise StoreError("receipts are numbered without gaps; ask for the next number again", number=number)
            kept = db.execute(
                "INSERT INTO receipts (incarnation, number, case_ref, digest, record) VALUES (?, ?, ?, ?, ?)",
                (incarnation, number, case, digest, record),
            ).lastrowid
            db.executemany(
                "UPDATE openings SET receipt = ? WHERE id = ? AND receipt IS NULL", [(kept, o) for o in openings]
            )

    def unsent_receipts(self, limit: int = 1_000) -> list[Receipt]:
        """Receipts not known to be in the stream, in the order of their making."""
        with self._db.reading() as db:
            rows = db.execute(
                "SELECT id, incarnation, number, case_ref, digest, record FROM receipts WHERE sent = 0"
                " ORDER BY id LIMIT ?",
                (limit,),
            )
            return [Receipt(*row) for row in rows]

    def receipts_sent(self, numbers: Iterable[int]) -> None:
        """Note that these (``Receipt.id``) are in the stream; again does no harm."""
        with self._db.writing() as db:
            db.executemany("UPDATE receipts SET sent = 1 WHERE id = ?", [(number,) for number in numbers])

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _first(self, where: str, *values: object) -> Slice:
        found = self._rows(where, *values)
        if not found:
            raise InputError("no such event in the inbox of this agency", field="event")
        return found[0]

    def _rows(self, where: str, *values: object) -> list[Slice]:
        with self._db.reading() as db:
            return select(db, where, values)

    @staticmethod
    def _change(db: Connection, statement: str, *values: object) -> None:
        if db.execute(statement, values).rowcount == 0:
            raise InputError("no such event in the inbox of this agency, or not in that state", field="event")


def _openings(db: Connection, where: str, *values: object) -> list[tuple[int, Opening]]:
    rows = db.execute(_OPENINGS + where, values)
    return [(row[0], Opening(row[1], Compartment(row[2]), *row[3:])) for row in rows]


_OPENINGS: Final = "SELECT id, event_id, compartment, person, post, purpose, at FROM openings WHERE "
