"""A witness (c2sp.org/tlog-witness): it cosigns each log's checkpoints as long as every one continues the one before.

``Witness.add_checkpoint`` answers one request; carrying it over HTTP is the affair of the service. What it has cosigned
is durable before it answers, and one state is changed at a time: a witness never signs two trees that differ.
"""

from __future__ import annotations

import base64
import contextlib
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self

from broker.clock import Clock
from broker.errors import StoreError
from broker.merkle import HASH_SIZE
from broker.tlog import tree
from broker.tlog.checkpoint import Checkpoint, decimal, parse_checkpoint
from broker.tlog.note import Note, NoteSigner, Verifier, decode64, parse_note, verify_note

SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
_STEPS: Final = 63
_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS seen (origin TEXT PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL,"
    " note BLOB NOT NULL) STRICT"
)


class Answer(NamedTuple):
    """What goes back over HTTP."""

    status: int
    body: bytes
    content_type: str = TEXT_TYPE


class Request(NamedTuple):
    """An add-checkpoint request: the size that the log believes was seen last, a proof from there, a checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: Note

    def encode(self) -> bytes:
        """The request's body."""
        lines = [f"old {self.old}", *[base64.b64encode(step).decode() for step in self.proof], ""]
        return "".join(f"{line}\n" for line in lines).encode() + self.note.encode()


def parse_request(data: bytes) -> Request:
    """The request with this body.

    Raises:
        ValueError: not one.
    """
    head, found, rest = data.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ValueError("not a request to a witness") from None
    if not found or not first.startswith("old ") or len(lines) > _STEPS:
        raise ValueError("not a request to a witness")
    proof = tuple(map(decode64, lines))
    if any(len(step) != HASH_SIZE for step in proof):
        raise ValueError("a line of the proof is no hash")
    return Request(decimal(first.removeprefix("old ")), proof, parse_note(rest))


class Witness:
    """One witness: the logs that it knows, its keys, and what it has cosigned last of each."""

    def __init__(
        self,
        database: sqlite3.Connection,
        logs: Mapping[str, Sequence[Verifier]],
        signers: Sequence[NoteSigner],
        clock: Clock,
    ) -> None:
        """Use ``open``."""
        self._database, self._logs, self._signers, self._clock = database, logs, signers, clock
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        logs: Mapping[str, Sequence[Verifier]],
        signers: Sequence[NoteSigner],
        clock: Clock,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
    ) -> Self:
        """The witness whose memory is this file.

        Args:
            logs: origin of each log that is known, to the keys that sign for it.
            signers: cosigning keys.

        Raises:
            StoreError: the file cannot be used.
        """
        try:
            database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=factory)
            database.execute("PRAGMA synchronous = FULL")
            database.execute(_TABLE)
        except sqlite3.Error as error:
            raise StoreError("the witness's memory cannot be opened; look at its disk") from error
        return cls(database, logs, signers, clock)

    def close(self) -> None:
        """Lets go of the file."""
        self._database.close()

    def add_checkpoint(self, body: bytes) -> Answer:
        """Cosigns a checkpoint, or says why not.

        Raises:
            StoreError: the memory could not be kept; nothing was signed.
        """
        try:
            request = parse_request(body)
            checkpoint = parse_checkpoint(request.note.text)
        except ValueError as error:
            return _refused(400, str(error))
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            return _refused(404, "this witness does not know the log")
        try:
            verify_note(request.note, keys)
        except ValueError as error:
            return _refused(403, str(error))
        if request.old > checkpoint.size:
            return _refused(400, "the old size is larger than the checkpoint's")
        with self._lock:
            return self._judge(request, checkpoint, keys)

    def checkpoint(self, origin_hash: str) -> Answer:
        """The last checkpoint that was cosigned of the log whose origin has this SHA-256 (hexadecimal).

        Raises:
            StoreError: the memory cannot be read.
        """
        for origin in self._logs:
            if sha256(origin.encode()).hexdigest() == origin_hash:
                seen = self._seen(origin)
                if seen is not None:
                    return Answer(200, seen[2])
        return _refused(404, "nothing of that log was cosigned here")

    def _judge(self, request: Request, checkpoint: Checkpoint, keys: Sequence[Verifier]) -> Answer:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            answer = self._compare(request, checkpoint, keys)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError("the witness's memory cannot be written; look at its disk") from error
        finally:
            if self._database.in_transaction:  # whatever failed, the next request must find the memory free
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
        return answer

    def _compare(self, request: Request, checkpoint: Checkpoint, keys: Sequence[Verifier]) -> Answer:
        seen = self._seen(checkpoint.origin)
        size, root = (seen[0], seen[1]) if seen is not None else (0, b"")
        if request.old != size:
            return Answer(409, f"{size}\n".encode(), SIZE_TYPE)
        try:
            if size:
                tree.verify_consistency(size, checkpoint.size, request.proof, root, checkpoint.root)
            elif request.proof:
                raise ValueError("there is nothing to prove from an empty tree")
        except ValueError as error:
            return _refused(422, str(error))
        at = self._clock.now() // 1_000
        lines = tuple(signer.sign(request.note.text, at=at) for signer in self._signers)
        trusted = {(key.name, key.key_id) for key in keys}
        logs = tuple(line for line in request.note.lines if (line.name, line.key_id) in trusted)
        self._database.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?, ?, ?)",
            (checkpoint.origin, checkpoint.size, checkpoint.root, Note(request.note.text, logs + lines).encode()),
        )
        return Answer(200, "".join(line.text() for line in lines).encode())

    def _seen(self, origin: str) -> tuple[int, bytes, bytes] | None:
        try:
            row: tuple[int, bytes, bytes] | None = self._database.execute(
                "SELECT size, root, note FROM seen WHERE origin = ?", (origin,)
            ).fetchone()
        except sqlite3.Error as error:
            raise StoreError("the witness's memory cannot be read; look at its disk") from error
        return row


def _refused(status: int, why: str) -> Answer:
    return Answer(status, f"{why}\n".encode())


def cosignatures(note: Note, answer: bytes, witnesses: Sequence[Verifier]) -> tuple[Note, bool]:
    """The note with the cosignatures of a witness's answer that hold; and whether there was one.

    Lines of others are left out: a witness cannot speak for another, nor spoil the note.
    """
    try:
        lines = parse_note(note.text.encode() + b"\n" + answer).lines
    except ValueError:
        return note, False
    known = {(one.name, one.key_id): one for one in witnesses}
    held = []
    for line in lines:
        verifier = known.get((line.name, line.key_id))
        try:
            if verifier is not None and verifier.check(note.text, line):
                held.append(line)
        except ValueError:
            continue
    return note._replace(lines=(*note.lines, *held)), bool(held)
