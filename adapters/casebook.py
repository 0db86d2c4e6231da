"""The casebook: what this agency knows of its cases, in the inbox's own database.

Facts, mandates and labels are opaque here and come from verified events only; they are written in the transaction
that stores the event (``Inbox.writing``). Leaves judging them to ``broker.authority``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from adapters.db import Database
from broker.names import AgencyId, CaseRef, Digest, EventId, PersonRef


class Casebook:
    """Facts, mandates, who was told of them, and the display names of persons, for each case."""

    def __init__(self, database: Database) -> None:
        """Use ``Inbox.casebook``."""
        self._db = database

    def put_fact(self, case: CaseRef, *, position: int, event_id: EventId, fact: bytes) -> None:
        """Keep what an event tells; a second time replaces the first.

        Args:
            position: offset of the event in the partition of its case.
            fact: bytes that reveal nothing to a thief of the disk; the caller sees to that.
        """
        with self._db.writing() as db:
            db.execute(
                "INSERT INTO facts VALUES (?, ?, ?, ?)"
                " ON CONFLICT (case_ref, position, event_id) DO UPDATE SET fact = excluded.fact",
                (case, position, event_id, fact),
            )

    def facts(self, case: CaseRef, *, before: int | None = None) -> list[bytes]:
        """What is known of the case, in the order of the stream; only what stands before ``before``, if given."""
        with self._db.reading() as db:
            rows = db.execute(
                "SELECT fact FROM facts WHERE case_ref = ? AND position < ? ORDER BY position, event_id",
                (case, _LAST if before is None else before),
            )
            return [row[0] for row in rows]

    def memos(self, case: CaseRef) -> dict[tuple[EventId, int], bytes]:
        """The same by event and position: its id is its sender's word, so two envelopes may have the same."""
        with self._db.reading() as db:
            rows = db.execute("SELECT event_id, position, fact FROM facts WHERE case_ref = ?", (case,))
            return {(EventId(row[0]), row[1]): row[2] for row in rows}

    def count(
        self, publisher: AgencyId, *, instance: bytes, incarnation: int, counter: int, sequence: int, root: Digest
    ) -> Digest | None:
        """Note the counter and the place in the publisher's chain of a slice; the root that had this counter before,
        if it was another.
        """
        with self._db.writing() as db:
            db.execute(
                "INSERT INTO counted VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (publisher, instance, incarnation, counter, sequence, root),
            )
            row = db.execute(
                "SELECT root FROM counted WHERE publisher = ? AND instance = ? AND incarnation = ? AND counter = ?",
                (publisher, instance, incarnation, counter),
            ).fetchone()
        return None if row[0] == root else Digest(row[0])

    def gaps(self) -> list[tuple[AgencyId, int, int]]:
        """Counters that are missing: publisher, incarnation, and how many below the highest that came."""
        with self._db.reading() as db:
            rows = db.execute(
                "SELECT publisher, incarnation, MAX(counter) + 1 - COUNT(*) FROM counted"
                " GROUP BY publisher, instance, incarnation HAVING MAX(counter) + 1 > COUNT(*) ORDER BY 1, 2"
            )
            return [(AgencyId(row[0]), row[1], row[2]) for row in rows]

    def forks(self) -> list[tuple[AgencyId, int, int]]:
        """Places of a publisher's chain that two envelopes claim: publisher, incarnation, sequence."""
        with self._db.reading() as db:
            rows = db.execute(
                "SELECT publisher, incarnation, sequence FROM counted"
                " GROUP BY publisher, instance, incarnation, sequence HAVING COUNT(*) > 1 ORDER BY 1, 2, 3"
            )
            return [(AgencyId(row[0]), row[1], row[2]) for row in rows]

    def put_mandate(self, case: CaseRef, *, digest: Digest, link: bytes) -> None:
        """Keep a mandate with its proof; the digest says what it is, so the first one stays."""
        with self._db.writing() as db:
            db.execute("INSERT INTO mandates VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (digest, case, link))

    def mandate(self, digest: Digest) -> bytes | None:
        """The mandate of this digest with its proof, or None where it has not come yet."""
        with self._db.reading() as db:
            row = db.execute("SELECT link FROM mandates WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else bytes(row[0])

    def mandates(self, case: CaseRef) -> dict[Digest, bytes]:
        """All mandates of the case that are here."""
        with self._db.reading() as db:
            return dict(db.execute("SELECT digest, link FROM mandates WHERE case_ref = ?", (case,)).fetchall())

    def tell(self, agency: AgencyId, digests: Iterable[Digest]) -> None:
        """Note that the agency has been told of these mandates by this one, or told this one of them."""
        with self._db.writing() as db:
            db.executemany(
                "INSERT INTO told VALUES (?, ?) ON CONFLICT DO NOTHING", [(agency, digest) for digest in digests]
            )

    def told(self, agency: AgencyId) -> frozenset[Digest]:
        """The mandates of which the agency has been told."""
        with self._db.reading() as db:
            return frozenset(row[0] for row in db.execute("SELECT digest FROM told WHERE agency = ?", (agency,)))

    def put_label(self, case: CaseRef, person: PersonRef, alias: str) -> str:
        """Give a person of the case this display name, unless it has one; the name that holds.

        Where another person of the case has the name, the next free number is taken: names are this agency's
        own, only references say who is meant.
        """
        with self._db.writing() as db:
            labels = self.labels(case)
            if person in labels:
                return labels[person]
            taken, number = set(labels.values()), len(labels) + 1
            while alias in taken:
                alias, number = f"P-{number}", number + 1
            db.execute("INSERT INTO labels VALUES (?, ?, ?)", (case, person, alias))
        return alias

    def labels(self, case: CaseRef) -> dict[PersonRef, str]:
        """The display names of the persons of the case."""
        with self._db.reading() as db:
            return dict(db.execute("SELECT person, alias FROM labels WHERE case_ref = ?", (case,)).fetchall())


_LAST: Final = 1 << 62
"""Beyond every offset."""
