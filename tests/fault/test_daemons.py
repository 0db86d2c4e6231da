"""Broker and adapters as the processes that operators run: stopped, killed, started twice, given a broken directory."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import time
from pathlib import Path
from typing import Final

import pytest

from adapters.exchange import DIRECTORY_FILE
from broker.names import AgencyId
from tests.fault.daemons import Daemon, cli, received, running, until
from tests.fault.path import Course, record
from tests.story.small_exchange import CWC, HOME, HUB, OTHER

BROKER: Final = (HUB, "broker")
READER: Final = (OTHER, "adapter")
ADAPTERS: Final = ((HOME, "adapter"), READER, (CWC, "adapter"))
MANY: Final = 130
"""More than a process does at one go."""


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """A new exchange; nobody runs."""
    return asyncio.run(Course.create(tmp_path / "exchange"))


def _publish(course: Course, name: str) -> str:
    """The event that one command published; it waits until the broker has accepted it."""
    done = cli(course.folder, HOME, "publish", "-", "--wait", "30", "--json", input=json.dumps(record(name)))
    assert done.returncode == 0, done.stderr
    (said,) = json.loads(done.stdout)
    assert said["state"] == "accepted"
    return str(said["event"])


def test_processes_exchange_and_stop_when_told(course: Course) -> None:
    """A command's message goes through broker and adapters in their own processes; each ends well on SIGTERM or Ctrl-C."""
    with running(course.folder, BROKER, *ADAPTERS) as (broker, *adapters):
        event = _publish(course, "m0")
        for reader in adapters[1:]:
            reader.says(f"received {event.replace('-', '')} missing.alert")
        broker.says("accepted")
        for number, daemon in enumerate((broker, *adapters)):
            daemon.stop(signal.SIGINT if number == 1 else signal.SIGTERM)
            assert not daemon.complained
    asyncio.run(course.check(["m0"]))


@pytest.mark.parametrize(("agency", "role"), [BROKER, READER], ids=["a broker", "an adapter"])
def test_a_process_stops_in_time_whatever_waits_for_it(agency: AgencyId, role: str, course: Course) -> None:
    """Told to stop with much left to do, it ends after the batch under way, and does the rest at its next start."""
    names = [f"m{number}" for number in range(MANY)]
    asyncio.run(_waiting(course, names, dispatched=role == "adapter"))
    with running(course.folder, (agency, role)) as (daemon,):
        daemon.says("accepted" if role == "broker" else "received")
        daemon.stop()
    with running(course.folder, (agency, role)) as (daemon,):
        if role == "broker":
            asyncio.run(_dispatched(course))
        else:
            until(lambda: received(course.folder, agency) == MANY, "all are there")
        daemon.stop()
    asyncio.run(course.finish())
    asyncio.run(course.check(names))


async def _waiting(course: Course, names: list[str], *, dispatched: bool) -> None:
    """Messages that are on their way: to the broker, or to their readers."""
    adapter = await course.adapter(HOME)
    adapter.publisher.publish([record(name) for name in names])
    await adapter.send()
    await adapter.close()
    if dispatched:
        await course.dispatch()


async def _dispatched(course: Course) -> None:
    """Waits until the broker has committed the position behind the last event."""
    broker, home = await course.broker()
    try:
        while await broker.stream.committed("casebridge.events") != await broker.stream.ends("casebridge.events"):
            await asyncio.sleep(0.05)
    finally:
        await broker.stream.close()
        home.close()


def test_killed_processes_start_again_and_nothing_is_lost(course: Course) -> None:
    """Each is killed while messages pass, and started again: every event is in every inbox exactly once."""
    names = [f"m{number}" for number in range(40)]
    with running(course.folder, BROKER, READER) as (broker, reader):
        asyncio.run(_waiting(course, names[:20], dispatched=False))
        broker.says("accepted")
        broker.kill()
        reader.says("received")
        reader.kill()
    with running(course.folder, BROKER, READER) as (broker, reader):
        reader.kill()
        asyncio.run(_waiting(course, names[20:], dispatched=False))
        asyncio.run(_dispatched(course))
        broker.kill()
    with running(course.folder, READER) as (reader,):
        until(lambda: received(course.folder, OTHER) == len(names), "all are there")
        reader.stop()
    asyncio.run(course.finish())
    asyncio.run(course.check(names))


@pytest.mark.parametrize(("agency", "role"), [BROKER, READER], ids=["a broker", "an adapter"])
def test_a_second_process_on_a_home_is_refused(agency: AgencyId, role: str, course: Course) -> None:
    """Two would write one chain: the second says so in one line and ends with 6; commands work beside the first."""
    with running(course.folder, (agency, role)) as (first,):
        second = cli(course.folder, agency, role, "run")
        assert (second.returncode, second.stdout) == (6, "")
        (line,) = second.stderr.splitlines()
        assert "another process runs on" in line
        assert cli(course.folder, agency, "inbox").returncode == 0
        first.stop()


def _room(daemon: Daemon, size: int) -> None:
    """No file of this process can be written beyond so many bytes."""
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.parametrize(("agency", "role"), [BROKER, READER], ids=["a broker", "an adapter"])
def test_a_full_disk_stops_no_process(agency: AgencyId, role: str, course: Course) -> None:
    """While the disk is full it tries again and says so once, and goes on when there is room; nothing is lost."""
    with running(course.folder, (agency, role)) as (daemon,):
        _room(daemon, 0)
        asyncio.run(_waiting(course, ["m0", "m1"], dispatched=role == "adapter"))
        time.sleep(1.5)
        assert daemon.process.poll() is None
        _room(daemon, resource.RLIM_INFINITY)
        daemon.says("it works again, after: ")
        daemon.stop()
    asyncio.run(course.finish())
    asyncio.run(course.check(["m0", "m1"]))


def test_only_the_home_of_a_hub_runs_a_broker(course: Course) -> None:
    """Acceptances of another agency would be believed by nobody, so its broker does not start."""
    done = cli(course.folder, OTHER, "broker", "run")
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.splitlines() == [
        f"casebridge: {OTHER} is of kind police-ahtu; the broker runs on the home of an agency of kind hub"
    ]


def _spoilt(kept: bytes) -> dict[str, bytes | None]:
    """Directory files that cannot be used; None: no file."""
    other = json.loads(kept)
    other["signed"]["issuedAt"] += 1
    return {
        "no JSON": b"{not json",
        "cut in half": kept[: len(kept) // 2],
        "empty": b"",
        "not signed so": json.dumps(other).encode(),
        "another document": b'{"signed": 1}',
        "gone": None,
    }


def test_a_broken_directory_is_reported_and_the_old_one_stays_in_force(course: Course) -> None:
    """Whatever is put in its place, each process says so in one line and goes on; the right one is taken up again."""
    path = course.folder / DIRECTORY_FILE
    kept = path.read_bytes()
    with running(course.folder, BROKER, READER) as daemons:
        for number, (what, data) in enumerate(_spoilt(kept).items(), 1):
            path.unlink() if data is None else path.write_bytes(data)
            for daemon in daemons:
                until(lambda daemon=daemon, number=number: len(daemon.complained) >= number, what)  # type: ignore[misc]
                assert daemon.complained[-1].endswith("; going on with the directory as it was"), what
                assert daemon.process.poll() is None, what
        path.write_bytes(kept)
        for daemon in daemons:
            daemon.says("the directory is new; taken up")
        _publish(course, "m0")
        until(lambda: received(course.folder, OTHER) == 1, "the message")
        for daemon in daemons:
            daemon.stop()
            assert len(daemon.complained) == len(_spoilt(kept))
