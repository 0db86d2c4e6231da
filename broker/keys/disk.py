"""Private files on disk: only their owner may read them, and they are written whole or not at all.

Leaves what stands in a file to ``broker.keys.vault``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, StoreError

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OTHERS: Final = 0o077


def make_folder(folder: Path) -> None:
    """The folder with mode 0700, made if it is missing.

    Raises:
        ConfigError: it exists and is not a folder of this user that only this user may enter.
        StoreError: it cannot be made.
    """
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"{folder} is not a folder; choose another place for the keys") from None
    except OSError as error:
        raise StoreError(f"cannot make the folder {folder}: {_reason(error)}") from error
    check_folder(folder)


def check_folder(folder: Path) -> None:
    """Accept a folder that belongs to this user and that only this user may enter.

    Raises:
        ConfigError: missing, of another user, or open to others (with the command that mends it).
    """
    _check(folder, _stat(folder), stat.S_ISDIR, "folder", _FOLDER_MODE)


def check_file(path: Path) -> None:
    """Accept a regular file (no link) that belongs to this user and that nobody else may read.

    Raises:
        ConfigError: missing, a link, of another user, or open to others (with the command that mends it).
    """
    _check(path, _stat(path), stat.S_ISREG, "file", _FILE_MODE)


def read_private(path: Path, *, limit: int) -> bytes:
    """The content of a regular file (no link) of this user that nobody else may read, at most ``limit`` bytes.

    Raises:
        ConfigError: missing, a link, of another user, open to others, or longer than ``limit``.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigError(f"{path} is missing") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {_reason(error)}") from error
    with os.fdopen(descriptor, "rb") as file:
        _check(path, os.fstat(descriptor), stat.S_ISREG, "file", _FILE_MODE)
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {_reason(error)}") from error
    if len(data) > limit:
        raise ConfigError(f"{path} is larger than {limit} bytes, so it is not a file of keys")
    return data


def create_private(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600 and make it durable; after an error it does not exist, or is whole.

    Raises:
        ConfigError: the file exists already.
        StoreError: the disk refused.
    """
    _write(path, data, new=True)


def replace_private(path: Path, data: bytes) -> None:
    """Put a file of mode 0600 in the place of ``path`` at once and make it durable; overwrite the old blocks.

    A reader sees the old file or the new one, whole. After an error either may stand there. Overwriting is a
    courtesy: a journal, a snapshot or the spare blocks of a flash disk may keep the old bytes.

    Raises:
        StoreError: the disk refused.
    """
    _write(path, data, new=False)


def sweep(path: Path) -> None:
    """Overwrite and remove what an interrupted write of ``path`` left; call under ``locked``."""
    for left in path.parent.glob(f".{path.name}.*.new"):
        with contextlib.suppress(OSError), left.open("r+b") as old:
            left.unlink()
            _overwrite_if_unnamed(old.fileno())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` against other processes of this user.

    Raises:
        StoreError: the lock file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {_reason(error)}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes, *, new: bool) -> None:
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if new:
            os.link(temporary, path)  # unlike rename, fails where a file stands already
            os.unlink(temporary)
        else:
            _exchange(Path(temporary), path)
        sync_folder(path.parent)
    except FileExistsError:
        _discard(temporary)
        raise ConfigError(f"{path} exists already and is not overwritten; choose another folder") from None
    except OSError as error:
        _discard(temporary)
        raise StoreError(f"cannot write {path}: {_reason(error)}") from error


def _exchange(temporary: Path, path: Path) -> None:
    with path.open("r+b") as old:
        os.replace(temporary, path)
        with contextlib.suppress(OSError):
            _overwrite_if_unnamed(old.fileno())


def _overwrite_if_unnamed(descriptor: int) -> None:
    """What still has a name is somebody's copy, or the new file itself where a kill came between link and unlink."""
    found = os.fstat(descriptor)
    if found.st_nlink == 0:
        os.pwrite(descriptor, bytes(found.st_size), 0)
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(temporary: str) -> None:
    if temporary:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {_reason(error)}") from error


def _check(path: Path, found: os.stat_result, is_kind: Callable[[int], bool], kind: str, mode: int) -> None:
    if not is_kind(found.st_mode):
        raise ConfigError(f"{path} is not a plain {kind}; put the keys where no link leads")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to another user of this machine; run: chown {os.geteuid()} {path}")
    if found.st_mode & _OTHERS:
        raise ConfigError(f"{path} can be read by other users of this machine; run: chmod {mode:o} {path}")


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
