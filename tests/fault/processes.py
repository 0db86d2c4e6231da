"""Starting the processes of ``writers`` and killing them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(*arguments: object) -> subprocess.Popen[str]:
    """A process of ``tests.fault.writers``."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fault.writers", *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def killed_after(lines: int, *arguments: object) -> list[str]:
    """What a process had acknowledged when SIGKILL met it, some time after so many lines."""
    with start(*arguments) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
        assert process.wait(10) == -9
    # A line that was cut is not an acknowledgement.
    return [line[:-1] for line in said if line.endswith("\n")]


def said_by(*arguments: object) -> list[str]:
    """All that a process says, run to its end."""
    with start(*arguments) as process:
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 0
    return said.splitlines()
