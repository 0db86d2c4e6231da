"""A process killed at any step of publish, dispatch and receive loses nothing and doubles nothing."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from adapters.exchange import Exchange
from adapters.home import Home
from adapters.inbox_file import State
from adapters.outbox_file import State as Sent
from broker.clock import SystemClock, SystemRandom
from broker.keys.files import KeyFile
from broker.names import AgencyId
from tests.fault.path_step import run
from tests.story.small_exchange import AGENCIES, CWC, HOME, HUB, OTHER, alert

ROOT: Final = Path(__file__).parents[2]

STEPS: Final = [
    ("publish", "outbox.pending.before", "sealed, and killed before it is sent"),
    ("publish", "stream.publish.before", "killed as it is about to be sent"),
    ("publish", "stream.publish.after", "sent, and killed before the outbox knows"),
    ("publish", "outbox.mark_sent.after", "killed when the outbox knows"),
    ("broker", "stream.publish.before", "checked, and killed before slices are delivered"),
    ("broker", "stream.publish.after", "delivered, and killed before the position is kept"),
    ("broker", "stream.commit.after", "killed when the position is kept"),
    ("receive", "keystore.put.before", "verified, and killed before keys are kept"),
    ("receive", "keystore.put.after", "keys kept, and killed before the slice is"),
    ("receive", "inbox.store.after", "killed within the inbox's transaction"),
    ("receive", "outbox.mark_accepted.before", "stored, and killed before the outbox knows of it"),
]


def _killed(folder: Path, agency: AgencyId, role: str, step: str, record: Path) -> int:
    """Runs one process that dies at a step; its exit code."""
    command = [sys.executable, "-m", "tests.fault.path_step", str(folder / "homes" / agency), role, step, str(record)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False).returncode


def _works(folder: Path, agency: AgencyId, role: str, record: Path) -> None:
    """Runs one role to its end, here."""
    asyncio.run(run(folder / "homes" / agency, role, record))


async def _exchange(folder: Path) -> None:
    made = await Exchange.create(folder, AGENCIES, clock=SystemClock(), random=SystemRandom())
    await made.close()


@pytest.mark.parametrize(("role", "step", "sentence"), STEPS, ids=[sentence for _, _, sentence in STEPS])
def test_an_event_is_in_each_inbox_exactly_once_after_a_kill(
    role: str, step: str, sentence: str, tmp_path: Path
) -> None:
    """After the kill every process runs again, and the event is there once, accepted, and opens."""
    folder = tmp_path / "exchange"
    asyncio.run(_exchange(folder))
    record = tmp_path / "record.json"
    record.write_text(json.dumps(alert()))
    path = [("publish", HOME), ("broker", HUB), ("receive", HOME), ("receive", OTHER), ("receive", CWC)]
    killed = False
    for one, agency in path:
        if one == role and not killed:
            killed = True
            assert _killed(folder, agency, one, step, record) == -signal.SIGKILL, sentence
        _works(folder, agency, one, record)
    for one, agency in path:
        _works(folder, agency, one, record)
    for agency in (HOME, OTHER, CWC):
        home = Home.open(
            folder / "homes" / agency,
            secret=KeyFile(folder / "unlock.key"),
            clock=SystemClock(),
            random=SystemRandom(),
        )
        try:
            (only,) = home.inbox.slices()
            assert only.arrival.state is State.RECEIVED
            if agency == HOME:
                (sent,) = home.outbox.sent_in(only.arrival.case)
                assert sent.state is Sent.ACCEPTED
        finally:
            home.close()
