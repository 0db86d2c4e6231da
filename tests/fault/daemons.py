"""The processes that operators run, and commands beside them: started, watched, ended and killed by tests."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from adapters.exchange import KEY_FILE
from adapters.home import INBOX_FILE
from adapters.inbox import Inbox
from adapters.inbox_file import State
from broker.clock import SystemClock
from broker.names import AgencyId
from tests.fault.processes import ROOT

COMMAND: Final = [sys.executable, "-c", "from adapters.cli.main import main; main()"]
PATIENCE: Final = 60.0
"""Seconds to wait for what must happen, on the slowest machine."""
ENDS_WITHIN: Final = 5.0
"""Seconds in which a process that was told to stop has ended."""


def command(folder: Path, agency: AgencyId, *words: str) -> list[str]:
    """The command line of one agency of the exchange in this folder."""
    return [*COMMAND, "--home", str(folder / "homes" / agency), "--key-file", str(folder / KEY_FILE), *words]


def cli(folder: Path, agency: AgencyId, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """One command, run to its end in a process of its own."""
    return subprocess.run(
        command(folder, agency, *words), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **more
    )


def until(true: Callable[[], bool], what: str) -> None:
    """Waits until it is so."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        time.sleep(0.02)


class Daemon:
    """``casebridge adapter run`` or ``broker run`` of one agency."""

    def __init__(self, folder: Path, agency: AgencyId, role: str) -> None:
        self._said = folder / f"{role}.{agency}.out"
        self._complained = folder / f"{role}.{agency}.err"
        with self._said.open("w") as said, self._complained.open("w") as complained:
            self.process = subprocess.Popen(
                command(folder, agency, role, "run"), cwd=ROOT, stdout=said, stderr=complained
            )

    @property
    def said(self) -> list[str]:
        """Its lines on standard output, of this life."""
        return self._said.read_text().splitlines()

    @property
    def complained(self) -> list[str]:
        """Its lines on standard error, of this life."""
        return self._complained.read_text().splitlines()

    def says(self, words: str) -> None:
        """Waits until it says so, on standard output or error."""
        until(lambda: any(words in line for line in (*self.said, *self.complained)), words)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Tells it to stop: it does, in time, with 0, and says so."""
        start = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        assert time.monotonic() - start < ENDS_WITHIN
        assert (code, self.said[-1].split(";")[0]) == (0, "stopped"), self.complained

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        assert self.process.wait(PATIENCE) == -signal.SIGKILL


@contextmanager
def running(folder: Path, *who: tuple[AgencyId, str]) -> Iterator[list[Daemon]]:
    """These processes, each after it has said that it runs; whatever happens, none is left behind."""
    with ExitStack() as stack:
        found = []
        for agency, role in who:
            daemon = Daemon(folder, agency, role)
            stack.callback(daemon.process.wait)
            stack.callback(daemon.process.kill)
            found.append(daemon)
        for daemon in found:
            daemon.says("runs; stop it with")
        yield found


def received(folder: Path, agency: AgencyId) -> int:
    """How many valid events are in an agency's inbox."""
    inbox = Inbox.open(folder / "homes" / agency / INBOX_FILE, clock=SystemClock())
    try:
        return len(inbox.slices(state=State.RECEIVED, limit=10_000))
    finally:
        inbox.close()
