"""A log on disk: whatever fails, at whatever step and both ways, each entry stands in it once and every tile is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from broker.clock import SetClock
from broker.errors import StoreError
from broker.merkle import leaf_hash, levels
from broker.names import Millis
from broker.tlog import tree
from broker.tlog.disk import Folder
from broker.tlog.log import STAGING_FILE, Log
from broker.tlog.note import Ed25519Signer, Mldsa44Signer, Note, NoteSigner, parse_note, verify_note
from broker.tlog.tiles import ENTRIES, Tile, decode_bundle, tiles_of
from tests.unit.stream.faulty import Fault, failing_connection

SIGNERS: Final[list[NoteSigner]] = [
    Ed25519Signer("log.example/one", bytes(32)),
    Mldsa44Signer("log.example/one", bytes(32)),
]
BATCHES: Final = (3, 250, 10, 1, 300)
BOTH_WAYS: Final = [
    pytest.param(Fault.LOST, id="not written"),
    pytest.param(Fault.REPORTED, id="written and reported as not"),
]


def clock() -> SetClock:
    """A clock that stands."""
    return SetClock(Millis(1_770_000_000_000))


def entries(batch: int) -> list[bytes]:
    """The entries of one batch."""
    start = sum(BATCHES[:batch])
    return [f"entry {number}".encode() for number in range(start, start + BATCHES[batch])]


class FaultyDisk(Folder):
    """A folder of which one write fails."""

    def __init__(self, path: Path, at: int, fault: Fault) -> None:
        super().__init__(path)
        self._numbers, self._at, self._fault = count(), at, fault
        self.fired = False

    def write(self, name: str, data: bytes) -> None:
        """As ``Disk``, but for the one."""
        self._do(lambda: super(FaultyDisk, self).write(name, data))

    def remove(self, name: str) -> None:
        """As ``Disk``, but for the one."""
        self._do(lambda: super(FaultyDisk, self).remove(name))

    def _do(self, work: object) -> None:
        fault = self._fault if next(self._numbers) == self._at else Fault.NONE
        if fault is not Fault.LOST:
            work()  # type: ignore[operator]
        if fault is not Fault.NONE:
            self.fired = True
            raise StoreError("failed on purpose")


def fill(folder: Path, disk: Folder | None = None, **more: type) -> None:
    """Appends every batch, starting again after each error where the log says that it goes on."""
    tries = 0
    while True:
        try:
            log = Log.open(folder, signers=SIGNERS, clock=clock(), disk=disk, **more)
        except StoreError:
            tries += 1
            assert tries < 5
            continue
        try:
            while (done := int.from_bytes(log.state.source, "big")) < len(BATCHES):
                log.publish(log.append(entries(done), source=(done + 1).to_bytes(1, "big")))
        except StoreError:
            tries += 1
            assert tries < 5
            continue
        finally:
            log.close()
        return


def check(folder: Path) -> None:
    """Every entry stands in the log once, every tile leads to the signed root, nothing is left over."""
    log = Log.open(folder, signers=SIGNERS, clock=clock())
    all_entries = [entry for batch in range(len(BATCHES)) for entry in entries(batch)]
    hashed = [leaf_hash(entry) for entry in all_entries]
    assert log.state.size == len(all_entries)
    assert log.state.root == levels(hashed)[-1][0]
    found: list[bytes] = []
    for tile in tiles_of(log.state.size, level=ENTRIES):
        found += decode_bundle(log.read(tile), tile.width)
    assert found == all_entries
    note = parse_note(log.state.checkpoint)
    for index in (0, 255, 256, len(all_entries) - 1):
        proof = log.prove(index, note)
        tree.verify_inclusion(hashed[index], index, log.state.size, proof.path, log.state.root)
        assert log.entry(index) == all_entries[index]
    log.publish(note)
    assert len(verify_note(parse_note((folder / "checkpoint").read_bytes()), [one.verifier for one in SIGNERS])) == 2
    assert not (folder / STAGING_FILE).exists()
    assert not [name for name in _files(folder) if name.startswith(".")]
    log.close()


def _files(folder: Path) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from names


def test_a_log_is_what_was_appended(tmp_path: Path) -> None:
    """In pieces, over several lives, with a checkpoint for each."""
    fill(tmp_path / "log")
    check(tmp_path / "log")


@pytest.mark.parametrize("fault", BOTH_WAYS)
def test_every_write_of_a_file_may_fail_both_ways(tmp_path: Path, fault: Fault) -> None:
    """Staging, tiles, bundles, checkpoint, clean-up: opened again, the log goes on and nothing is doubled."""
    for at in count():
        folder = tmp_path / str(at)
        disk = FaultyDisk(folder, at, fault)
        fill(folder, disk)
        check(folder)
        if not disk.fired:
            break
    assert at > 20


@pytest.mark.parametrize("fault", BOTH_WAYS)
def test_every_write_of_the_state_may_fail_both_ways(tmp_path: Path, fault: Fault) -> None:
    """The row is swapped or not; either way the staging is applied or forgotten as it was."""
    for at in count():
        failing = failing_connection(at, fault)
        fill(tmp_path / str(at), factory=failing)
        check(tmp_path / str(at))
        if not vars(failing)["fired"]:
            break
    assert at > 4


def test_of_two_writers_the_second_is_stopped(tmp_path: Path) -> None:
    """Whoever built on a state that is no longer there adds nothing; the log stays what the first made of it."""
    one = Log.open(tmp_path / "log", signers=SIGNERS, clock=clock())
    two = Log.open(tmp_path / "log", signers=SIGNERS, clock=clock())
    one.append([b"first"], source=b"1")
    with pytest.raises(StoreError, match="another process"):
        two.append([b"second"], source=b"1")
    two.close()
    one.close()
    again = Log.open(tmp_path / "log", signers=SIGNERS, clock=clock())
    assert (again.state.size, again.entry(0)) == (1, b"first")
    again.close()


def test_a_log_whose_files_do_not_fit_does_not_start(tmp_path: Path) -> None:
    """A tile that was changed, one that is lost, a state of another log, a checkpoint of another key."""
    fill(tmp_path / "log")
    edge = tmp_path / "log" / Tile(0, 2, 52).path
    whole = edge.read_bytes()
    edge.write_bytes(bytes(32) + whole[32:])
    with pytest.raises(StoreError, match="not of one tree"):
        Log.open(tmp_path / "log", signers=SIGNERS, clock=clock())
    edge.unlink()
    with pytest.raises(StoreError, match="has lost tile/0/002"):
        Log.open(tmp_path / "log", signers=SIGNERS, clock=clock())
    edge.write_bytes(whole)
    with pytest.raises(StoreError, match="does not start"):
        Log.open(tmp_path / "log", signers=[Ed25519Signer("log.example/one", b"x" * 32)], clock=clock())
    Log.open(tmp_path / "log", signers=SIGNERS, clock=clock()).close()


def test_a_tile_never_changes(tmp_path: Path) -> None:
    """Where other bytes stand in the place of a tile that is to be written, the log stops instead of replacing them."""
    log = Log.open(tmp_path / "log", signers=SIGNERS, clock=clock())
    place = tmp_path / "log" / Tile(0, 0, 1).path
    place.parent.mkdir(parents=True)
    place.write_bytes(bytes(32))
    with pytest.raises(StoreError, match="never changes"):
        log.append([b"one"], source=b"")
    log.close()


def test_only_its_own_present_checkpoint_is_published(tmp_path: Path) -> None:
    """An older one, and one that it has not signed, are refused; a renewed one carries a new time."""
    standing = clock()
    log = Log.open(tmp_path / "log", signers=SIGNERS, clock=standing)
    old = log.append([b"one"], source=b"1")
    new = log.append([b"two"], source=b"2")
    with pytest.raises(ValueError, match="present state"):
        log.publish(old)
    with pytest.raises(ValueError, match="no key"):
        log.publish(Note(new.text, (new.lines[0]._replace(name="other"),)))
    standing.at = Millis(standing.at + 60_000)
    renewed = log.renew()
    assert renewed.text == new.text
    assert renewed != new
    log.publish(renewed)
    with pytest.raises(ValueError, match="not one of this log"):
        log.prove(0, Note(new.text.replace("log.example", "example"), new.lines))
    with pytest.raises(ValueError, match="no such entry"):
        log.entry(2)
    log.close()


def test_the_operators_are_told_what_the_disk_said(tmp_path: Path) -> None:
    """A file where a folder must be, and a folder where a file must be."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be opened"):
        Log.open(tmp_path / "file", signers=SIGNERS, clock=clock())
    (tmp_path / "log" / "checkpoint").mkdir(parents=True)
    log = Log.open(tmp_path / "log", signers=SIGNERS, clock=clock())
    with pytest.raises(StoreError, match=r"checkpoint cannot be .*directory"):
        log.publish(parse_note(log.state.checkpoint))
    log.close()
