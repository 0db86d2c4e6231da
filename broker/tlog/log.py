"""A log on disk: it grows by batches, each of them whole or not at all, whatever happens in between.

The order of a commit: **stage** the new tiles and bundles in one file; **sign**; **swap** the state row, if it is still
the one that was built on; **apply** what was staged, so that a tile never changes; **publish** the checkpoint when
cosignatures are collected; drop the staging. Opened again after a crash, what was swapped is applied and what was
only staged is forgotten. A second writer finds another row than it built on, and stops.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeVar

from broker.clock import Clock
from broker.errors import StoreError
from broker.merkle import EMPTY_ROOT, leaf_hash
from broker.tlog import tree
from broker.tlog.checkpoint import Checkpoint, parse_checkpoint
from broker.tlog.disk import Disk, Folder
from broker.tlog.note import Note, NoteSigner, parse_note, sign_note, verify_note
from broker.tlog.proof import Proof
from broker.tlog.served import CHECKPOINT_FILE, Served
from broker.tlog.tiles import ENTRIES, WIDTH, Edge, Tile, TileNodes, decode_bundle, encode_bundle, parse_path

STAGING_FILE: Final = "staging"
STATE_FILE: Final = "state.sqlite"
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL,"
    " root BLOB NOT NULL, checkpoint BLOB NOT NULL, source BLOB NOT NULL) STRICT"
)


_T = TypeVar("_T")


class State(NamedTuple):
    """The log as it is: its signed checkpoint, and what the caller keeps with it (where it goes on reading)."""

    size: int
    root: bytes
    checkpoint: bytes
    source: bytes


class Log:
    """One log, written by one process. Errors are ``StoreError``; after one, open the log again."""

    def __init__(self, disk: Disk, database: sqlite3.Connection, signers: Sequence[NoteSigner], clock: Clock) -> None:
        """Use ``open``."""
        self._disk, self._database, self._signers, self._clock = disk, database, signers, clock
        self._served = Served(disk.read)
        self.state = State(0, EMPTY_ROOT, b"", b"")

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        signers: Sequence[NoteSigner],
        clock: Clock,
        disk: Disk | None = None,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> Self:
        """The log in this folder, made empty if there is none; what a crash left half done is done or forgotten.

        The first signer is the log's own, and its name is the log's origin.

        Raises:
            StoreError: the disk refused, or what stands in the folder does not fit the signed root.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(folder / STATE_FILE, isolation_level=None, factory=factory)
        except (OSError, sqlite3.Error) as error:
            raise StoreError("the log's folder cannot be opened; look whether it is there and writable") from error
        log = cls(disk or Folder(folder), database, signers, clock)
        try:
            log._start()
        except BaseException:
            database.close()
            raise
        return log

    def close(self) -> None:
        """Lets go of the folder."""
        self._database.close()

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._signers[0].verifier.name

    def append(self, entries: Sequence[bytes], *, source: bytes) -> Note:
        """Adds entries, and keeps ``source`` with the new state; gives the signed checkpoint, not yet published.

        Raises:
            StoreError: not added, or not known to be; open the log again. Or another process writes it too.
            ValueError: an entry is longer than an entry can be.
        """
        before = self.state
        edge = Edge(before.size, self.read)
        made = {**self._bundles(entries), **edge.append([leaf_hash(entry) for entry in entries])}
        root = edge.root() if edge.size else EMPTY_ROOT
        staged = _encode_staging(edge.size, root, {tile.path: data for tile, data in made.items()})
        self._disk.write(STAGING_FILE, staged)
        note = self._sign(edge.size, root)
        after = State(edge.size, root, note.encode(), source)
        self._swap(before, after)
        self._apply(staged)
        return note

    def publish(self, note: Note) -> None:
        """Shows a checkpoint of the present state to the world, with whatever cosignatures it carries.

        Raises:
            StoreError: the disk refused.
            ValueError: not a checkpoint of the present state that this log has signed.
        """
        checkpoint = parse_checkpoint(note.text)
        if checkpoint != Checkpoint(self.origin, self.state.size, self.state.root):
            raise ValueError("a log publishes checkpoints of its present state alone")
        verify_note(note, [signer.verifier for signer in self._signers])
        self._disk.write(CHECKPOINT_FILE, note.encode())

    def renew(self) -> Note:
        """The checkpoint of the present state, signed anew: so that it is seen that the log lives.

        Raises:
            StoreError: the disk refused, or another process writes the log too.
        """
        note = self._sign(self.state.size, self.state.root)
        self._swap(self.state, self.state._replace(checkpoint=note.encode()))
        return note

    def read(self, tile: Tile) -> bytes:
        """The bytes of a tile or bundle.

        Raises:
            StoreError: it is not there.
        """
        return self._served.read(tile)

    def entry(self, index: int) -> bytes:
        """One entry.

        Raises:
            StoreError, ValueError: it is not there.
        """
        if not 0 <= index < self.state.size:
            raise ValueError("the log has no such entry")
        number, place = divmod(index, WIDTH)
        width = min(WIDTH, self.state.size - number * WIDTH)
        return decode_bundle(self.read(Tile(ENTRIES, number, width)), width)[place]

    def prove(self, index: int, note: Note) -> Proof:
        """The proof that an entry stands in the log, as a checkpoint of this log shows it.

        Raises:
            StoreError: a tile is not there.
            ValueError: the checkpoint is not of this log, or the entry not in it.
        """
        checkpoint = parse_checkpoint(note.text)
        if checkpoint.origin != self.origin or checkpoint.size > self.state.size:
            raise ValueError("the checkpoint is not one of this log")
        return Proof(index, tuple(tree.inclusion(index, checkpoint.size, self.nodes())), note)

    def nodes(self) -> TileNodes:
        """The hashes of the tree as it is."""
        return TileNodes(self.state.size, self.read)

    def _start(self) -> None:
        self._run(lambda: self._database.execute("PRAGMA synchronous = FULL"))
        self._run(lambda: self._database.execute(_TABLE))
        row = self._run(lambda: self._database.execute("SELECT size, root, checkpoint, source FROM state").fetchone())
        if row is None:
            self._first()
        else:
            self.state = State(*row)
        staged = self._disk.read(STAGING_FILE)
        if staged is not None:
            self._recover(staged)
        self._check()

    def _first(self) -> None:
        note = self._sign(0, EMPTY_ROOT)
        self.state = State(0, EMPTY_ROOT, note.encode(), b"")
        self._run(lambda: self._database.execute("INSERT INTO state VALUES (1, ?, ?, ?, ?)", self.state))

    def _recover(self, staged: bytes) -> None:
        """Applies what was swapped; forgets what was not."""
        try:
            size, root, _ = _decode_staging(staged)
        except ValueError:
            self._disk.remove(STAGING_FILE)
            return
        if (size, root) == (self.state.size, self.state.root):
            self._apply(staged)
        else:
            self._disk.remove(STAGING_FILE)

    def _check(self) -> None:
        """The right edge leads to the signed root, and the signature is this log's."""
        try:
            note = parse_note(self.state.checkpoint)
            verify_note(note, [self._signers[0].verifier])
            said = parse_checkpoint(note.text)
            root = Edge(self.state.size, self.read).root() if self.state.size else EMPTY_ROOT
        except ValueError as error:
            raise StoreError(f"the log does not start: {error}") from error
        if said != Checkpoint(self.origin, self.state.size, self.state.root) or root != self.state.root:
            raise StoreError("the log does not start: its tiles, its state and its checkpoint are not of one tree")

    def _sign(self, size: int, root: bytes) -> Note:
        at = self._clock.now() // 1_000
        return sign_note(Checkpoint(self.origin, size, root).text(), self._signers, at=at)

    def _bundles(self, entries: Sequence[bytes]) -> dict[Tile, bytes]:
        """The entry bundles that are new: full ones, and the last as far as it is filled."""
        size = self.state.size
        number, width = divmod(size, WIDTH)
        held = decode_bundle(self.read(Tile(ENTRIES, number, width)), width) if width else []
        all_entries = [*held, *entries]
        made = {}
        for at in range(0, len(all_entries), WIDTH):
            part = all_entries[at : at + WIDTH]
            made[Tile(ENTRIES, number + at // WIDTH, len(part))] = encode_bundle(part)
        return made

    def _swap(self, before: State, after: State) -> None:
        changed = self._run(
            lambda: (
                self._database.execute(
                    "UPDATE state SET size = ?, root = ?, checkpoint = ?, source = ?"
                    " WHERE size = ? AND root = ? AND checkpoint = ? AND source = ?",
                    (*after, *before),
                ).rowcount
            )
        )
        if changed != 1:
            raise StoreError("another process writes this log; only one may, end the other")
        self.state = after

    def _apply(self, staged: bytes) -> None:
        for path, data in _decode_staging(staged)[2].items():
            there = self._disk.read(path)
            if there is None:
                self._disk.write(path, data)
            elif there != data:
                raise StoreError(f"{path} holds other bytes than it must; a tile never changes")
        self._disk.remove(STAGING_FILE)

    @staticmethod
    def _run(work: Callable[[], _T]) -> _T:
        try:
            return work()
        except sqlite3.Error as error:
            raise StoreError("the log's state cannot be read or written; look at its disk") from error


def _encode_staging(size: int, root: bytes, files: dict[str, bytes]) -> bytes:
    """``u64 size || root[32] || u32 n || [n]( u16 length || path || u32 length || bytes )``."""
    out = [size.to_bytes(8, "big"), root, len(files).to_bytes(4, "big")]
    for path, data in files.items():
        out += (len(path).to_bytes(2, "big"), path.encode(), len(data).to_bytes(4, "big"), data)
    return b"".join(out)


def _decode_staging(data: bytes) -> tuple[int, bytes, dict[str, bytes]]:
    """What ``_encode_staging`` was given.

    Raises:
        ValueError: not that.
    """
    size, root, count, at = int.from_bytes(data[:8], "big"), data[8:40], int.from_bytes(data[40:44], "big"), 44
    files = {}
    for _ in range(count):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        path = parse_path(data[at + 2 : end].decode()).path
        at = end + 4 + int.from_bytes(data[end : end + 4], "big")
        files[path] = data[end + 4 : at]
    if at != len(data):
        raise ValueError("the staging is cut short")
    return size, root, files
