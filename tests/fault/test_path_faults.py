"""The whole path when writes fail, disks are full, files are locked and processes share a home: nothing lost or doubled."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import count, cycle, islice
from pathlib import Path
from typing import Final

import pytest

from adapters.adapter import Adapter
from adapters.home import INBOX_FILE, KEYSTORE_FILE, OUTBOX_FILE
from adapters.inbox_file import State
from adapters.outbox_file import State as Sent
from broker.clock import SystemClock
from broker.errors import CasebridgeError, StoreError, StreamError
from broker.names import CaseRef
from broker.service.loop import pass_once
from broker.stream.embedded import EmbeddedStream
from broker.stream.protocol import Message
from broker.stream.topics import EVENTS, member
from tests.fault.path import READERS, Course, Factory, Failing, FullDisk, Impatient, record
from tests.story.small_exchange import CWC, HOME, OTHER
from tests.unit.stream.faulty import Fault, FaultyStream, failing_connection

BOTH_WAYS: Final = [
    pytest.param(Fault.LOST, id="not written"),
    pytest.param(Fault.REPORTED, id="written and reported as not"),
]
TRIES: Final = 6
FILES: Final[dict[str, Callable[[Factory], Failing]]] = {
    "outbox": lambda factory: Failing(outbox=factory),
    "inbox": lambda factory: Failing(inbox=factory),
    "keystore": lambda factory: Failing(keystore=factory),
    "stream": lambda factory: Failing(stream=factory),
}


def play(tmp_path: Path, story: Callable[[Course], Awaitable[None]]) -> None:
    """Plays a story on a new exchange."""

    async def run() -> None:
        await story(await Course.create(tmp_path / "exchange"))

    asyncio.run(run())


async def started(course: Course, failing: Failing, said: list[str]) -> Adapter:
    """The adapter of Mandla over files that may fail, started until it starts."""
    while True:
        try:
            return await course.adapter(HOME, failing)
        except CasebridgeError as error:
            said.append(str(error))
            assert len(said) < TRIES, said


async def work(course: Course, name: str, failing: Failing) -> list[str]:
    """Mandla publishes, sends and receives, each again until no error comes; it starts anew where that does not help.

    Returns:
        What was said of the errors.
    """
    said: list[str] = []
    adapter = await started(course, failing, said)
    steps = ["publish", "send", "receive"]
    while steps:
        try:
            if steps[0] == "publish":
                adapter.publisher.publish([record(name)], idempotency_key=name)
            elif steps[0] == "send":
                await adapter.send()
            else:
                await course.dispatch()
                await adapter.receive()
            steps.pop(0)
        except (StoreError, StreamError) as error:
            said.append(str(error))
            assert len(said) < TRIES, said
            if len(said) == TRIES - 2:
                await adapter.close()
                adapter = await started(course, failing, said)
    kept = adapter.home.outbox.by_idempotency_key(name)
    await adapter.close()
    assert kept is not None
    assert kept.state is Sent.ACCEPTED
    return said


@pytest.mark.parametrize("fault", BOTH_WAYS)
@pytest.mark.parametrize("file", FILES)
def test_every_write_of_an_adapter_may_fail_both_ways(tmp_path: Path, file: str, fault: Fault) -> None:
    """Whichever statement of whichever file fails, the error is ours and plain, and doing the step again completes it."""

    async def story(course: Course) -> None:
        names: list[str] = []
        for at in count():
            failing = failing_connection(at, fault)
            names.append(f"{file}-{at}")
            said = await work(course, names[-1], FILES[file](failing))
            fired = bool(vars(failing)["fired"])
            assert fired or not said, said
            if not fired:
                break
        assert len(names) > 5
        await course.finish()
        await course.check(names)

    play(tmp_path, story)


@pytest.mark.parametrize("fault", BOTH_WAYS)
def test_every_write_of_the_broker_may_fail_both_ways(tmp_path: Path, fault: Fault) -> None:
    """Slices or position fail: it starts again from the position, each inbox has each event once, records have no gap."""

    async def story(course: Course) -> None:
        names = []
        broker, home = await course.broker()
        stream, good = broker.stream, Fault.NONE
        for number, faults in enumerate(([fault], [fault, fault], [good, fault], [fault, good, fault], [good, fault])):
            broker.stream = FaultyStream(stream, iter(faults))
            names.append(f"m{number}")
            await course.publish(names[-1])
            failed = 0
            while True:
                try:
                    await pass_once(broker)
                    break
                except StreamError:
                    failed += 1
            assert failed
            await course.receive(OTHER)
        await stream.close()
        home.close()
        await course.finish()
        await course.check(names)

    play(tmp_path, story)


@pytest.mark.parametrize("fault", BOTH_WAYS)
def test_every_send_of_an_adapter_may_fail_both_ways(tmp_path: Path, fault: Fault) -> None:
    """What the stream did not confirm is sent again, byte for byte, and dropped where it had come."""

    async def story(course: Course) -> None:
        names = [f"m{number}" for number in range(4)]
        adapter = await course.adapter(HOME)
        adapter.stream = FaultyStream(adapter.stream, islice(cycle([fault, Fault.NONE]), 2 * len(names)))
        for name in names:
            adapter.publisher.publish([record(name)], idempotency_key=name)
            with pytest.raises(StreamError):
                await adapter.send()
            await adapter.send()
        await adapter.close()
        await course.finish()
        await course.check(names)
        values = [value for _, value in await events(course)]
        assert len(set(values)) == len(names)
        assert len(values) == len(names) * (2 if fault is Fault.REPORTED else 1)

    play(tmp_path, story)


async def events(course: Course) -> list[tuple[bytes, bytes]]:
    """Keys and values of everything in the events topic."""
    broker, home = await course.broker()
    stored = await broker.stream.read(EVENTS, {}, limit_bytes=1 << 30)
    await broker.stream.close()
    home.close()
    return [(one.message.key, one.message.value) for one in stored]


@pytest.mark.parametrize("file", FILES)
def test_on_a_full_disk_nothing_is_lost(tmp_path: Path, file: str) -> None:
    """The step that does not fit is refused with a plain sentence; when there is room again everything arrives."""

    async def story(course: Course) -> None:
        adapter = await course.adapter(HOME, FILES[file](_full(file)))
        refused: list[str] = []
        names: list[str] = []
        while not refused:
            name = f"m{len(names)}"
            try:
                adapter.publisher.publish([record(name)], idempotency_key=name)
                names.append(name)
                await adapter.send()
                await course.dispatch()
                await adapter.receive()
            except (StoreError, StreamError) as error:
                refused.append(str(error))
            assert len(names) < 60, "the disk was never full"
        await adapter.close()
        assert re.search("disk is full|SQLITE_FULL", refused[0]), refused
        await course.finish()
        await course.publish("after")
        await course.finish()
        await course.check([*names, "after"])

    play(tmp_path, story)


def _full(file: str) -> Factory:
    return type("Full", (FullDisk, Impatient), {}) if file == "keystore" else FullDisk


async def _do(adapter: Adapter, step: str) -> None:
    if step == "receive":
        await adapter.receive()
    else:
        adapter.publisher.publish([record("held")], idempotency_key="held")


LOCKED: Final = [
    pytest.param(OUTBOX_FILE, "publish", id="outbox"),
    pytest.param(INBOX_FILE, "receive", id="inbox"),
    pytest.param(KEYSTORE_FILE, "receive", id="keystore"),
]


@pytest.mark.parametrize(("file", "step"), LOCKED)
def test_a_locked_file_is_a_plain_error_and_the_step_works_after(tmp_path: Path, file: str, step: str) -> None:
    """Another program holds the file: the step is refused whole, and works when the file is free."""

    async def story(course: Course) -> None:
        await course.publish("before")
        await course.finish()
        adapter = await course.adapter(HOME)
        if step == "receive":
            adapter.publisher.publish([record("held")], idempotency_key="held")
            await adapter.send()
            await course.dispatch()
        with closing(sqlite3.connect(course.home_folder(HOME) / file, isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StoreError) as caught:
                await _do(adapter, step)
            holder.execute("ROLLBACK")
        assert re.search("another program holds it|SQLITE_BUSY", str(caught.value))
        assert len(adapter.home.inbox.slices()) == 1
        assert (adapter.home.outbox.by_idempotency_key("held") is None) == (step == "publish")
        if step == "publish":
            await _do(adapter, step)
            await adapter.send()
            await course.dispatch()
        await adapter.receive()
        await adapter.close()
        await course.finish()
        await course.check(["before", "held"])

    play(tmp_path, story)


def test_a_name_that_cannot_be_noted_does_not_make_a_published_record_look_unpublished(tmp_path: Path) -> None:
    """The inbox is locked when the outbox has it already: ``publish`` returns, since calling it again would send twice."""

    async def story(course: Course) -> None:
        adapter = await course.adapter(HOME)
        with closing(sqlite3.connect(course.home_folder(HOME) / INBOX_FILE, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            adapter.publisher.publish([record("once")])
            holder.execute("ROLLBACK")
        assert len(adapter.home.outbox.pending(10)) == 1
        await adapter.close()
        await course.finish()
        await course.check(["once"])

    play(tmp_path, story)


def test_a_refusal_reaches_the_outbox_after_a_failed_write_too(tmp_path: Path) -> None:
    """The notice is stored and the outbox is locked: at the next receiving it is marked as refused, by the same process."""

    async def story(course: Course) -> None:
        adapter = await course.adapter(HOME)
        (published,) = adapter.publisher.publish([record("bad")])
        (kept,) = adapter.home.outbox.pending(1)
        # A hint that does not fit the header: the broker refuses the value, the author's signature holds.
        positions = await adapter.stream.publish([Message(EVENTS, CaseRef(bytes(16)), kept.draft.envelope)])
        adapter.home.outbox.mark_sent([(kept.id, positions[0])])
        await course.dispatch()
        with closing(sqlite3.connect(course.home_folder(HOME) / OUTBOX_FILE, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError):
                await adapter.receive()
            holder.execute("ROLLBACK")
        assert [one.arrival.type for one in adapter.home.inbox.slices(state=State.QUARANTINED)] == ["notice"]
        assert adapter.home.outbox.get(published.event_id).state is Sent.SENT
        await adapter.receive()
        assert adapter.home.outbox.get(published.event_id).state is Sent.REFUSED
        await adapter.close()

    play(tmp_path, story)


def test_two_processes_of_one_home_know_what_the_other_has_stored(tmp_path: Path) -> None:
    """A message whose mandates came to the other process is judged as if they had come to this one."""

    async def story(course: Course) -> None:
        one, two = await course.adapter(CWC), await course.adapter(CWC)
        opened = await course.publish("first")
        await course.dispatch()
        case = one.files.get(opened.case)
        assert case.state.last == -1
        await two.receive()
        stream = await EmbeddedStream.open(course.folder / "stream.sqlite", principal=member(CWC), clock=SystemClock())
        stale = await stream.read(f"casebridge.in.{CWC}", {})
        await stream.close()
        # What it had read before the other stored it is left out; what follows is judged with it.
        assert one.receiver.take(stale, f"casebridge.in.{CWC}") == []
        assert list(one.files.get(opened.case).state.facts) == [opened.event_id]
        await one.close()
        await two.close()
        await course.finish()
        await course.check(["first"])

    play(tmp_path, story)


def test_two_brokers_on_one_stream_double_nothing(tmp_path: Path) -> None:
    """Both dispatch everything at the same time; each inbox has each event once."""

    async def story(course: Course) -> None:
        names = [f"m{number}" for number in range(12)]
        (one, home), (two, other_home) = await course.broker(), await course.broker()
        for start in range(0, len(names), 4):
            for name in names[start : start + 4]:
                await course.publish(name)
            counts = await asyncio.gather(pass_once(one), pass_once(two))
            assert sum(counts) >= 4
            await asyncio.gather(*(course.receive(agency) for agency in READERS))
        # The second begins again from the start, as a zombie does.
        await two.stream.commit(EVENTS, dict.fromkeys(range(await two.stream.partitions(EVENTS)), 0))
        assert await pass_once(two) >= len(names)
        for broker, keys in ((one, home), (two, other_home)):
            await broker.stream.close()
            keys.close()
        await course.finish()
        await course.check(names)

    play(tmp_path, story)
