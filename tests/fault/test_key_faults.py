"""Keys when the machine fails: killed at any step, disk full, folder read-only, file locked, writes that lie."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.errors import CasebridgeError, ConfigError, KeyUnavailable, StoreError
from broker.keys.files import RING_FILE, KeyFile
from broker.keys.keystore import SeedEntry
from broker.names import CaseRef, Millis
from tests.unit.keys.given import (
    CASE,
    NOW,
    OTHER_CASE,
    PERSON,
    ROOT,
    Chance,
    create,
    every_byte,
    key_file,
    keystore,
    reopen,
)

NOBODY = 65_534
SOON = Millis(NOW + 1)
ENTRY = SeedEntry(CASE, PERSON, ROOT, 0, b"seed" * 8)

STEPS = ("fsync", "replace", "link", "unlink", "pwrite")
"""The calls by which ``broker.keys.disk`` changes the disk."""


def in_child(act: Callable[[], object]) -> int:
    """Run ``act`` in a child process: 0 if it returned, 1 if it raised an error of ours, 2 another, -n by signal n."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            act()
            code = 0
        except CasebridgeError:
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: str, after: bool, nth: int) -> None:
    """From now on the nth call of ``os.<step>`` kills this process, before or after it does its work."""
    real, calls = getattr(os, step), 0

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(os, step, deadly)


@pytest.fixture
def opener(tmp_path: Path) -> KeyFile:
    return key_file(tmp_path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


KILLS = [
    (step, after, nth)
    for step, nth in (("fsync", 1), ("replace", 1), ("pwrite", 1), ("fsync", 2), ("fsync", 3))
    for after in (False, True)
]


@pytest.mark.parametrize(("step", "after", "nth"), KILLS)
def test_a_ring_survives_a_kill_at_any_step_of_a_rotation(
    tmp_path: Path, opener: KeyFile, step: str, after: bool, nth: int
) -> None:
    """Rule: after SIGKILL the ring opens with the old keys or with the new ones, whole, and the next rotation cleans up."""
    folder = tmp_path / "keys"
    before = [key.id for key in create(folder, opener).prekeys]

    def rotate() -> None:
        ring = reopen(folder, opener, name="child")
        killed_at(step, after, nth)
        ring.rotate_prekey(SOON)

    assert in_child(rotate) == -signal.SIGKILL
    ring = reopen(folder, opener, name="survivor")
    found = [key.id for key in ring.prekeys]
    replaced = (step, after, nth) not in {("fsync", False, 1), ("fsync", True, 1), ("replace", False, 1)}
    assert (found[:1], len(found)) == (before, 2 if replaced else 1)
    ring.rotate_prekey(Millis(SOON + 1))
    assert {path.name for path in folder.iterdir()} == {RING_FILE, "ring.lock"}


@pytest.mark.parametrize("step", ["fsync", "link", "unlink"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_while_a_ring_is_made_leaves_a_whole_ring_or_none(
    tmp_path: Path, opener: KeyFile, step: str, after: bool
) -> None:
    """Rule: either ``create`` can be called again, or the ring opens."""
    folder = tmp_path / "keys"

    def make() -> None:
        killed_at(step, after, 1)
        create(folder, opener)

    assert in_child(make) == -signal.SIGKILL
    made = (folder / RING_FILE).exists()
    assert made == ((step, after) in {("link", True), ("unlink", False), ("unlink", True)})
    ring = reopen(folder, opener) if made else create(folder, opener)
    ring.rotate_prekey(SOON)
    assert {path.name for path in folder.iterdir()} == {RING_FILE, "ring.lock"}


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("persisted", [False, True], ids=["not persisted", "persisted though it reported an error"])
def test_each_write_of_a_ring_fails_both_ways(
    tmp_path: Path, opener: KeyFile, monkeypatch: pytest.MonkeyPatch, step: str, persisted: bool
) -> None:
    """Rule: after an error the ring in memory is what the disk holds, and the next change works."""
    folder = tmp_path / "keys"
    ring = create(folder, opener)
    real = getattr(os, step)

    def failing(*args: Any, **kwargs: Any) -> None:
        if persisted:
            real(*args, **kwargs)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing)
        with pytest.raises(StoreError, match="no space left"):
            ring.rotate_prekey(SOON)
    assert ring.public() == reopen(folder, opener).public()
    assert len(ring.prekeys) == (2 if step == "replace" and persisted else 1)
    ring.rotate_prekey(Millis(SOON + 1))
    assert ring.public() == reopen(folder, opener, name="after").public()
    assert {path.name for path in folder.iterdir()} == {RING_FILE, "ring.lock"}


def test_a_disk_that_is_full_keeps_the_old_ring(tmp_path: Path, opener: KeyFile) -> None:
    """Rule: when the file system takes no more bytes, one plain error, and the ring is as it was."""
    folder = tmp_path / "keys"
    create(folder, opener)
    before = every_byte(folder)

    def rotate() -> None:
        ring = reopen(folder, opener)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
        ring.rotate_prekey(SOON)

    assert in_child(rotate) == 1
    assert {name: data for name, data in every_byte(folder).items() if data} == before


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can reach, unlike those of ``tmp_path``."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def as_ordinary_user(place: Path, act: Callable[[], object]) -> int:
    """``in_child`` as a user for whom modes count; ``place`` is given to that user."""

    def dropped() -> None:
        if os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        act()

    if os.geteuid() == 0:
        for path in (place, *place.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    return in_child(dropped)


def test_a_read_only_folder_can_be_opened_but_not_changed(place: Path) -> None:
    """Rule: reading needs no write; a rotation gets one plain error; nothing changes."""
    opener, keys = key_file(place), place / "keys"
    create(keys, opener)
    keys.chmod(0o500)
    before = every_byte(place)
    assert as_ordinary_user(place, lambda: reopen(keys, opener).signing) == 0
    assert as_ordinary_user(place, lambda: reopen(keys, opener).rotate_prekey(SOON)) == 1
    assert as_ordinary_user(place, lambda: create(keys / "more", opener)) == 1
    assert every_byte(place) == before
    keys.chmod(0o700)
    assert as_ordinary_user(place, lambda: reopen(keys, opener).rotate_prekey(SOON)) == 0


def test_a_keystore_in_a_read_only_folder_gets_one_plain_error(tmp_path: Path, opener: KeyFile, place: Path) -> None:
    """Rule: neither making nor writing it ends in a traceback of SQLite."""
    ring = create(tmp_path / "keys", opener)

    def put(part: int) -> int:
        def act() -> None:
            with keystore(place, ring) as store:
                store.put([replace(ENTRY, part=part)])

        return as_ordinary_user(place, act)

    place.chmod(0o500)
    assert put(1) == 1
    assert not list(place.iterdir())
    place.chmod(0o700)
    assert put(1) == 0
    place.chmod(0o500)
    (place / "keystore.sqlite").chmod(0o400)
    assert put(2) == 1
    place.chmod(0o700)
    (place / "keystore.sqlite").chmod(0o600)
    assert put(2) == 0


def test_a_full_disk_undoes_a_put(tmp_path: Path, opener: KeyFile, home: Path) -> None:
    """Rule: SQLITE_FULL is a StoreError; nothing of that put is kept, what was there stays, and later puts work."""
    with keystore(home, create(tmp_path / "keys", opener)) as store:
        store.put([ENTRY])
        chance = Chance("many")
        many = [SeedEntry(CaseRef(chance.bytes(16)), None, ROOT, 1, ENTRY.seed) for _ in range(400)]
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="the disk is full"):
            store.put(many)
        assert [store.parts(entry.case, ROOT) for entry in many] == [[]] * len(many)
        assert store.get(CASE, PERSON, ROOT, 0).disclose() == ENTRY.seed
        store._database.execute("PRAGMA max_page_count = 100000")
        store.put(many)
        assert all(store.get(one.case, None, ROOT, 1).disclose() == one.seed for one in many)


def test_a_full_disk_ends_the_callers_transaction(tmp_path: Path, opener: KeyFile, home: Path) -> None:
    """Rule: when SQLite has undone the transaction, a caller that goes on regardless cannot half-write."""
    with keystore(home, create(tmp_path / "keys", opener)) as store:
        chance = Chance("many")
        many = [SeedEntry(CaseRef(chance.bytes(16)), None, ROOT, 1, ENTRY.seed) for _ in range(400)]
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages + 2}")

        def stubborn() -> None:
            with store.transaction():
                store.put([ENTRY])
                with pytest.raises(StoreError):
                    store.put(many)
                store._database.execute("ROLLBACK") if store._database.in_transaction else None
                store.put([replace(ENTRY, case=OTHER_CASE)])

        with pytest.raises(StoreError, match="begin it again"):
            stubborn()
        assert store.parts(CASE, ROOT) == store.parts(OTHER_CASE, ROOT) == []


def test_a_locked_keystore_gets_one_plain_error(tmp_path: Path, opener: KeyFile, home: Path) -> None:
    """Rule: a writer that holds the file too long is a StoreError, and the put can be repeated."""
    with keystore(home, create(tmp_path / "keys", opener)) as store:
        store._database.execute("PRAGMA busy_timeout = 1")
        other = sqlite3.connect(home / "keystore.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program holds it"):
            store.put([ENTRY])
        other.execute("ROLLBACK")
        other.close()
        store.put([ENTRY])
        assert store.parts(CASE, ROOT) == [(PERSON, 0)]


def test_an_erasure_is_not_claimed_while_somebody_reads_old_pages(tmp_path: Path, opener: KeyFile, home: Path) -> None:
    """Rule: while the write-ahead file cannot be emptied ``erase`` raises; called again it finishes and says the same."""
    with keystore(home, create(tmp_path / "keys", opener)) as store:
        store.put([ENTRY])
        store._database.execute("PRAGMA busy_timeout = 1")
        reader = sqlite3.connect(home / "keystore.sqlite", isolation_level=None)
        reader.execute("BEGIN")
        (wrapped,) = reader.execute("SELECT wrapped FROM keys").fetchone()
        with pytest.raises(StoreError, match="call erase again"):
            store.erase(CASE, PERSON)
        with pytest.raises(KeyUnavailable, match="erased"):
            store.get(CASE, PERSON, ROOT, 0)
        assert any(wrapped in data for data in every_byte(home).values())
        reader.close()
        assert store.erase(CASE, PERSON).seeds == 1
        assert not [name for name, data in every_byte(home).items() if wrapped in data]


@pytest.mark.parametrize("step", ["BEGIN", "INSERT INTO seeds", "COMMIT"])
def test_a_kill_during_a_put_leaves_all_or_nothing(tmp_path: Path, opener: KeyFile, home: Path, step: str) -> None:
    """Rule: after SIGKILL the keystore opens and holds every seed of the put or none; putting again completes it."""
    ring = create(tmp_path / "keys", opener)
    entries = [replace(ENTRY, part=part) for part in range(5)]

    def put() -> None:
        store = keystore(home, ring)

        def watch(statement: str) -> None:
            if statement.startswith(step):
                os.kill(os.getpid(), signal.SIGKILL)

        store._database.set_trace_callback(watch)
        store.put(entries)

    assert in_child(put) == -signal.SIGKILL
    with keystore(home, ring, chance=Chance("again")) as store:
        assert len(store.parts(CASE, ROOT)) in (0, 5)
        store.put(entries)
        assert len(store.get_all(CASE, ROOT)) == 5


def test_a_keystore_cut_at_any_page_is_refused_or_whole(tmp_path: Path, opener: KeyFile, home: Path) -> None:
    """Rule: a file cut short is a plain error or misses seeds; no wrong seed ever comes out."""
    ring = create(tmp_path / "keys", opener)
    chance = Chance("many")
    entries = [SeedEntry(CaseRef(chance.bytes(16)), None, ROOT, 0, chance.bytes(32)) for _ in range(80)]
    with keystore(home, ring) as store:
        store.put(entries)
    path = home / "keystore.sqlite"
    whole, refused = path.read_bytes(), 0
    for size in range(1, len(whole), 1_024):
        path.write_bytes(whole[:size])
        refused += _misses(home, ring, entries)
    assert refused > len(whole) // 1_024 // 2


def test_a_keystore_with_flipped_bits_gives_no_wrong_seed(tmp_path: Path, opener: KeyFile, home: Path) -> None:
    """Rule: whatever byte is altered, a seed is right or there is an error of ours."""
    ring = create(tmp_path / "keys", opener)
    entries = [replace(ENTRY, part=part) for part in range(4)]
    with keystore(home, ring) as store:
        store.put(entries)
    path = home / "keystore.sqlite"
    whole, refused = path.read_bytes(), 0
    for at in range(0, len(whole), 61):
        path.write_bytes(whole[:at] + bytes((whole[at] ^ 0x41,)) + whole[at + 1 :])
        refused += _misses(home, ring, entries)
    assert refused > 0


def _misses(home: Path, ring: Any, entries: list[SeedEntry]) -> bool:
    """Whether this damaged keystore refuses something; a wrong seed fails the test."""
    for beside in home.glob("keystore.sqlite-*"):
        beside.unlink()
    try:
        with keystore(home, ring, chance=Chance("damaged")) as store:
            for entry in entries:
                assert store.get(entry.case, entry.person, entry.event, entry.part).disclose() == entry.seed
    except (ConfigError, StoreError, KeyUnavailable):
        return True
    return False
