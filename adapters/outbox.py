"""The outbox: what this agency has sealed and signed, kept before it is sent, in the order of its chain.

One transaction allocates sequence number, chain head and readers' counters and stores the final signed bytes:
whatever happens, no number is lost, none is used twice, and a retry is byte-identical (architecture: "The
outbox stores the final signed bytes before the first send"). Leaves sealing to the caller, who does it inside
the transaction, and sending to the sender's loop, which drains ``pending``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import Self

from adapters.db import Database
from adapters.outbox_file import FORMAT, NO_PREVIOUS, Allocation, Draft, Kept, State, select
from broker.clock import Clock, Random
from broker.errors import InputError, StoreError
from broker.names import AgencyId, CaseRef, EventId, Millis
from broker.stream import headers as wire
from broker.stream.protocol import Position
from broker.stream.sqlite_file import BUSY_MS


class Writing:
    """One transaction of the outbox: ``next``, seal, ``link``; when the batch is signed, ``put`` each."""

    def __init__(self, connection: Connection, now: Millis) -> None:
        """Use ``Outbox.writing``."""
        self._connection, self._now = connection, now
        row = connection.execute(
            "SELECT incarnation, next, head FROM incarnations ORDER BY incarnation DESC LIMIT 1"
        ).fetchone()
        self._incarnation, self._next, self._head = row
        self._counters: dict[AgencyId, int] = {}
        self._roots: dict[int, bytes | None] = {}
        self._unlinked: int | None = None

    def earlier(self, idempotency_key: str) -> Kept | None:
        """What was kept under this key before; then the caller returns that and seals nothing."""
        return _first(select(self._connection, "idempotency_key = ?", idempotency_key))

    def next(self, readers: Sequence[AgencyId]) -> Allocation:
        """Numbers for one more envelope, chained to the one before.

        Args:
            readers: each agency that has a slot, the author included; each once.

        Raises:
            StoreError: the root of the envelope before is not known yet (``link``).
            InputError: a reader is named twice.
        """
        if self._unlinked is not None:
            raise StoreError("the envelope before has no root yet; link it first", sequence=self._unlinked)
        if len(set(readers)) != len(readers):
            raise InputError("each reader has one slot; one is named twice", field="readers")
        counters = {}
        for reader in readers:
            counters[reader] = self._counter(reader)
            self._counters[reader] = counters[reader] + 1
        allocation = Allocation(self._incarnation, self._next, self._head, counters)
        self._unlinked = self._next
        self._next += 1
        return allocation

    def link(self, allocation: Allocation, root: bytes) -> None:
        """The root of the envelope that was sealed with this allocation; the next one will name it.

        Raises:
            StoreError: it has a root already, or is not of this transaction.
        """
        if allocation.incarnation != self._incarnation or allocation.sequence != self._unlinked:
            raise StoreError("this allocation is not the one that waits for its root", sequence=allocation.sequence)
        if len(root) != len(NO_PREVIOUS):
            raise InputError("a root has 32 bytes", field="root")
        self._roots[allocation.sequence] = self._head = root
        self._unlinked = None

    def put(self, allocation: Allocation, draft: Draft) -> None:
        """Keep the signed envelope of this allocation; links it if that was not done.

        Raises:
            StoreError: another root was linked, it was put already, or the event, root or key is known.
        """
        if allocation.sequence == self._unlinked:
            self.link(allocation, draft.root)
        if self._roots.get(allocation.sequence) != draft.root:
            raise StoreError("the envelope is not the one that this allocation was for", sequence=allocation.sequence)
        self._connection.execute(
            "INSERT INTO envelopes (event_id, root, case_ref, type, headers, envelope, idempotency_key, incarnation,"
            " sequence, state, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(draft.event_id, draft.root, draft.case, draft.type, wire.encode(draft.headers), draft.envelope),
                *(draft.idempotency_key, self._incarnation, allocation.sequence, State.QUEUED, self._now),
            ),
        )
        self._roots[allocation.sequence] = None

    def finish(self) -> None:
        """Called at the end of the block: writes head and counters.

        Raises:
            StoreError: something was allocated and not put: nothing of the batch is kept.
        """
        if self._unlinked is not None or any(root is not None for root in self._roots.values()):
            raise StoreError("an envelope was numbered and not kept; nothing of the batch is kept")
        self._connection.execute(
            "UPDATE incarnations SET next = ?, head = ? WHERE incarnation = ?",
            (self._next, self._head, self._incarnation),
        )
        self._connection.executemany(
            "INSERT INTO counters VALUES (?, ?, ?)"
            " ON CONFLICT (incarnation, reader) DO UPDATE SET next = excluded.next",
            [(self._incarnation, reader, number) for reader, number in self._counters.items()],
        )

    def _counter(self, reader: AgencyId) -> int:
        if reader not in self._counters:
            row = self._connection.execute(
                "SELECT next FROM counters WHERE incarnation = ? AND reader = ?", (self._incarnation, reader)
            ).fetchone()
            self._counters[reader] = 0 if row is None else row[0]
        return self._counters[reader]


class Outbox:
    """The outbox of one adapter. Any thread and process may use it; one writes at a time, the others wait.

    Whoever has sealed but got a ``StoreError`` seals anew in a new transaction, best under the same
    idempotency key: ``earlier`` then tells whether the first attempt was kept after all.
    """

    def __init__(self, database: Database, clock: Clock, *, instance: bytes, copied: bool) -> None:
        """Use ``open``."""
        self._db, self._clock = database, clock
        self._instance, self._copied = instance, copied
        self._busy = False

    @classmethod
    def open(
        cls, path: Path, *, clock: Clock, random: Random, factory: type[Connection] = Connection, busy_ms: int = BUSY_MS
    ) -> Self:
        """Open the outbox, made if it is not there.

        Raises:
            StoreError: see ``Database.open``.
        """
        database = Database.open(path, FORMAT, factory=factory, busy_ms=busy_ms)
        try:
            with database.writing() as db:
                place = database.place
                row = db.execute("SELECT id, place FROM instance").fetchone()
                if row is None:
                    row = (random.bytes(8), place)
                    db.execute("INSERT INTO instance VALUES (1, ?, ?)", row)
                    db.execute(
                        "INSERT INTO incarnations VALUES (0, ?, ?, 0, ?)", (clock.now(), NO_PREVIOUS, NO_PREVIOUS)
                    )
        except BaseException:
            database.close()
            raise
        return cls(database, clock, instance=row[0], copied=row[1] != place)

    @property
    def instance(self) -> bytes:
        """8 random bytes, drawn when the outbox was made."""
        return self._instance

    @property
    def copied(self) -> bool:
        """Whether the file is a copy or a restored backup: then ``new_incarnation`` comes before any writing.

        It goes by the file's place on its disk: a moved folder counts too (harmless), a disk that was
        restored whole does not show; there the operator says so.
        """
        return self._copied

    @property
    def incarnation(self) -> int:
        """The incarnation under which the next envelope is numbered."""
        return self._current()[0]

    @property
    def head(self) -> bytes:
        """The root of the last envelope of this incarnation; zeros if there is none."""
        return self._current()[1]

    @property
    def last_head(self) -> bytes:
        """The last head known of the incarnation before, which this one opens with; zeros for the first."""
        return self._current()[2]

    def new_incarnation(self, last_head: bytes | None = None) -> int:
        """Begin a new chain, after a restore or on the operator's word; its number.

        Numbers are times in seconds, so that one backup restored twice does not give one number to two chains.

        Args:
            last_head: the last known root of the chain so far; None for the one this outbox has.
        """
        with self._db.writing() as db:
            before, head, _ = self._current()
            now = self._clock.now()
            number = max(before + 1, now // 1_000)
            db.execute("INSERT INTO incarnations VALUES (?, ?, ?, 0, ?)", (number, now, last_head or head, NO_PREVIOUS))
            db.execute("UPDATE instance SET place = ?", (self._db.place,))
        self._copied = False
        return number

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """A transaction in which envelopes are numbered, sealed and kept; durable when the block ends.

        Raises:
            StoreError: refused, nothing is kept; or this is a copy and ``new_incarnation`` comes first.
        """
        if self._copied:
            raise StoreError("this outbox is a copy or was restored; begin a new incarnation before anything is sent")
        with self._db.writing() as db:
            if self._busy:
                raise StoreError("this thread already writes the outbox; one transaction at a time")
            self._busy = True
            try:
                transaction = Writing(db, self._clock.now())
                yield transaction
                transaction.finish()
            finally:
                self._busy = False

    def pending(self, limit: int) -> list[Kept]:
        """What is not known to be in the stream, in the order in which it was kept."""
        return self._rows("state = ? ORDER BY id LIMIT ?", State.QUEUED, limit)

    def unanswered(self, *, after: int = 0, limit: int = 100) -> list[Kept]:
        """What is in the stream and not known to be accepted or refused, in the order in which it was kept.

        Args:
            after: only those after this ``Kept.id``.
            limit: at most so many.
        """
        return self._rows("state = ? AND id > ? ORDER BY id LIMIT ?", State.SENT, after, limit)

    def mark_sent(self, sent: Iterable[tuple[int, Position]]) -> None:
        """Note where these (``Kept.id``) stand in the stream, after ``publish`` returned; again does no harm."""
        with self._db.writing() as db:
            db.executemany(
                'UPDATE envelopes SET state = max(state, ?), topic = ?, partition = ?, "offset" = ?'
                " WHERE id = ? AND topic IS NULL",
                [(State.SENT, *position, number) for number, position in sent],
            )

    def mark_accepted(self, event_id: EventId, position: Position) -> None:
        """Note that the broker accepted it there. What is accepted or refused stays so.

        Raises:
            InputError: no such event.
        """
        with self._db.writing() as db:
            self.get(event_id)
            db.execute(
                'UPDATE envelopes SET state = ?, topic = ?, partition = ?, "offset" = ?'
                " WHERE event_id = ? AND state < ?",
                (State.ACCEPTED, *position, event_id, State.ACCEPTED),
            )

    def mark_refused(self, event_id: EventId, check: int) -> None:
        """Note that the broker put it in quarantine, with the check that failed. What is accepted stays so.

        Raises:
            InputError: no such event.
        """
        with self._db.writing() as db:
            self.get(event_id)
            db.execute(
                "UPDATE envelopes SET state = ?, check_number = ? WHERE event_id = ? AND state < ?",
                (State.REFUSED, check, event_id, State.ACCEPTED),
            )

    def get(self, event_id: EventId) -> Kept:
        """The envelope of this event.

        Raises:
            InputError: no such event.
        """
        found = self._rows("event_id = ?", event_id)
        if not found:
            raise InputError("no such event in the outbox of this agency", field="event")
        return found[0]

    def holds(self, root: bytes) -> bool:
        """Whether the envelope with this root is one of this outbox."""
        with self._db.reading() as db:
            return db.execute("SELECT 1 FROM envelopes WHERE root = ?", (root,)).fetchone() is not None

    def by_idempotency_key(self, key: str) -> Kept | None:
        """What was kept under this key, or None."""
        with self._db.reading() as db:
            return _first(select(db, "idempotency_key = ?", key))

    def sent_in(self, case: CaseRef) -> list[Kept]:
        """All of this case, in the order in which they were kept."""
        return self._rows("case_ref = ? ORDER BY id", case)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _current(self) -> tuple[int, bytes, bytes]:
        with self._db.reading() as db:
            number, head, last_head = db.execute(
                "SELECT incarnation, head, last_head FROM incarnations ORDER BY incarnation DESC LIMIT 1"
            ).fetchone()
        return number, head, last_head

    def _rows(self, where: str, *values: object) -> list[Kept]:
        with self._db.reading() as db:
            return select(db, where, *values)


def _first(found: list[Kept]) -> Kept | None:
    return found[0] if found else None
