"""Files that are whole or not there, and durable when the call returns."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

from broker.errors import StoreError


class Disk(Protocol):
    """What a log needs of a disk; every error is a ``StoreError``."""

    def read(self, name: str) -> bytes | None:
        """The file's bytes, None where it is not there."""

    def write(self, name: str, data: bytes) -> None:
        """Makes the file, or replaces it at once by other bytes; durable on return."""

    def remove(self, name: str) -> None:
        """Removes the file, if it is there."""


class Folder:
    """A ``Disk`` in a folder. Names have slashes between their parts; folders are made as needed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes | None:
        """As ``Disk``."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(name, error) from error

    def write(self, name: str, data: bytes) -> None:
        """As ``Disk``."""
        target = self.path / name
        draft = target.with_name(f".{target.name}.new")
        try:
            self._make(target.parent)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            draft.replace(target)
            _sync(target.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise _refused(name, error) from error

    def remove(self, name: str) -> None:
        """As ``Disk``."""
        try:
            (self.path / name).unlink(missing_ok=True)
            _sync((self.path / name).parent)
        except OSError as error:
            raise _refused(name, error) from error

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(name: str, error: OSError) -> StoreError:
    reason = (error.strerror or "refused").lower()
    return StoreError(f"the log's file {name} cannot be read or written: {reason}", errno=error.errno)
