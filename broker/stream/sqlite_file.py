"""SQLite files made and opened safely: whole or absent, private, of the right kind and version, durable on commit.

Shared by the embedded stream and by the stores of the adapter (``adapters.db``). Leaves what the tables mean
to them. Every failure becomes one plain sentence in the caller's own error class (``Format.error``).
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.errors import StoreError, StreamError

FILE_MODE: Final = 0o600
BUSY_MS: Final = 10_000
"""How long a writer waits for another before it reports that the file is held."""

_SENTENCES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space, then try again",
    sqlite3.SQLITE_READONLY: "it cannot be written; make its disk, folder and file writable, then try again",
    sqlite3.SQLITE_BUSY: "another program holds it; try again when that has finished",
    sqlite3.SQLITE_LOCKED: "another program holds it; try again when that has finished",
    sqlite3.SQLITE_CORRUPT: "it is damaged; stop, keep it as it is, and restore from a backup",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; look whether its folder is there and writable",
    sqlite3.SQLITE_PERM: "it cannot be opened or made; look to whom it and its folder belong, and make them writable",
    sqlite3.SQLITE_IOERR: "its disk failed to read or write, or is full; look at the disk, then try again",
}


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file. ``what`` names it in messages; ``application_id`` and ``version`` stand in its header."""

    what: str
    application_id: int
    version: int
    schema: str
    error: type[StoreError] | type[StreamError]


@contextmanager
def failures(form: Format, path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise within into ``form.error``, by code and never by text."""
    try:
        yield
    except sqlite3.Error as error:
        raise explained(form, path, error) from error
    except OSError as error:
        match error:
            case FileNotFoundError():
                sentence = "it is not there, or its folder is not"
            case PermissionError():
                sentence = _SENTENCES[sqlite3.SQLITE_PERM]
            case _:
                sentence = f"{(error.strerror or 'the operating system refused').lower()}; look at its disk and folder"
        raise _failed(form, path, sentence, errno=error.errno) from error


def explained(form: Format, path: Path, error: sqlite3.Error) -> StoreError | StreamError:
    """What an error of SQLite means to the operator, judged by its code."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    if code & 0xFF == sqlite3.SQLITE_NOTADB:
        return _foreign(form, path)
    sentence = _SENTENCES.get(code & 0xFF, "the database refused; see the detail")
    return _failed(form, path, sentence, sqlite=getattr(error, "sqlite_errorname", type(error).__name__))


def create(path: Path, form: Format, *, fill: Callable[[sqlite3.Connection], None] = lambda _: None) -> None:
    """Make the file with its tables, mode 0600; when it returns the file is whole and durable.

    It is built beside its place and linked there, so that whoever finds it finds it complete. ``fill`` puts in
    the first rows, within the transaction that makes the tables.

    Raises:
        form.error: something of that name is there already, or the folder does not let it be made.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    with failures(form, path):
        try:
            with suppress(FileNotFoundError):
                new.unlink()
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
            _build(new, form, fill)
            try:
                os.link(new, path)
            except FileExistsError:
                raise _failed(form, path, "it is there already") from None
            _sync_folder(path.parent)
        finally:
            with suppress(OSError):
                new.unlink()


def connect(
    path: Path, form: Format, *, factory: type[sqlite3.Connection] = sqlite3.Connection, busy_ms: int = BUSY_MS
) -> sqlite3.Connection:
    """A connection to a file that ``create`` made: WAL, ``synchronous=FULL``, no implicit transactions.

    May be used in any thread, by one at a time. Nothing in the file is changed before its kind and version
    are known.

    Raises:
        form.error: not there, a link, open to others, foreign, of another version, read-only or damaged.
    """
    with failures(form, path):
        _require_private(path, form)
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=busy_ms / 1_000,
            factory=factory,
        )
        try:
            _require_format(connection, path, form)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            # A file that cannot be written says so now, not after the first message. BEGIN alone does not: of
            # a read-only file SQLite quietly begins a reading transaction.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f"PRAGMA user_version = {form.version}")
            connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit everything done within, or nothing.

    An error out of the COMMIT itself leaves open whether it took place: the caller does it again, in a way
    that does no harm if it did.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            # SQLite may have rolled back by itself; closing does it at the latest.
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def _build(path: Path, form: Format, fill: Callable[[sqlite3.Connection], None]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(f"BEGIN IMMEDIATE; {form.schema};")
        fill(connection)
        connection.execute(f"PRAGMA application_id = {form.application_id}")
        connection.execute(f"PRAGMA user_version = {form.version}")
        connection.execute("COMMIT")
    finally:
        connection.close()  # the last connection empties and removes the WAL: the one file is all there is


def _require_private(path: Path, form: Format) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise _failed(form, path, "it is not an ordinary file")
    if found.st_mode & 0o077:
        raise _failed(form, path, "others on this machine may open it; set its mode to 0600")
    if found.st_uid != os.geteuid():
        raise _failed(form, path, "it belongs to another user of this machine")


def _require_format(connection: sqlite3.Connection, path: Path, form: Format) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    if application_id != form.application_id:
        raise _foreign(form, path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != form.version:
        raise _failed(
            form, path, f"it is of version {version}, this program reads version {form.version}; use the matching one"
        )
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        raise _failed(form, path, "its journal mode was changed; make a new one or restore from a backup")


def _foreign(form: Format, path: Path) -> StoreError | StreamError:
    return _failed(form, path, f"it is not a casebridge {form.what}; look whether the name is right")


def _failed(form: Format, path: Path, sentence: str, **detail: object) -> StoreError | StreamError:
    return form.error(f"{form.what} {path.name}: {sentence}", path=str(path), **detail)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
