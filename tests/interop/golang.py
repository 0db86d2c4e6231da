"""The programs of others, written in Go, that judge our log: where Go is, and how they are built.

``python -m tests.interop.golang`` says in one line what is left out where there is no Go. In CI nothing is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).parent / "go"
BUILT: Final = Path(__file__).parents[2] / "build" / "interop"
_USUAL: Final = "/usr/local/go/bin/go"
_MODULES: Final = {
    "tessera": "github.com/transparency-dev/tessera",
    "merkle": "github.com/transparency-dev/merkle",
    "mod": "golang.org/x/mod",
}


def go() -> str | None:
    """The program ``go``; None where there is none."""
    return shutil.which("go") or shutil.which(_USUAL)


def missing() -> str:
    """Why the tests in Go are left out; empty where they are not."""
    return "" if go() else "there is no Go here; install Go 1.26 or newer"


def require() -> str:
    """The program ``go``. Skips the test where there is none; in CI fails it."""
    found = go()
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"other programs are not asked: {missing()}")
    return found


@cache
def program() -> Path:
    """The judge, built once in a run from the versions that go.sum names; later runs take it from Go's cache."""
    mine = BUILT.with_name(f"interop.{os.getpid()}")
    run(require(), "build", "-trimpath", "-mod=readonly", "-o", str(mine), ".")
    return mine.replace(BUILT)  # at once: another worker may be running it


@cache
def module(name: str) -> Path:
    """The folder of a module of others, with its published vectors, as go.sum names it."""
    go = require()
    path = _MODULES[name]
    run(go, "mod", "download", path)
    return Path(run(go, "list", "-m", "-f", "{{.Dir}}", path).strip())


def run(*command: str) -> str:
    """What a command printed; the test fails with what it said where it fails."""
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, f"{' '.join(command[:2])}: {done.stderr[-2000:]}"
    return done.stdout


if __name__ == "__main__":
    if missing():
        print(f"the tests with programs of others are left out: {missing()}")
