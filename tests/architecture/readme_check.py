"""Runs the commands that README.md shows, in their order, in this checkout; the first that fails ends the run."""

from __future__ import annotations

import subprocess
import time
from typing import Final

from tests.architecture.documents import shell_lines
from tests.architecture.source import ROOT

ELSEWHERE: Final = ("git clone ", "cd ", "make test", "make lint", "make bench", "make clean")
"""Commands that have run already or run in a step of their own."""


def to_run(markdown: str) -> list[str]:
    """The commands to run.

    Raises:
        LookupError: the document shows none.
    """
    found = [line for line in shell_lines(markdown) if not line.startswith(ELSEWHERE)]
    if not found:
        raise LookupError("README.md shows no command")
    return found


def main() -> int:
    """Runs them; the exit code of the first that fails."""
    for line in to_run((ROOT / "README.md").read_text()):
        started = time.monotonic()
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=ROOT,
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        print(f"{time.monotonic() - started:6.1f} s  exit {done.returncode}  $ {line}", flush=True)
        if done.returncode:
            print(done.stdout)
            return done.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
