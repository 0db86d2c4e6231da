"""``casebridge adapter run``, ``broker run`` and ``demo``."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import click

from adapters.adapter import Adapter
from adapters.cli.session import home_folder, open_adapter, open_home
from adapters.demo.play import play
from adapters.home import Home, Rules
from adapters.receiver import Taken
from broker.audit.record import Chain
from broker.clock import ist
from broker.dispatch import Broker, Quarantined
from broker.errors import ConfigError, StoreError, StreamError
from broker.seal.ground import BundleGround
from broker.service.loop import Verdicts, pass_once
from broker.stream.embedded import EmbeddedStream
from broker.stream.topics import BROKER, EVENTS

POLL = 0.5


@click.group()
def adapter() -> None:
    """This agency's adapter."""


@click.group()
def broker() -> None:
    """The exchange's broker: checks, accepts, cuts and delivers; it can open nothing."""


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


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _stamp(home: Home) -> tuple[int, ...]:
    path = home.config.path(home.folder, home.config.directory)
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    return tuple(one.stat().st_mtime_ns for one in files if one.exists())


def _new_ground(home: Home, rules: Rules) -> BundleGround | None:
    """What the directory says now; None where it cannot be used, then the one before stays in force."""
    try:
        ground = home.ground(rules)
    except ConfigError as error:
        click.echo(f"{error}; going on with the directory as it was", err=True)
        return None
    click.echo("the directory is new; taken up")
    return ground


def replaced(running: Adapter, ground: BundleGround) -> Adapter:
    """The same adapter on a new ground."""
    return Adapter.over(running.home, running.stream, running.rules, ground)


@adapter.command("run")
@click.pass_context
def adapter_run(ctx: click.Context) -> None:
    """Send and receive until stopped (SIGTERM or Ctrl-C); a new directory is taken up by itself."""

    def seen(taken: Taken) -> None:
        arrival = taken.arrival
        note = f" check {arrival.check}: {arrival.reason}" if arrival.check else ""
        click.echo(f"{arrival.state.name.lower()} {arrival.event_id.hex()} {arrival.type}{note}")

    async def run() -> None:
        home = open_home(ctx)
        with only_one(home.folder):
            stop, running, stamp = _stop_on_signals(), await open_adapter(home), _stamp(home)
            click.echo(f"adapter of {home.agency} runs; stop it with SIGTERM or Ctrl-C")
            try:
                while not stop.is_set():
                    if _stamp(home) != stamp:
                        stamp = _stamp(home)
                        ground = _new_ground(home, running.rules)
                        running = running if ground is None else replaced(running, ground)
                    try:
                        await running.send()
                        await running.receive(wait=POLL, seen=seen)
                    except StreamError as error:
                        click.echo(f"{error}; trying again", err=True)
                        await asyncio.sleep(POLL)
            finally:
                await running.close()
        click.echo("stopped; nothing is lost")

    asyncio.run(run())


async def make_broker(home: Home, rules: Rules) -> Broker:
    """The broker that this home's keys sign for."""
    path = home.config.path(home.folder, home.config.stream)
    stream = await EmbeddedStream.open(path, principal=BROKER, clock=home.clock)
    return Broker(
        agency=home.agency,
        key=home.ring.signing,
        stream=stream,
        ground=home.ground(rules),
        chain=Chain(home.agency, home.random.bytes(8), home.clock.now()),
        clock=home.clock,
        random=home.random,
        topic_id=await stream.topic_id(EVENTS),
    )


@broker.command("run")
@click.pass_context
def broker_run(ctx: click.Context) -> None:
    """Dispatch until stopped (SIGTERM or Ctrl-C). The home is that of an agency of kind hub."""

    def seen(verdicts: Verdicts) -> None:
        for verdict in verdicts:
            if isinstance(verdict, Quarantined):
                place = f"{verdict.stored.partition}/{verdict.stored.offset}"
                click.echo(
                    f"{ist(verdict.stored.appended_at)} quarantined {place} check {verdict.check}: {verdict.reason}"
                )
            else:
                statement = verdict.statement
                place = f"{statement.partition}/{statement.offset}"
                click.echo(f"{ist(statement.appended_at)} accepted {place} for {len(verdict.slots)} readers")

    async def run() -> None:
        home = open_home(ctx)
        with only_one(home.folder):
            stop, rules, stamp = _stop_on_signals(), Rules.load(), _stamp(home)
            running = await make_broker(home, rules)
            click.echo(f"broker {home.agency} runs; stop it with SIGTERM or Ctrl-C")
            try:
                while not stop.is_set():
                    if _stamp(home) != stamp:
                        stamp = _stamp(home)
                        running.ground = _new_ground(home, rules) or running.ground
                    try:
                        await pass_once(running, wait=POLL, seen=seen)
                    except StreamError as error:
                        click.echo(f"{error}; trying again", err=True)
                        await asyncio.sleep(POLL)
            finally:
                await running.stream.close()
                home.close()
        click.echo("stopped; what was not committed is dispatched again at the next start")

    asyncio.run(run())


@click.command()
@click.option("--home", "folder", type=click.Path(path_type=Path), help="A new folder for everything.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Also write the result here."
)
@click.option("--stream", type=click.Choice(["embedded"]), default="embedded", show_default=True)
@click.pass_context
def demo(ctx: click.Context, folder: Path | None, json_file: Path | None, stream: str) -> int:
    """Play the demo case (a girl is missed, found and brought home) with seventeen agencies and a broker."""
    where: Path = folder or home_folder(ctx)
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise ConfigError(f"--json: the folder {json_file.absolute().parent} is not there; make it first")
    return asyncio.run(play(where, json_file=json_file, echo=click.echo))
