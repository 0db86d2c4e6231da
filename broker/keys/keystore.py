"""The local keystore: seeds of received blocks, each under the key of its (case, person), and their erasure.

The key of a (case, person) is random and wrapped under the key ring; to erase is to destroy that one key. The
keystore is a file of its own, ``keystore.sqlite``, to be left out of every backup: a copy of it, with the ring,
undoes an erasure (``docs/spec/keys.md`` §4). Leaves when something must be erased to the adapter.
"""

from __future__ import annotations

import contextlib
import hmac
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, Self

from broker.checks import Check
from broker.clock import Clock, Random, rfc3339
from broker.errors import ConfigError, Invalid, KeyUnavailable, StoreError
from broker.keys import seedfile
from broker.keys.handles import SEED_SIZE, SeedHandle, WrappingKey
from broker.keys.seedfile import refusals
from broker.names import AgencyId, CaseRef, Millis, PersonRef

KEYSTORE_FILE: Final = "keystore.sqlite"
CACHED_KEYS: Final = 1_024
PARTS: Final = 65_536
_TAG_PROOF: Final = b"casebridge/1/keystore-proof"
_TAG_KEY: Final = b"casebridge/1/keystore-key"
_TAG_SEED: Final = b"casebridge/1/keystore-seed"
_KEY_OF: Final = "SELECT id, wrapped FROM keys WHERE case_ref = ? AND person = ?"


@dataclass(frozen=True, slots=True)
class SeedEntry:
    """A seed (32 bytes) and its place.

    ``person`` is None where the block is of the whole case. ``event`` is the envelope's root (32 bytes; an event
    id of 16 bytes is possible but may be used twice by a sender who cheats) and ``part`` a number below 65,536
    that is used once in it, such as the part number.
    """

    case: CaseRef
    person: PersonRef | None
    event: bytes
    part: int
    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.case) != 16 or len(self.person or bytes(16)) != 16 or len(self.event) not in (16, 32):
            raise ValueError("case and person have 16 bytes, an event 16 or 32")
        if len(self.seed) != SEED_SIZE or not 0 <= self.part < PARTS:
            raise ValueError("a seed has 32 bytes, a part a number below 65536")


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was destroyed: the one key of a (case, person), and with it the use of ``seeds`` seeds, at ``at`` (ms)."""

    case: CaseRef
    person: PersonRef | None
    at: Millis
    seeds: int


class Keystore:
    """Seeds by (case, person, event, part).

    What ``put`` returns from is durable (WAL, synchronous FULL). Calling it again with the same seeds changes
    nothing, so the caller retries: first the keystore, then its own transaction that records the receipt.
    Several processes may hold the file open; one object belongs to one thread. A damaged file is a ConfigError.
    """

    def __init__(
        self, path: Path, database: sqlite3.Connection, key: WrappingKey, agency: AgencyId, clock: Clock, random: Random
    ) -> None:
        """Use ``open``."""
        self._path, self._database, self._key = path, database, key
        self._clock, self._random = clock, random
        self._agency = bytes((len(agency.encode()),)) + agency.encode()
        self._opened: dict[tuple[bytes, bytes, bytes], WrappingKey] = {}
        self._open = False
        self._in_use: dict[tuple[CaseRef, bytes], tuple[int, WrappingKey]] = {}
        """Keys met in the transaction that is open: its lock lets nobody change them meanwhile."""

    @classmethod
    def open(cls, path: Path, *, key: WrappingKey, agency: AgencyId, clock: Clock, random: Random) -> Self:
        """The keystore at ``path`` (made if missing, mode 0600), under ``KeyRing.keystore_key()`` of the agency.

        Raises:
            ConfigError: not a keystore, of another agency or ring, damaged, or others may read it.
            StoreError: the disk refused.
        """
        database = seedfile.connect(path)
        keystore = cls(path, database, key, agency, clock, random)
        try:
            keystore._prepare()
        except BaseException:
            database.close()
            raise
        return keystore

    def close(self) -> None:
        """Close the file and forget all keys."""
        self._forget()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Several ``put`` in one durable step: all of them or, after an exception, none.

        Raises:
            StoreError: the disk refused.
        """
        with refusals(self._path):
            self._database.execute("BEGIN IMMEDIATE")
        self._in_use, self._open = {}, True
        try:
            yield
            with refusals(self._path):
                self._database.execute("COMMIT")
        except BaseException:
            with refusals(self._path):
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
            raise
        finally:
            self._in_use, self._open = {}, False

    def put(self, entries: Sequence[SeedEntry]) -> None:
        """Keep these seeds: all or none, in the transaction that is open, else in one of their own.

        Raises:
            Invalid: check LABEL_TWICE: another seed is kept at the same place; the first one stays.
            KeyUnavailable: a key of the keystore does not open.
            StoreError: the disk refused.
        """
        if not self._open:
            with self.transaction(), refusals(self._path):
                self._put(entries)
            return
        if not self._database.in_transaction:  # SQLite undoes everything when the disk is full
            raise StoreError("the transaction of the keystore was undone; begin it again")
        with refusals(self._path):
            self._database.execute("SAVEPOINT put")
            try:
                self._put(entries)
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK TO put")
                self._in_use = {}
                raise
            finally:
                if self._database.in_transaction:
                    self._database.execute("RELEASE put")

    def get(self, case: CaseRef, person: PersonRef | None, event: bytes, part: int) -> SeedHandle:
        """The seed at this place, as a handle that derives.

        Raises:
            KeyUnavailable: never given to this agency, erased, or altered on disk.
            StoreError: the disk refused.
        """
        who = person or b""
        with refusals(self._path):
            found = self._database.execute(
                "SELECT k.wrapped, s.wrapped FROM keys k JOIN seeds s ON s.key = k.id"
                " WHERE k.case_ref = ? AND k.person = ? AND s.event = ? AND s.part = ?",
                (case, who, event, part),
            ).fetchone()
        if found is None:
            self._explain(case, who)
        return SeedHandle(self._case_key(case, who, found[0]).unwrap(found[1], aad=_seed_aad(event, part)))

    def get_all(self, case: CaseRef, event: bytes) -> dict[tuple[PersonRef | None, int], SeedHandle]:
        """Every seed of this event that is kept: (person, part) -> its handle, in order of part; may be empty.

        Raises:
            KeyUnavailable: altered on disk.
            StoreError: the disk refused.
        """
        with refusals(self._path):
            rows = self._database.execute(
                "SELECT k.person, s.part, k.wrapped, s.wrapped FROM keys k JOIN seeds s ON s.key = k.id"
                " WHERE k.case_ref = ? AND s.event = ? ORDER BY s.part",
                (case, event),
            ).fetchall()
        return {
            (PersonRef(who) if who else None, part): SeedHandle(
                self._case_key(case, who, wrapped).unwrap(seed, aad=_seed_aad(event, part))
            )
            for who, part, wrapped, seed in rows
        }

    def parts(self, case: CaseRef, event: bytes) -> list[tuple[PersonRef | None, int]]:
        """The places of this event whose seeds are kept: (person, part), in order of part.

        Raises:
            StoreError: the disk refused.
        """
        with refusals(self._path):
            rows = self._database.execute(
                "SELECT k.person, s.part FROM keys k JOIN seeds s ON s.key = k.id"
                " WHERE k.case_ref = ? AND s.event = ? ORDER BY s.part",
                (case, event),
            ).fetchall()
        return [(PersonRef(person) if person else None, part) for person, part in rows]

    def erase(self, case: CaseRef, person: PersonRef | None) -> Erasure:
        """Destroy the key of this (case, person), make sure that no file of the keystore holds it, and say what went.

        Not inside ``transaction``. Calling it again finishes what an error interrupted and gives the same statement;
        where nothing was ever held, the statement has 0 seeds. What is received for them later gets a new key.

        Raises:
            StoreError: the disk refused, or another program still reads old pages: call again.
        """
        who, now = person or b"", self._clock.now()
        with self.transaction(), refusals(self._path):
            row = self._database.execute(_KEY_OF, (case, who)).fetchone()
            if row is not None:
                seeds = self._database.execute("DELETE FROM seeds WHERE key = ?", (row[0],)).rowcount
                self._database.execute("DELETE FROM keys WHERE id = ?", (row[0],))
                self._database.execute(
                    "INSERT INTO erased VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET seeds = seeds + excluded.seeds",
                    (case, who, now, seeds),
                )
        self._forget()
        erased = [one for one in self.erasures(case) if one.person == person]
        if erased:
            with refusals(self._path):
                seedfile.scrub(self._database, self._path, None if row is None else row[1])
        return erased[-1] if erased else Erasure(case, person, now, 0)

    def erase_case(self, case: CaseRef) -> list[Erasure]:
        """``erase`` for the case itself and each of its persons.

        Raises:
            StoreError: as ``erase``; those before it are done.
        """
        with refusals(self._path):
            rows = self._database.execute("SELECT person FROM keys WHERE case_ref = ?", (case,)).fetchall()
        return [self.erase(case, PersonRef(person) if person else None) for (person,) in rows]

    def held(self, case: CaseRef) -> dict[PersonRef | None, int]:
        """How many seeds of this case are kept: for each person, and under None for the case as a whole.

        Raises:
            StoreError: the disk refused.
        """
        with refusals(self._path):
            rows = self._database.execute(
                "SELECT k.person, COUNT(s.part) FROM keys k LEFT JOIN seeds s ON s.key = k.id"
                " WHERE k.case_ref = ? GROUP BY k.person ORDER BY k.person",
                (case,),
            ).fetchall()
        return {PersonRef(person) if person else None: count for person, count in rows}

    @property
    def version(self) -> int:
        """A number that changes when another process has written this keystore, for example has erased something.

        Raises:
            StoreError: the disk refused.
        """
        with refusals(self._path):
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def erasures(self, case: CaseRef) -> list[Erasure]:
        """What was destroyed in this case so far, in order of time.

        Raises:
            StoreError: the disk refused.
        """
        with refusals(self._path):
            rows = self._database.execute(
                "SELECT person, at, seeds FROM erased WHERE case_ref = ? ORDER BY at, person", (case,)
            ).fetchall()
        return [Erasure(case, PersonRef(who) if who else None, Millis(at), seeds) for who, at, seeds in rows]

    def _prepare(self) -> None:
        """Make the tables of a new file, and prove that the key is the right one."""
        aad = _TAG_PROOF + self._agency
        with refusals(self._path):
            if seedfile.is_new(self._database, self._path):
                with self.transaction():
                    if seedfile.is_new(self._database, self._path):  # else another process was first
                        seedfile.make(self._database, self._key.wrap(b"", aad=aad, random=self._random))
            (proof,) = self._database.execute("SELECT proof FROM store").fetchone() or (b"",)
        try:
            self._key.unwrap(proof, aad=aad)
        except KeyUnavailable:
            raise ConfigError(f"{self._path} belongs to another agency or key ring; use the folder of yours") from None

    def _put(self, entries: Sequence[SeedEntry]) -> None:
        keys, rows = self._in_use, []
        for entry in entries:
            whose = (entry.case, entry.person or b"")
            if whose not in keys:
                keys[whose] = self._key_for(*whose)
            number, key = keys[whose]
            wrapped = key.wrap(entry.seed, aad=_seed_aad(entry.event, entry.part), random=self._random)
            rows.append((number, entry.event, entry.part, wrapped))
        kept = self._database.executemany("INSERT INTO seeds VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", rows).rowcount
        if kept != len(rows):
            self._compare(entries)

    def _compare(self, entries: Sequence[SeedEntry]) -> None:
        for entry in entries:
            kept = self.get(entry.case, entry.person, entry.event, entry.part).disclose()
            if not hmac.compare_digest(kept, entry.seed):
                raise Invalid(
                    Check.LABEL_TWICE, "another seed is kept for this part", event=entry.event.hex(), part=entry.part
                )

    def _key_for(self, case: CaseRef, who: bytes) -> tuple[int, WrappingKey]:
        """Number and key of a (case, person), drawn now if there is none."""
        row = self._database.execute(_KEY_OF, (case, who)).fetchone()
        if row is None:
            fresh = self._random.bytes(SEED_SIZE)
            wrapped = self._key.wrap(fresh, aad=self._key_aad(case, who), random=self._random)
            row = self._database.execute(
                "INSERT INTO keys (case_ref, person, wrapped) VALUES (?, ?, ?) RETURNING id, wrapped",
                (case, who, wrapped),
            ).fetchone()
        return row[0], self._case_key(case, who, row[1])

    def _case_key(self, case: CaseRef, who: bytes, wrapped: bytes) -> WrappingKey:
        """The key of a (case, person). A cached one serves only while the same wrapped key still stands on disk."""
        name = (case, who, wrapped)
        key = self._opened.get(name)
        if key is None:
            key = WrappingKey(self._key.unwrap(wrapped, aad=self._key_aad(case, who)))
            if len(self._opened) >= CACHED_KEYS:
                self._opened.pop(next(iter(self._opened)))
            self._opened[name] = key
        return key

    def _key_aad(self, case: CaseRef, who: bytes) -> bytes:
        return b"".join((_TAG_KEY, self._agency, case, bytes((len(who),)), who))

    def _explain(self, case: CaseRef, who: bytes) -> NoReturn:
        with refusals(self._path):
            (at,) = self._database.execute(
                "SELECT max(at) FROM erased WHERE case_ref = ? AND person = ?", (case, who)
            ).fetchone()
        if at is not None:
            raise KeyUnavailable(f"the key of this block is not here: this agency erased it at {rfc3339(at)}")
        raise KeyUnavailable("the key of this block was never given to this agency")

    def _forget(self) -> None:
        for key in self._opened.values():
            key.close()
        self._opened.clear()


def _seed_aad(event: bytes, part: int) -> bytes:
    return b"".join((_TAG_SEED, bytes((len(event),)), event, part.to_bytes(2, "big")))
