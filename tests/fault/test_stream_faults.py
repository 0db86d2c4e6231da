"""The stream under kill, full disk, lock, damage and failing writes: nothing acknowledged is lost, nothing half-written."""

from __future__ import annotations

import sqlite3
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

import pytest

from broker.clock import SystemClock, SystemRandom
from broker.errors import StreamError
from broker.stream import embedded_file, sqlite_file, topics
from broker.stream.embedded import EmbeddedStream
from broker.stream.protocol import Message, Stored
from tests.fault.processes import killed_after, said_by, start
from tests.unit.stream.contract import AGENCIES, CWC, case, event, everything, run
from tests.unit.stream.faulty import Fault, FaultyStream, SmallDisk, failing_connection


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "stream.db"
    embedded_file.create(made, agencies=AGENCIES, random=SystemRandom())
    return made


async def opened(
    path: Path, principal: topics.Principal, factory: type[sqlite3.Connection] = sqlite3.Connection
) -> EmbeddedStream:
    return await EmbeddedStream.open(path, principal=principal, clock=SystemClock(), factory=factory, busy_ms=50)


async def stored_in(path: Path) -> list[Stored]:
    """All events, after checking that no partition has a hole."""
    broker = await opened(path, topics.BROKER)
    found = await everything(broker, topics.EVENTS)
    ends = await broker.ends(topics.EVENTS)
    for partition, end in ends.items():
        assert [s.offset for s in found if s.partition == partition] == list(range(end))
    await broker.close()
    return found


def test_what_was_acknowledged_survives_sigkill(path: Path) -> None:
    """A publisher killed at any moment loses nothing that it was told is stored, and stores nothing twice or by halves."""
    acknowledged = [
        value for n, lines in enumerate((1, 40, 100)) for value in killed_after(lines, "publish", path, f"p{n}", 10**6)
    ]
    found = Counter(stored.message.value.decode() for stored in run(stored_in(path)))
    assert len(acknowledged) >= 141
    assert set(acknowledged) <= set(found)
    assert set(found.values()) == {1}
    # Whole batches of eight, or nothing of them.
    assert set(Counter((v.split("/")[0], int(v.split("/")[1]) // 8) for v in found).values()) == {8}


def test_several_processes_write_at_once(path: Path) -> None:
    """Each keeps its own order within a case; none is lost, none doubled, no partition has a hole."""
    writers = [start("publish", path, f"w{n}", 40) for n in range(3)]
    for writer in writers:
        with writer:
            writer.communicate(timeout=30)
        assert writer.returncode == 0
    found = [stored.message.value.decode() for stored in run(stored_in(path))]
    assert sorted(found) == sorted(f"w{n}/{i}" for n in range(3) for i in range(320))
    for writer_name in ("w0", "w1", "w2"):
        for residue in range(3):
            mine = [int(v.split("/")[1]) for v in found if v.startswith(writer_name + "/")]
            of_case = [n for n in mine if n % 8 % 3 == residue]
            assert of_case == sorted(of_case)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
def test_every_statement_of_a_publish_may_fail_both_ways(path: Path, fault: Fault) -> None:
    """Whichever statement fails, all of the batch is stored or none of it, and publishing again completes it."""

    async def story() -> int:
        at, batch = 0, 0
        while True:
            factory = failing_connection(at, fault)
            values = [Message(topics.EVENTS, case(n), b"%d/%d" % (batch, n)) for n in range(5)]
            try:
                member = await opened(path, topics.member(CWC), factory)
            except StreamError:
                at += 1
                continue
            try:
                await member.publish(values)
                failed = False
            except StreamError:
                failed = True
            found = Counter(stored.message.value for stored in await stored_in(path))
            mine = {found[message.value] for message in values}
            assert mine in ({0}, {1})
            assert failed or mine == {1}
            if failed:
                await member.publish(values)
                found = Counter(stored.message.value for stored in await stored_in(path))
                assert {found[message.value] for message in values} <= {1, 2}
            await member.close()
            if not failed:
                return at
            at, batch = at + 1, batch + 1

    assert run(story()) >= 5


def test_a_caller_that_tries_again_loses_nothing_on_a_failing_stream(path: Path) -> None:
    """With every kind of failure in turn, publish until no error comes: all there, each at most once per attempt."""

    async def story() -> None:
        member = await opened(path, topics.member(CWC))
        faults = islice(cycle([Fault.LOST, Fault.REPORTED, Fault.NONE]), 60)
        stream = FaultyStream(member, faults)
        attempts = Counter[bytes]()
        for number in range(20):
            message = event(number)
            while True:
                attempts[message.value] += 1
                try:
                    await stream.publish([message])
                    break
                except StreamError:
                    continue
        found = Counter(stored.message.value for stored in await stored_in(path))
        assert set(found) == set(attempts)
        assert all(found[value] == 2 for value in attempts)
        await stream.close()

    run(story())


def test_a_full_disk_refuses_and_keeps_what_is_there(path: Path) -> None:
    """A batch that does not fit is refused whole with a plain sentence; smaller ones and reading go on."""

    async def story() -> None:
        member = await opened(path, topics.member(CWC), SmallDisk)
        await member.publish([event(0)])
        with pytest.raises(StreamError, match="disk is full"):
            await member.publish([Message(topics.EVENTS, case(1), bytes(50_000)) for _ in range(10)])
        await member.publish([event(1)])
        assert [stored.message.value for stored in await stored_in(path)] == [b"0/0", b"0/1"]
        await member.close()

    run(story())


def test_a_file_held_by_another_is_reported_and_readers_go_on(path: Path) -> None:
    """While another program holds the file, writing is refused after a moment, reading is not; then writing goes on."""

    async def story() -> None:
        member, broker = await opened(path, topics.member(CWC)), await opened(path, topics.BROKER)
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StreamError, match="another program holds it"):
            await member.publish([event(0)])
        with pytest.raises(StreamError, match="another program holds it"):
            await opened(path, topics.member(CWC))
        assert await everything(broker, topics.EVENTS) == []
        holder.execute("ROLLBACK")
        holder.close()
        await member.publish([event(0)])
        assert len(await everything(broker, topics.EVENTS)) == 1
        await member.close()
        await broker.close()

    run(story())


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _overwrite(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:4_096] + b"\xa5" * (len(data) - 4_096))


def _foreign(path: Path) -> None:
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes (text)")
    other.close()
    path.chmod(0o600)


def _version(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    path.symlink_to(path.with_suffix(".old"))


DAMAGED = [
    pytest.param(_cut, "damaged", id="the second half of the file is gone"),
    pytest.param(_overwrite, "damaged", id="all pages but the first are overwritten"),
    pytest.param(
        lambda path: path.write_bytes(b"not a database" * 400), "not a casebridge stream", id="another kind of file"
    ),
    pytest.param(lambda path: path.write_bytes(b""), "not a casebridge stream", id="an empty file"),
    pytest.param(_foreign, "not a casebridge stream", id="a database of another program"),
    pytest.param(_version, "version 99", id="a file of a later version"),
    pytest.param(lambda path: path.chmod(0o640), "mode to 0600", id="a file that others may read"),
    pytest.param(_link, "not an ordinary file", id="a symbolic link"),
    pytest.param(lambda path: path.unlink(), "not there", id="no file"),
]


@pytest.mark.parametrize(("harm", "words"), DAMAGED)
def test_a_file_that_is_not_right_is_refused(path: Path, harm: object, words: str) -> None:
    """It is refused with one sentence, before anything is read from it or written to it."""
    assert callable(harm)
    harm(path)
    before = path.read_bytes() if path.exists() else None

    async def story() -> None:
        member = await opened(path, topics.member(CWC))
        try:
            await member.publish([event(0)])
        finally:
            await member.close()

    with pytest.raises(StreamError, match=words):
        run(story())
    assert (path.read_bytes() if path.exists() else None) == before


READ_ONLY = [
    pytest.param(0o400, 0o700, "cannot be written", id="the file may only be read"),
    pytest.param(0o600, 0o500, "writable", id="the folder may only be read"),
]


@pytest.mark.parametrize(("file_mode", "folder_mode", "words"), READ_ONLY)
def test_a_read_only_file_is_refused_at_the_door(path: Path, file_mode: int, folder_mode: int, words: str) -> None:
    """Opening says that it cannot be written; not the first message."""
    path.chmod(file_mode)
    path.parent.chmod(folder_mode)
    try:
        (said,) = said_by("open-stream", path)
    finally:
        path.parent.chmod(0o700)
    assert said.startswith("StreamError: ")
    assert words in said


def test_the_file_is_private_and_made_whole_or_not_at_all(path: Path) -> None:
    """Mode 0600 for the file and what stands beside it; making it again refuses and leaves it as it was."""

    async def story() -> None:
        member = await opened(path, topics.member(CWC))
        await member.publish([event(0)])
        assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
        with pytest.raises(StreamError, match="there already"):
            embedded_file.create(path, agencies=AGENCIES, random=SystemRandom())
        assert len(await stored_in(path)) == 1
        await member.close()
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    run(story())


def test_a_stream_is_durable_on_return(path: Path) -> None:
    """Every connection writes through to the disk at each commit: WAL with ``synchronous=FULL``."""
    connection = sqlite_file.connect(path, embedded_file.FORMAT)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()
