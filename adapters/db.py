"""The databases of a home folder: opened safely, written by one at a time, everything or nothing.

A ``Database`` is one connection, shared by the threads of a process under a lock; other processes may have
theirs. Leaves the tables to ``outbox`` and ``inbox``, and the making and checking of files to
``broker.stream.sqlite_file``.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from broker.errors import StoreError
from broker.stream import sqlite_file
from broker.stream.sqlite_file import BUSY_MS, Format

FOLDER_MODE: Final = 0o700


def private_folder(path: Path) -> Path:
    """The folder, made with mode 0700 if it is not there; its parent must be.

    Raises:
        StoreError: it cannot be made, is a link or no folder, belongs to another, or others may look into it.
    """
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=FOLDER_MODE)
        found = path.lstat()
    except OSError as error:
        raise StoreError(
            f"the folder {path.name} cannot be made; look whether the folder above is there and writable",
            path=str(path),
            errno=error.errno,
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(f"{path.name} is not a folder; choose another name", path=str(path))
    if found.st_uid != os.geteuid():
        raise StoreError(f"the folder {path.name} belongs to another user of this machine", path=str(path))
    if found.st_mode & 0o077:
        raise StoreError(f"others may look into the folder {path.name}; set its mode to 0700", path=str(path))
    return path


class Database:
    """One file of a home folder. All its errors are ``StoreError``; what the caller raises passes unchanged."""

    def __init__(self, connection: sqlite3.Connection, path: Path, form: Format) -> None:
        """Use ``open``."""
        self._connection, self._path, self._form = connection, path, form
        self._lock = threading.RLock()
        self._depth = 0

    @classmethod
    def open(
        cls,
        path: Path,
        form: Format,
        *,
        factory: type[sqlite3.Connection] = sqlite3.Connection,
        busy_ms: int = BUSY_MS,
    ) -> Self:
        """Open the file, made with its empty tables if it is not there; folder and file must be private.

        Args:
            factory: the class of the connection.
            busy_ms: how long to wait for a writer in another process.

        Raises:
            StoreError: the folder or file is not private, or the file is foreign, of another version,
                damaged, locked or read-only.
        """
        private_folder(path.parent)
        if not os.path.lexists(path):
            try:
                sqlite_file.create(path, form)
            except StoreError:
                # Another process may have made it in the meantime; then it is as good as ours.
                if not path.exists():
                    raise
        return cls(sqlite_file.connect(path, form, factory=factory, busy_ms=busy_ms), path, form)

    @property
    def place(self) -> str:
        """Which file of which disk this is: a copy has another place."""
        found = os.stat(self._path)
        return f"{found.st_dev}:{found.st_ino}"

    @property
    def version(self) -> int:
        """A number that changes when another connection, of whatever process, has written the file."""
        with self.reading() as connection:
            return int(connection.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, to read; sees what the same thread has written and not yet committed.

        Raises:
            StoreError: the database refused.
        """
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise self._explained(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is durable when the block ends, or nothing of it is there.

        Within another one it is a part of that: undone alone if it fails, durable when the outermost ends.
        An error from the end of the block leaves open whether it was written: do it again, so that twice
        does no harm.

        Raises:
            StoreError: the database refused.
        """
        with self._lock:
            if self._depth and not self._connection.in_transaction:
                # SQLite undid everything itself; going on would commit the rest without the beginning.
                raise StoreError(f"{self._form.what} {self._path.name}: the transaction was undone; begin it again")
            begin, end, undo = _statements(self._depth)
            self._depth += 1
            try:
                self._connection.execute(begin)
                yield self._connection
                self._connection.execute(end)
            except BaseException as error:
                if self._connection.in_transaction:
                    with suppress(sqlite3.Error):
                        for statement in undo:
                            self._connection.execute(statement)
                if isinstance(error, sqlite3.Error):
                    raise self._explained(error) from error
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Let go of the file; an open transaction is undone."""
        with self._lock:
            self._connection.close()

    def _explained(self, error: sqlite3.Error) -> StoreError:
        explained = sqlite_file.explained(self._form, self._path, error)
        assert isinstance(explained, StoreError)
        return explained


def _statements(depth: int) -> tuple[str, str, tuple[str, ...]]:
    """How to begin, end and undo: a transaction, or a part of one; each part has its own name."""
    if depth == 0:
        return "BEGIN IMMEDIATE", "COMMIT", ("ROLLBACK",)
    part = f"part{depth}"
    return f"SAVEPOINT {part}", f"RELEASE {part}", (f"ROLLBACK TO {part}", f"RELEASE {part}")
