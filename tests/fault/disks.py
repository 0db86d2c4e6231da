"""Disks that refuse: commands typed in a process of their own for which no file can grow, or nothing can be written."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tests.unit.cli.terminal import Done

CAPABILITIES_VERSION_3: Final = 0x20080522
"""Of the header that capget and capset of Linux take."""
DAC_OVERRIDE: Final = 0b110
"""The capabilities by which root writes and reads what the modes of files forbid."""


def apart(prepare: Callable[[], None], work: Callable[[], Done]) -> Done:
    """Does the work in a process of its own, after it was prepared there; a fork, so that it starts at once."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            prepare()
            said = json.dumps(asdict(work())).encode()
            while said:
                said = said[os.write(writing, said) :]
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return Done(**json.loads(told))


def full(size: int) -> Callable[[], None]:
    """A disk on which no file can grow beyond so many bytes, and none can be written beyond them."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def bound_by_modes() -> None:
    """From now on the modes of files bind this process even where it runs as root; others they bind anyway."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for place in range(3):
        sets[place] &= ~DAC_OVERRIDE
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in the folder and below can be written meanwhile, by a process that is bound by modes."""
    kept = {path: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
    for path, mode in kept.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in kept.items():
            path.chmod(mode)
