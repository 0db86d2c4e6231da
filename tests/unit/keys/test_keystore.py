"""The keystore: seeds come back as handles, stand where they were put, and are gone when they are erased."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.checks import Check
from broker.clock import SetClock
from broker.errors import ConfigError, Invalid, KeyUnavailable, StoreError
from broker.keys import seedfile
from broker.keys.files import KeyRing
from broker.keys.handles import expand_seed
from broker.keys.keystore import Erasure, Keystore, SeedEntry
from broker.names import CaseRef, Millis, PersonRef
from tests.unit.keys.given import (
    CASE,
    NOW,
    OTHER_AGENCY,
    OTHER_CASE,
    OTHER_PERSON,
    OTHER_ROOT,
    PERSON,
    ROOT,
    Chance,
    create,
    every_byte,
    key_file,
    keystore,
)

SEED, OTHER_SEED = b"seed" * 8, b"SEED" * 8
ENTRY = SeedEntry(CASE, PERSON, ROOT, 3, SEED)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return create(tmp_path / "keys", key_file(tmp_path))


@pytest.fixture
def store(home: Path, ring: KeyRing) -> Iterator[Keystore]:
    with keystore(home, ring) as opened:
        yield opened


def rows(home: Path, query: str) -> list[tuple[bytes, ...]]:
    database = sqlite3.connect(home / "keystore.sqlite")
    found = database.execute(query).fetchall()
    database.close()
    return found


def test_a_seed_comes_back_as_a_handle_that_derives(store: Keystore) -> None:
    """Rule: the keys of the block come from the handle; the seed stays in it."""
    store.put([ENTRY])
    handle = store.get(CASE, PERSON, ROOT, 3)
    assert handle.expand(bytes(32), [b"a", b"b"]) == expand_seed(SEED, bytes(32), [b"a", b"b"])
    assert handle.disclose() == SEED
    assert "seed" not in repr(handle)
    assert "seed" not in repr(ENTRY).replace("seeds", "")


def test_what_was_put_is_there_after_opening_again(home: Path, ring: KeyRing) -> None:
    """Rule: ``put`` is durable on return."""
    with keystore(home, ring) as first:
        first.put([ENTRY, replace(ENTRY, person=None, part=0)])
    with keystore(home, ring, chance=Chance("again")) as second:
        assert second.get(CASE, PERSON, ROOT, 3).disclose() == SEED
        assert second.parts(CASE, ROOT) == [(None, 0), (PERSON, 3)]


def test_a_whole_event_at_once(store: Keystore) -> None:
    """Rule: ``get_all`` gives what ``parts`` lists, and nothing of another event or case."""
    store.put(
        [
            ENTRY,
            SeedEntry(CASE, None, ROOT, 1, OTHER_SEED),
            SeedEntry(CASE, OTHER_PERSON, OTHER_ROOT, 3, SEED),
            SeedEntry(OTHER_CASE, PERSON, ROOT, 4, SEED),
        ]
    )
    held = store.get_all(CASE, ROOT)
    assert {place: handle.disclose() for place, handle in held.items()} == {(None, 1): OTHER_SEED, (PERSON, 3): SEED}
    assert list(held) == store.parts(CASE, ROOT)
    assert store.get_all(CASE, b"?" * 32) == {}


ELSEWHERE: dict[str, tuple[CaseRef, PersonRef | None, bytes, int]] = {
    "another case": (OTHER_CASE, PERSON, ROOT, 3),
    "another person": (CASE, OTHER_PERSON, ROOT, 3),
    "no person": (CASE, None, ROOT, 3),
    "another event": (CASE, PERSON, OTHER_ROOT, 3),
    "another part": (CASE, PERSON, ROOT, 2),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_seed_stands_in_its_place_only(store: Keystore, name: str) -> None:
    """Rule: case, person, event and part must all be right."""
    store.put([ENTRY])
    with pytest.raises(KeyUnavailable, match="never given"):
        store.get(*ELSEWHERE[name])


def test_putting_again_changes_nothing(store: Keystore) -> None:
    """Rule: a retry with the same seeds succeeds, also beside new ones."""
    store.put([ENTRY])
    store.put([ENTRY, replace(ENTRY, part=4)])
    assert store.parts(CASE, ROOT) == [(PERSON, 3), (PERSON, 4)]


@pytest.mark.parametrize("within", [False, True], ids=["in its own transaction", "in the caller's"])
def test_the_first_seed_of_a_place_stays(store: Keystore, within: bool) -> None:
    """Rule: another seed for the same place is invalid, and nothing of that ``put`` is kept."""
    store.put([ENTRY])
    clash = [replace(ENTRY, part=5), replace(ENTRY, seed=OTHER_SEED)]
    if within:
        with store.transaction():
            store.put([replace(ENTRY, part=6)])
            with pytest.raises(Invalid) as caught:
                store.put(clash)
    else:
        with pytest.raises(Invalid) as caught:
            store.put(clash)
    assert caught.value.check == Check.LABEL_TWICE
    assert store.get(CASE, PERSON, ROOT, 3).disclose() == SEED
    assert store.parts(CASE, ROOT) == [(PERSON, 3), *([(PERSON, 6)] if within else [])]


def test_a_transaction_is_whole(store: Keystore) -> None:
    """Rule: an exception of the caller undoes every ``put`` in it and reaches the caller unchanged."""

    def interrupted() -> None:
        with store.transaction():
            store.put([ENTRY])
            store.put([replace(ENTRY, case=OTHER_CASE)])
            raise sqlite3.OperationalError("of the caller")

    with pytest.raises(sqlite3.OperationalError, match="of the caller"):
        interrupted()
    assert store.parts(CASE, ROOT) == store.parts(OTHER_CASE, ROOT) == []
    store.put([ENTRY])
    assert store.get(CASE, PERSON, ROOT, 3).disclose() == SEED


def test_a_key_that_was_rolled_back_is_not_used_again(store: Keystore) -> None:
    """Rule: a (case, person) whose first ``put`` was undone gets a fresh key that is really on disk."""
    with store.transaction():
        store.put([ENTRY])
        with pytest.raises(Invalid):
            store.put([SeedEntry(OTHER_CASE, None, ROOT, 1, SEED), replace(ENTRY, seed=OTHER_SEED)])
        store.put([SeedEntry(OTHER_CASE, None, ROOT, 2, OTHER_SEED)])
    assert store.parts(OTHER_CASE, ROOT) == [(None, 2)]
    assert store.get(OTHER_CASE, None, ROOT, 2).disclose() == OTHER_SEED


WRONG = {
    "a case of 15 bytes": {"case": bytes(15)},
    "a person of 17 bytes": {"person": bytes(17)},
    "an event of 20 bytes": {"event": bytes(20)},
    "a seed of 31 bytes": {"seed": bytes(31)},
    "a part below zero": {"part": -1},
    "a part of 17 bits": {"part": 65_536},
}


@pytest.mark.parametrize("name", WRONG)
def test_an_entry_has_its_sizes(name: str) -> None:
    """Rule: another size is a fault of the caller."""
    with pytest.raises(ValueError, match="byte"):
        replace(ENTRY, **WRONG[name])  # type: ignore[arg-type] # wrong on purpose


def test_the_file_is_private(store: Keystore, home: Path) -> None:
    """Rule: the file and what SQLite puts beside it have mode 0600."""
    store.put([ENTRY])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert "keystore.sqlite" in modes
    assert set(modes.values()) == {0o600}


def test_no_seed_and_no_key_stands_in_any_file(home: Path, ring: KeyRing) -> None:
    """Rule: what the keystore writes is encrypted: neither seeds nor keys are found in its files."""
    chance = Chance("keystore")
    with keystore(home, ring, chance=chance) as store:
        store.put([ENTRY, SeedEntry(OTHER_CASE, None, ROOT, 0, OTHER_SEED)])
        keys = [drawn for drawn in chance.given if len(drawn) == 32]
        assert len(keys) == 2
        for data in every_byte(home).values():
            assert not [secret for secret in (SEED, OTHER_SEED, *keys) if secret in data]


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_keystore_that_others_can_read_is_refused(home: Path, ring: KeyRing, mode: int) -> None:
    """Rule: the sentence says what to type."""
    keystore(home, ring).close()
    path = home / "keystore.sqlite"
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        keystore(home, ring)


def test_the_keystore_of_another_agency_or_ring_is_refused(home: Path, ring: KeyRing, tmp_path: Path) -> None:
    """Rule: agency and key are proved when it is opened, before anything is put under the wrong key."""
    keystore(home, ring).close()
    with pytest.raises(ConfigError, match="another agency or key ring"):
        keystore(home, ring, agency=OTHER_AGENCY)
    other = create(tmp_path / "other-keys", key_file(tmp_path, "other"), chance=Chance("other"))
    with pytest.raises(ConfigError, match="another agency or key ring"):
        keystore(home, other)
    keystore(home, ring).close()


def test_what_is_not_a_keystore_is_refused(home: Path, ring: KeyRing) -> None:
    """Rule: another file, another database, another version: each is named and left as it is."""
    path = home / "keystore.sqlite"
    path.touch(mode=0o600)
    path.write_bytes(b"something else " * 100)
    with pytest.raises(ConfigError, match="damaged or not a keystore"):
        keystore(home, ring)
    path.unlink()
    for script in (
        "CREATE TABLE theirs (x)",
        f"PRAGMA application_id = {seedfile.APPLICATION}; PRAGMA user_version = 9",
    ):
        database = sqlite3.connect(path)
        database.executescript(script)
        database.close()
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="not a keystore of this version"):
            keystore(home, ring)
        path.unlink()


MOVES: dict[str, str] = {
    "a seed moved to another part": "UPDATE seeds SET part = 4",
    "a seed moved to another event": f"UPDATE seeds SET event = x'{OTHER_ROOT.hex()}'",
    "a seed moved to another person": f"UPDATE seeds SET key = (SELECT id FROM keys WHERE person = x'{OTHER_PERSON.hex()}')",
    "a key moved to another case": f"UPDATE keys SET case_ref = x'{OTHER_CASE.hex()}'",
    "a key moved to another person": f"UPDATE keys SET person = x'{bytes(16).hex()}' WHERE person = x'{PERSON.hex()}'",
    "a seed altered": "UPDATE seeds SET wrapped = zeroblob(60)",
    "a seed cut short": "UPDATE seeds SET wrapped = substr(wrapped, 1, 59)",
    "a key altered": "UPDATE keys SET wrapped = zeroblob(60)",
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("cached", [False, True], ids=["opened again", "still open"])
def test_a_row_that_was_moved_does_not_open(home: Path, ring: KeyRing, name: str, cached: bool) -> None:
    """Rule: key and seed are bound to their place: one who writes to the file can destroy, not exchange."""
    store = keystore(home, ring)
    store.put([ENTRY, SeedEntry(CASE, OTHER_PERSON, b"x" * 32, 9, SEED)])
    if not cached:
        store.close()
    rows_changed = sqlite3.connect(home / "keystore.sqlite", isolation_level=None)
    assert rows_changed.execute(MOVES[name]).rowcount > 0
    rows_changed.close()
    if not cached:
        store = keystore(home, ring, chance=Chance("again"))
    places = [
        (case, person, event, part)
        for case in (CASE, OTHER_CASE)
        for person in (PERSON, OTHER_PERSON, PersonRef(bytes(16)))
        for event in (ROOT, OTHER_ROOT)
        for part in (3, 4)
    ]
    for place in places:
        with pytest.raises(KeyUnavailable):
            store.get(*place)
    store.close()


def test_erasure_destroys_one_person_of_one_case(home: Path, ring: KeyRing) -> None:
    """Rule: the key and its seeds are gone from every file, the statement says what went, all others still open."""
    store = keystore(home, ring, clock=SetClock(NOW))
    others = [SeedEntry(CASE, None, ROOT, 0, SEED), SeedEntry(CASE, OTHER_PERSON, ROOT, 4, SEED)]
    others.append(SeedEntry(OTHER_CASE, PERSON, ROOT, 5, SEED))
    store.put([ENTRY, replace(ENTRY, event=OTHER_ROOT), *others])
    wrapped = [
        row[0]
        for row in rows(
            home, f"SELECT wrapped FROM keys WHERE person = x'{PERSON.hex()}' AND case_ref = x'{CASE.hex()}'"
        )
    ]
    wrapped += [row[0] for row in rows(home, "SELECT wrapped FROM seeds WHERE part = 3")]
    assert len(wrapped) == 3
    assert all(any(one in data for data in every_byte(home).values()) for one in wrapped)

    assert store.erase(CASE, PERSON) == Erasure(CASE, PERSON, NOW, seeds=2)

    assert not [name for name, data in every_byte(home).items() for one in wrapped if one in data]
    with pytest.raises(KeyUnavailable, match="erased it at 2026-02-02"):
        store.get(CASE, PERSON, ROOT, 3)
    for entry in others:
        assert store.get(entry.case, entry.person, entry.event, entry.part).disclose() == SEED
    assert store.erasures(CASE) == [Erasure(CASE, PERSON, NOW, seeds=2)]
    store.close()


def test_erasure_reaches_a_keystore_that_is_open_elsewhere(home: Path, ring: KeyRing, store: Keystore) -> None:
    """Rule: a process that had the key in memory finds it gone, and puts under a fresh key."""
    store.put([ENTRY])
    with keystore(home, ring, chance=Chance("elsewhere")) as elsewhere:
        assert elsewhere.get(CASE, PERSON, ROOT, 3).disclose() == SEED
        store.erase(CASE, PERSON)
        with pytest.raises(KeyUnavailable, match="erased"):
            elsewhere.get(CASE, PERSON, ROOT, 3)
        elsewhere.put([replace(ENTRY, part=8)])
    assert store.get(CASE, PERSON, ROOT, 8).disclose() == SEED


def test_erasing_again_gives_the_same_statement(home: Path, ring: KeyRing) -> None:
    """Rule: a retry is safe; where nothing was ever held the statement has no seeds."""
    clock = SetClock(NOW)
    with keystore(home, ring, clock=clock) as store:
        store.put([ENTRY])
        first = store.erase(CASE, PERSON)
        clock.at = Millis(NOW + 1)
        assert store.erase(CASE, PERSON) == first
        assert store.erase(CASE, OTHER_PERSON) == Erasure(CASE, OTHER_PERSON, clock.at, seeds=0)
        assert store.erasures(CASE) == [first]


def test_a_case_is_erased_as_a_whole(store: Keystore) -> None:
    """Rule: the case's own key and that of each person go; another case stays."""
    store.put(
        [ENTRY, replace(ENTRY, person=None), replace(ENTRY, person=OTHER_PERSON), replace(ENTRY, case=OTHER_CASE)]
    )
    assert {one.person for one in store.erase_case(CASE)} == {None, PERSON, OTHER_PERSON}
    assert store.parts(CASE, ROOT) == []
    assert store.get(OTHER_CASE, PERSON, ROOT, 3).disclose() == SEED


def test_what_comes_after_an_erasure_gets_a_new_key(home: Path, store: Keystore) -> None:
    """Rule: a later event of the same person can be read; what was erased stays erased."""
    query = "SELECT wrapped FROM keys"
    store.put([ENTRY])
    before = rows(home, query)
    store.erase(CASE, PERSON)
    store.put([replace(ENTRY, event=OTHER_ROOT)])
    assert rows(home, query) != before
    assert store.get(CASE, PERSON, OTHER_ROOT, 3).disclose() == SEED
    with pytest.raises(KeyUnavailable, match="erased"):
        store.get(CASE, PERSON, ROOT, 3)


def test_a_stale_copy_of_a_destroyed_key_is_found_and_removed(home: Path, store: Keystore) -> None:
    """Rule: where SQLite left a copy of the key in a free part of the file, the erasure writes the file anew."""
    store.put([ENTRY])
    (wrapped,) = rows(home, "SELECT wrapped FROM keys")[0]
    careless = sqlite3.connect(home / "keystore.sqlite", isolation_level=None)
    careless.execute("PRAGMA secure_delete = OFF")
    careless.execute("INSERT INTO erased VALUES (?, ?, 1, 1)", (CASE, wrapped))
    careless.execute("DELETE FROM erased")
    careless.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    careless.close()
    assert (home / "keystore.sqlite").read_bytes().count(wrapped) == 2
    store.erase(CASE, PERSON)
    assert not [name for name, data in every_byte(home).items() if wrapped in data]


def test_an_erasure_that_cannot_be_proved_is_not_claimed(home: Path, store: Keystore) -> None:
    """Rule: if a copy of the key stays in the file even so, ``erase`` raises."""
    store.put([ENTRY])
    (wrapped,) = rows(home, "SELECT wrapped FROM keys")[0]
    hoarder = sqlite3.connect(home / "keystore.sqlite", isolation_level=None)
    hoarder.execute("CREATE TABLE hoard AS SELECT wrapped FROM keys")
    hoarder.close()
    with pytest.raises(StoreError, match="a copy stayed"):
        store.erase(CASE, PERSON)
    assert wrapped in (home / "keystore.sqlite").read_bytes()


def test_many_erasures_in_a_large_keystore_leave_nothing(home: Path, ring: KeyRing) -> None:
    """Rule: whatever pages were split and joined, no destroyed key stays in any file, and every other one opens."""
    chance = Chance("many")
    entries = [
        SeedEntry(CaseRef(chance.bytes(16)), PERSON if index % 3 else None, ROOT, index % 7, chance.bytes(32))
        for index in range(600)
    ]
    with keystore(home, ring) as store:
        store.put(entries)
        wrapped = {row[0]: row[1] for row in rows(home, "SELECT case_ref, wrapped FROM keys")}
        assert len(wrapped) == 600
        gone = entries[::20] + entries[300:320]
        for entry in gone:
            store.erase(entry.case, entry.person)
        held = b"".join(every_byte(home).values())
        assert not [entry for entry in gone if wrapped[entry.case] in held]
        for entry in [entry for entry in entries if entry not in gone]:
            assert store.get(entry.case, entry.person, entry.event, entry.part).disclose() == entry.seed
