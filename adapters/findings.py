"""What an auditor found in ledgers, and which events were compared, in the inbox's own database.

Leaves comparing to ``adapters.review``. A finding is about an event that is valid and stays so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from adapters.db import Database
from adapters.inbox_file import Slice, select
from broker.clock import Clock
from broker.names import AgencyId, CaseRef, EventId, Millis
from broker.review import Finding

# The index has the roots alone: no slice is read to find out that it was compared.
_CASES: Final = (
    "SELECT DISTINCT case_ref FROM slices WHERE id IN"
    " (SELECT id FROM slices INDEXED BY once WHERE state <> 3 AND root NOT IN (SELECT root FROM reviews)) ORDER BY 1"
)
_LEFT: Final = "case_ref = ? AND state = 1 AND root NOT IN (SELECT root FROM reviews) ORDER BY id"
_LEFT_OF_CASE: Final = (
    "SELECT COUNT(*) FROM slices WHERE case_ref = ? AND state = 1 AND root NOT IN (SELECT root FROM reviews)"
)
_ALL: Final = "SELECT event_id, case_ref, check_number, agency, reason, at FROM findings"


class Found(NamedTuple):
    """A finding, the event and case that it is about, and when it was made."""

    event_id: EventId
    case: CaseRef
    check: int
    agency: AgencyId
    reason: str
    at: Millis


class Findings:
    """Each envelope is compared once, and what came of it is kept in the same transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Use ``Inbox.findings``."""
        self._db, self._clock = database, clock

    def cases(self) -> list[CaseRef]:
        """The cases of which something was not compared yet, or still waits to be valid."""
        with self._db.reading() as db:
            return [CaseRef(row[0]) for row in db.execute(_CASES)]

    def unreviewed(self, case: CaseRef) -> list[Slice]:
        """What is valid of a case and was not compared yet, in the order of its arrival."""
        with self._db.reading() as db:
            return select(db, _LEFT, (case,))

    def reviewed(self, one: Slice, found: Iterable[Finding]) -> None:
        """An event was compared; a second time changes nothing.

        Raises:
            StoreError: the database refused; compare it again.
        """
        arrival, now = one.arrival, self._clock.now()
        with self._db.writing() as db:
            new = db.execute("INSERT INTO reviews VALUES (?, ?) ON CONFLICT DO NOTHING", (arrival.root, now)).rowcount
            if new:
                db.executemany(
                    "INSERT INTO findings (root, event_id, case_ref, check_number, agency, reason, at)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    [
                        (arrival.root, arrival.event_id, arrival.case, int(each.check), each.agency, each.reason, now)
                        for each in found
                    ],
                )

    def found(self, case: CaseRef | None = None) -> list[Found]:
        """What was found, of all cases or of one, in the order in which it was."""
        with self._db.reading() as db:
            if case is None:
                rows = db.execute(_ALL + " ORDER BY id")
            else:
                rows = db.execute(_ALL + " WHERE case_ref = ? ORDER BY id", (case,))
            return [Found(*row) for row in rows]

    def left(self, case: CaseRef) -> int:
        """How many events of a case are valid and were not compared."""
        with self._db.reading() as db:
            return int(db.execute(_LEFT_OF_CASE, (case,)).fetchone()[0])
