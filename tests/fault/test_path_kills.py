"""A process killed at any step of publish, dispatch, receive and open loses nothing and doubles nothing."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from broker.names import AgencyId
from tests.fault.path import Course
from tests.fault.path_step import NAMES
from tests.fault.processes import ROOT
from tests.story.small_exchange import HOME, HUB

STEPS: Final = [
    ("publish", "writing.finish.before", "sealed, and killed before it is kept"),
    ("publish", "publisher._remember.before", "kept, and killed before names are noted"),
    ("publish", "outbox.pending.before", "kept, and killed before it is sent"),
    ("publish", "publisher._seal.before.2", "killed between two records"),
    ("publish", "stream.publish.before", "killed as it is about to be sent"),
    ("publish", "stream.publish.after", "sent, and killed before the outbox knows"),
    ("publish", "outbox.mark_sent.after", "killed when the outbox knows"),
    ("broker", "stream.publish.before", "checked, and killed before slices are delivered"),
    ("broker", "stream.publish.after", "delivered, and killed before the position is kept"),
    ("broker", "stream.commit.after", "killed when the position of a partition is kept"),
    ("receive", "receiver._keep.before", "verified, and killed before anything is kept"),
    ("receive", "keystore.put.after", "keys kept, and killed before the slice is"),
    ("receive", "inbox.store.after", "killed within the inbox's transaction"),
    ("receive", "receiver._spread.before", "stored, and killed before the case file and the outbox know of it"),
    ("receive", "outbox.mark_accepted.before", "killed before the outbox knows what the inbox knows"),
    ("receive", "outbox.mark_accepted.after", "killed when the outbox knows of the first"),
    ("open", "inbox.opening.before", "killed before an opening is noted"),
    ("open", "inbox.opening.after", "noted, and killed before it is opened"),
    ("open", "opener.open.after", "opened, and killed before the record of it is signed"),
    ("open", "inbox.put_receipt.after", "killed within the transaction that signs the record"),
    ("open", "stream.publish.after", "record sent, and killed before the inbox knows"),
]


async def _before(course: Course, role: str) -> None:
    """Everything that happens before this role's turn."""
    await course.publish(NAMES[0])
    await course.publish(NAMES[1])
    if role in ("receive", "open"):
        await course.dispatch()


async def _after(course: Course) -> None:
    """Whoever was killed runs again, and what was asked of it and not confirmed is asked again; then all others run."""
    for name in NAMES:
        await course.publish(name)
    await course.finish()
    await course.finish()
    await course.check(NAMES)


def _killed(course: Course, agency: AgencyId, role: str, step: str) -> int:
    """Runs one process; its exit code."""
    command = [sys.executable, "-m", "tests.fault.path_step", str(course.home_folder(agency)), role, step]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.parametrize(("role", "step", "sentence"), STEPS, ids=[sentence for _, _, sentence in STEPS])
def test_after_a_kill_each_event_is_in_each_inbox_exactly_once(
    role: str, step: str, sentence: str, tmp_path: Path
) -> None:
    """After the kill every process runs again: each event is there once, accepted, and opens; no record is missing."""
    course = asyncio.run(Course.create(tmp_path / "exchange"))
    if role != "publish":
        asyncio.run(_before(course, role))
    assert _killed(course, HUB if role == "broker" else HOME, role, step) == -signal.SIGKILL, sentence
    asyncio.run(_after(course))
