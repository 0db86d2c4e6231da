"""The file of the keystore: its tables, how a connection is set up, and how a destroyed key is scrubbed from it.

Leaves what the rows mean to ``broker.keys.keystore``.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sqlite3
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, StoreError
from broker.keys import disk

APPLICATION: Final = 0x43424B53
VERSION: Final = 1
_NOT_A_KEYSTORE: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)
_SENTENCES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "it cannot be written; make its disk, folder and file writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; look whether its folder is there and writable",
    sqlite3.SQLITE_BUSY: "another program holds it; try again when that has finished",
    sqlite3.SQLITE_LOCKED: "another program holds it; try again when that has finished",
    sqlite3.SQLITE_IOERR: "its disk failed to read or write, or is full; look at the disk",
}
_PRAGMAS: Final = (
    "PRAGMA busy_timeout = 5000",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA secure_delete = ON",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
)
_TABLES: Final = (
    "CREATE TABLE store (only INTEGER PRIMARY KEY CHECK (only = 1), proof BLOB NOT NULL) STRICT",
    "CREATE TABLE keys (id INTEGER PRIMARY KEY, case_ref BLOB NOT NULL, person BLOB NOT NULL,"
    " wrapped BLOB NOT NULL, UNIQUE (case_ref, person)) STRICT",
    "CREATE TABLE seeds (key INTEGER NOT NULL REFERENCES keys (id), event BLOB NOT NULL, part INTEGER NOT NULL,"
    " wrapped BLOB NOT NULL, PRIMARY KEY (key, event, part)) STRICT, WITHOUT ROWID",
    "CREATE TABLE erased (case_ref BLOB NOT NULL, person BLOB NOT NULL, at INTEGER NOT NULL,"
    " seeds INTEGER NOT NULL, PRIMARY KEY (case_ref, person, at)) STRICT, WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


def connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode to the file, which is made empty with mode 0600 if it is missing.

    Raises:
        ConfigError: not a private file, not a database, or its folder is open to others.
        StoreError: the disk refused.
    """
    disk.check_folder(path.parent)
    if not os.path.lexists(path):
        with contextlib.suppress(ConfigError):  # another process was first
            disk.create_private(path, b"")
    disk.check_file(path)
    with refusals(path):
        database = sqlite3.connect(path, isolation_level=None)
        try:
            for pragma in _PRAGMAS:
                database.execute(pragma)
        except BaseException:
            database.close()
            raise
    return database


def is_new(database: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables must still be made.

    Raises:
        ConfigError: the file is a database of something else.
    """
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if (application, version) == (APPLICATION, VERSION):
        return False
    if (application, version, tables) != (0, 0, 0):
        raise ConfigError(f"{path} is not a keystore of this version of casebridge")
    return True


def make(database: sqlite3.Connection, proof: bytes) -> None:
    """Make the tables, inside the caller's transaction."""
    for statement in _TABLES:
        database.execute(statement)
    database.execute("INSERT INTO store VALUES (1, ?)", (proof,))


def scrub(database: sqlite3.Connection, path: Path, destroyed: bytes | None) -> None:
    """Empty the write-ahead file and prove that ``destroyed`` stands nowhere in the file; None if it is not known.

    SQLite zeroes what it deletes, but may have left a copy of a cell in the free part of a page when it split or
    joined pages. Where one is found, or could be, VACUUM writes every page anew.

    Raises:
        StoreError: another connection still reads old pages, or the disk refused.
    """
    truncate(database)
    if destroyed is not None and not holds(path, destroyed):
        return
    database.execute("VACUUM")
    truncate(database)
    if destroyed is not None and holds(path, destroyed):
        raise StoreError("the key is destroyed, but a copy stayed in the keystore file; call erase again")


def truncate(database: sqlite3.Connection) -> None:
    """Bring every page home and cut the write-ahead file to nothing.

    Raises:
        StoreError: another connection still reads old pages.
    """
    (busy, _, _) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StoreError("the key is destroyed, but another program still reads old pages; call erase again")


def holds(path: Path, needle: bytes) -> bool:
    """Whether these bytes stand anywhere in the file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(needle) >= 0


class refusals:  # noqa: N801 - used as a verb: with refusals(path)
    """Turns errors of SQLite and of the disk into errors of the exchange.

    Raises:
        ConfigError: the file is damaged or no database.
        StoreError: anything else; SQLite has undone what was begun.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        """Name the file that errors speak of."""
        self._path = path

    def __enter__(self) -> None:
        """Nothing to prepare; a class, since a generator costs a microsecond on the way of every seed."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_A_KEYSTORE:
                raise ConfigError(f"{self._path} is damaged or not a keystore") from error
            sentence = _SENTENCES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "the database refused")
            name = getattr(error, "sqlite_errorname", type(error).__name__)
            raise StoreError(f"the keystore {self._path}: {sentence}; nothing was half-written", sqlite=name) from error
        if isinstance(error, OSError):
            reason = (error.strerror or "error").lower()
            raise StoreError(f"cannot use the keystore {self._path}: {reason}") from error
