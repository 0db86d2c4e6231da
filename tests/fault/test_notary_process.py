"""The notary as the process that an operator runs: stopped, killed, started again, given another stream."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

from adapters.exchange import STREAM_FILE
from broker.tlog.checkpoint import Checkpoint, parse_checkpoint
from broker.tlog.note import parse_note, parse_vkey, verify_note
from tests.fault.path import Course, record
from tests.story.small_exchange import HOME

LIMIT = 60.0


def _command(folder: Path, *words: str) -> list[str]:
    shared = ["--home", str(folder), "--key-file", str(folder.parent / "notary.key")]
    return [sys.executable, "-c", "from adapters.cli.main import main; main()", *shared, "notary", *words]


def _init(folder: Path, stream: Path) -> str:
    """The vkey that a new notary prints."""
    words = ("init", "--origin", "audit.example/one", "--stream", str(stream))
    done = subprocess.run(_command(folder, *words), capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _shown(folder: Path, vkey: str) -> Checkpoint:
    """The checkpoint that anybody can fetch, verified by the key that was printed; an empty one before the first."""
    path = folder / "log" / "checkpoint"
    if not path.exists():
        return Checkpoint("", 0, b"")
    note = parse_note(path.read_bytes())
    verify_note(note, [parse_vkey(vkey)])
    return parse_checkpoint(note.text)


def _run(folder: Path, vkey: str, size: int, number: signal.Signals) -> Checkpoint:
    """Runs the notary until so many entries are shown, then ends it with this signal."""
    process = subprocess.Popen(_command(folder, "run"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + LIMIT
        while _shown(folder, vkey).size < size:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until, "the notary showed nothing in time"
            time.sleep(0.1)
        process.send_signal(number)
        said, _ = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    if number == signal.SIGTERM:
        assert (process.returncode, said.splitlines()[-1]) == (0, "stopped; nothing is lost")
    return _shown(folder, vkey)


async def _say(course: Course, name: str) -> None:
    adapter = await course.adapter(HOME)
    adapter.publisher.publish([record(name)])
    await adapter.send()
    await adapter.close()
    await course.dispatch()


def test_a_killed_notary_goes_on_and_halts_on_another_stream(tmp_path: Path) -> None:
    """Killed and started again it adds to the same tree; on a stream without its entries it ends with the reason."""
    course = asyncio.run(Course.create(tmp_path / "exchange"))
    folder = tmp_path / "notary"
    vkey = _init(folder, course.folder / STREAM_FILE)
    asyncio.run(_say(course, "m0"))
    first = _run(folder, vkey, 3, signal.SIGKILL)
    asyncio.run(_say(course, "m1"))
    second = _run(folder, vkey, first.size + 3, signal.SIGTERM)
    assert second.size == 2 * first.size
    assert second.origin == "audit.example/one"

    other = asyncio.run(Course.create(tmp_path / "other"))
    config = folder / "notary.json"
    config.write_text(config.read_text().replace(str(course.folder), str(other.folder)))
    done = subprocess.run(_command(folder, "run"), capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 6
    assert "the notary halted: the audit topic is shorter than the tree" in done.stderr
    assert _shown(folder, vkey) == second
