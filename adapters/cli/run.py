"""``casebridge adapter run``, ``broker run`` and ``demo``."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from adapters.adapter import Adapter
from adapters.cli.session import home_folder, open_adapter, open_home
from adapters.cli.topics import topics
from adapters.demo.play import play
from adapters.home import Home, Rules
from adapters.receiver import Taken
from adapters.upkeep import ending, sweep, told
from broker.audit.record import Chain
from broker.clock import DAY, ist
from broker.dispatch import Broker, Quarantined
from broker.errors import ConfigError, StoreError, StreamError
from broker.names import AgencyKind, Millis
from broker.seal.ground import BundleGround
from broker.service.loop import Verdicts, pass_once
from broker.stream.opening import is_kafka, open_stream
from broker.stream.topics import BROKER, EVENTS

POLL = 0.5
LONGEST_PAUSE = 8.0
LOCAL_CLUSTER = Path("build/kafka/kafka.json")


@click.group()
def adapter() -> None:
    """This agency's adapter."""


@click.group()
def broker() -> None:
    """The exchange's broker: checks, accepts, cuts and delivers; it can open nothing."""


broker.add_command(topics)


def log(line: str, *, err: bool = False) -> None:
    """A line for the operator. The process goes on where the disk to which it is written is full."""
    try:
        click.echo(line, err=err)
    except BrokenPipeError:
        raise
    except OSError:
        pass


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds the home's run lock.

    Raises:
        ConfigError: another process runs on this home.
        StoreError: the disk refused the lock file.
    """
    try:
        descriptor = os.open(folder / "run.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        reason = (error.strerror or "refused").lower()
        raise StoreError(f"cannot write {folder / 'run.lock'}: {reason}; make the folder writable") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"another process runs on {folder} already; stop it first") from None
        yield
    finally:
        os.close(descriptor)


def stop_on_signals() -> asyncio.Event:
    """Set when this process is told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@dataclass(slots=True)
class Watched:
    """The directory of a home that is noticed when its file, or a file of its folder, changes."""

    home: Home
    rules: Rules
    _stamp: tuple[tuple[str, int, int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Watches from now; so read the directory after this, or a change in between goes unnoticed."""
        self._stamp = self._now()

    def _now(self) -> tuple[tuple[str, int, int, int], ...]:
        path = self.home.config.path(self.home.folder, self.home.config.directory)
        found = []
        for one in sorted(path.glob("*.json")) if path.is_dir() else [path]:
            with contextlib.suppress(OSError):
                stat = one.stat()
                found.append((one.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(found)

    def news(self) -> BundleGround | None:
        """What the directory says if it is new; None where it is not, or cannot be used: then the old one holds on."""
        stamp = self._now()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            ground = self.home.ground(self.rules)
        except ConfigError as error:
            log(f"{error}; going on with the directory as it was", err=True)
            return None
        log("the directory is new; taken up")
        return ground


def replaced(running: Adapter, ground: BundleGround) -> Adapter:
    """The same adapter on a new ground."""
    return Adapter.over(running.home, running.stream, running.rules, ground)


@dataclass(slots=True)
class Trouble:
    """A stream or a disk that refuses for a while: said once, tried again ever more seldom, until told to stop."""

    stop: asyncio.Event
    _said: str = ""
    _pause: float = POLL

    async def wait(self, error: StreamError | StoreError) -> None:
        """Before it is tried again."""
        if str(error) != self._said:
            self._said = str(error)
            log(f"{error}; trying again", err=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def over(self) -> None:
        """It works."""
        if self._said:
            log(f"it works again, after: {self._said}")
        self._said, self._pause = "", POLL


@adapter.command("run")
@click.pass_context
def adapter_run(ctx: click.Context) -> None:
    """Send and receive until stopped (SIGTERM or Ctrl-C); a new directory is taken up by itself.

    What is under way is finished first, which takes a second or two; what is left waits for the next start.
    """

    async def run() -> None:
        home = open_home(ctx)
        with only_one(home.folder):
            await _run_adapter(home)
        log("stopped; nothing is lost")

    asyncio.run(run())


async def _run_adapter(home: Home) -> None:
    def seen(taken: Taken) -> None:
        arrival = taken.arrival
        note = f" check {arrival.check}: {arrival.reason}" if arrival.check else ""
        log(f"{arrival.state.name.lower()} {arrival.event_id.hex()} {arrival.type}{note}")

    stop, rules = stop_on_signals(), Rules.load()
    watched = Watched(home, rules)
    running = await open_adapter(home, rules)
    due, trouble = home.clock.now(), Trouble(stop)
    log(f"adapter of {home.agency} runs; stop it with SIGTERM or Ctrl-C")
    try:
        while not stop.is_set():
            ground = watched.news()
            running = running if ground is None else replaced(running, ground)
            try:
                await running.send(stop=stop.is_set)
                await running.receive(wait=POLL, seen=seen, stop=stop.is_set)
                if home.clock.now() >= due and not stop.is_set():
                    due = await _upkeep(running)
            except (StreamError, StoreError) as error:
                await trouble.wait(error)
            else:
                trouble.over()
    finally:
        await running.close()


async def _upkeep(running: Adapter) -> Millis:
    """What is due each day; when it is due next."""
    swept = await sweep(running)
    for line in (*told(swept), *ending(running)):
        log(line)
    return Millis(running.home.clock.now() + DAY)


async def make_broker(home: Home, rules: Rules) -> Broker:
    """The broker that this home's keys sign for.

    Raises:
        ConfigError: the directory does not list this home's agency as a hub: nobody would believe its acceptances.
        StreamError: the stream is out of reach.
    """
    ground = home.ground(rules)
    listed = ground.directory(home.clock.now()).find(home.agency)
    if listed is None or listed.kind is not AgencyKind.HUB:
        kind = "is not in the directory" if listed is None else f"is of kind {listed.kind.label}"
        raise ConfigError(f"{home.agency} {kind}; the broker runs on the home of an agency of kind hub")
    path = home.config.path(home.folder, home.config.stream)
    stream = await open_stream(path, principal=BROKER, clock=home.clock)
    return Broker(
        agency=home.agency,
        key=home.ring.signing,
        stream=stream,
        ground=ground,
        chain=Chain(home.agency, home.random.bytes(8), home.clock.now()),
        clock=home.clock,
        random=home.random,
        topic_id=await stream.topic_id(EVENTS),
    )


@broker.command("run")
@click.pass_context
def broker_run(ctx: click.Context) -> None:
    """Dispatch until stopped (SIGTERM or Ctrl-C). The home is that of an agency of kind hub.

    On Kafka any number of these may run, here and elsewhere; they divide the work among them.
    """

    def seen(verdicts: Verdicts) -> None:
        for verdict in verdicts:
            if isinstance(verdict, Quarantined):
                place = f"{verdict.stored.partition}/{verdict.stored.offset}"
                log(f"{ist(verdict.stored.appended_at)} quarantined {place} check {verdict.check}: {verdict.reason}")
            else:
                statement = verdict.statement
                place = f"{statement.partition}/{statement.offset}"
                log(f"{ist(statement.appended_at)} accepted {place} for {len(verdict.slots)} readers")

    async def run() -> None:
        home = open_home(ctx)
        shared = is_kafka(home.config.path(home.folder, home.config.stream))
        with contextlib.nullcontext() if shared else only_one(home.folder):
            await _run_broker(home, seen)
        log("stopped; what was not committed is dispatched again at the next start")

    asyncio.run(run())


async def _run_broker(home: Home, seen: Callable[[Verdicts], None]) -> None:
    stop, rules = stop_on_signals(), Rules.load()
    watched = Watched(home, rules)
    running, trouble = await make_broker(home, rules), Trouble(stop)
    log(f"broker {home.agency} runs; stop it with SIGTERM or Ctrl-C")
    try:
        while not stop.is_set():
            running.ground = watched.news() or running.ground
            try:
                await pass_once(running, wait=POLL, seen=seen, stop=stop.is_set)
            except (StreamError, StoreError) as error:
                await trouble.wait(error)
            else:
                trouble.over()
    finally:
        await running.stream.close()
        home.close()


@click.command()
@click.option("--home", "folder", type=click.Path(path_type=Path), help="A new folder for everything.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write the result here."
)
@click.option("--stream", type=click.Choice(["embedded", "kafka"]), default="embedded", show_default=True)
@click.option(
    "--cluster",
    type=click.Path(path_type=Path, dir_okay=False),
    default=LOCAL_CLUSTER,
    show_default=True,
    help="With --stream kafka: the cluster's settings; make kafka starts one here.",
)
@click.pass_context
def demo(ctx: click.Context, folder: Path | None, json_file: Path | None, stream: str, cluster: Path) -> int:
    """Play the demo case (a girl is missed, found and brought home) with seventeen agencies and a broker."""
    where: Path = folder or home_folder(ctx)
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise ConfigError(f"--json: the folder {json_file.absolute().parent} is not there; make it first")
    on = cluster if stream == "kafka" else None
    return asyncio.run(play(where, json_file=json_file, echo=click.echo, cluster=on))
