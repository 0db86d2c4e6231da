"""What commands share: unlocking a home, running an adapter for one command, ids and tables."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import click

from adapters.adapter import Adapter
from adapters.cli.progress import progress
from adapters.home import Home, Rules, read_config
from broker.clock import SystemClock, SystemRandom
from broker.errors import ConfigError, InputError, StreamError
from broker.keys.files import KeyFile, Passphrase, Secret
from broker.names import AgencyId, EventId
from broker.stream.opening import open_stream
from broker.stream.topics import in_topic, member

SHORT: Final = 18
"""Characters of an event's id that tables show: its time, to the millisecond, and some chance."""

_T = TypeVar("_T")


def home_folder(ctx: click.Context) -> Path:
    """The home that this command is for.

    Raises:
        ConfigError: none was named.
    """
    home: Path | None = ctx.obj["home"]
    if home is None:
        raise ConfigError("name the adapter's folder: --home DIR, or CASEBRIDGE_HOME")
    return home


def secret(ctx: click.Context, *, new: bool = False) -> Secret:
    """What unlocks the keys: a key file, a passphrase from a file, or one asked for.

    Raises:
        ConfigError: the passphrase file cannot be read.
    """
    if ctx.obj["key_file"] is not None:
        return KeyFile(ctx.obj["key_file"])
    path: Path | None = ctx.obj["passphrase_file"]
    if path is not None:
        try:
            return Passphrase(path.read_text("utf-8").rstrip("\n"))
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"the passphrase file {path} cannot be read") from None
    if not _has_terminal():
        raise ConfigError("no passphrase: name --key-file or --passphrase-file, or use a terminal")
    return Passphrase(click.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True))


def _has_terminal() -> bool:
    """Whether somebody can be asked, even where standard input is a pipe."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def open_home(ctx: click.Context) -> Home:
    """The unlocked home of this command."""
    folder = home_folder(ctx)
    read_config(folder)
    return Home.open(folder, secret=secret(ctx), clock=SystemClock(), random=SystemRandom())


@dataclass(frozen=True, slots=True)
class NoStream:
    """Stands in for a stream that is out of reach, or that nobody wants to reach: every call says so."""

    why: str

    async def _refuse(self, *args: Any, **more: Any) -> Any:
        raise StreamError(self.why)

    publish = read = partitions = topic_id = ends = commit = committed = share = _refuse

    async def close(self) -> None:
        """Nothing to let go of."""


async def open_adapter(home: Home, rules: Rules) -> Adapter:
    """The adapter over a home and the stream that its configuration names.

    Raises:
        ConfigError: the directory cannot be used.
        StreamError: the stream is out of reach.
    """
    ground = home.ground(rules)
    path = home.config.path(home.folder, home.config.stream)
    stream = await open_stream(path, principal=member(home.agency), clock=home.clock)
    return Adapter.over(home, stream, rules, ground)


async def _open_and_receive(ctx: click.Context, home: Home, *, needs_stream: bool) -> Adapter:
    if not ctx.obj["offline"]:
        adapter: Adapter | None = None
        try:
            adapter = await open_adapter(home, Rules.load())
            await _receive(adapter)
        except StreamError as error:
            if needs_stream:
                raise
            click.echo(f"note: {error}; going on with what is here", err=True)
            why = str(error)
            if adapter is not None:
                await adapter.stream.close()
        else:
            return adapter
    else:
        why = "this command was told to stay --offline"
    rules = Rules.load()
    return Adapter.over(home, NoStream(why), rules, home.ground(rules))


async def _receive(adapter: Adapter) -> None:
    """Takes in what has arrived; shows how far it is where that takes long."""
    topic = in_topic(adapter.home.agency)
    positions = adapter.home.inbox.positions(topic)
    waiting = sum(end - positions.get(partition, 0) for partition, end in (await adapter.stream.ends(topic)).items())
    with progress(waiting, "receiving") as tick:
        await adapter.receive(seen=lambda _: tick())


def with_adapter(ctx: click.Context, work: Callable[[Adapter], Awaitable[_T]], *, needs_stream: bool = True) -> _T:
    """Opens the adapter, takes in what has arrived (unless --offline), does the work, lets go.

    Args:
        needs_stream: whether the work is pointless where the stream is out of reach.
    """

    async def run() -> _T:
        home = open_home(ctx)
        try:
            adapter = await _open_and_receive(ctx, home, needs_stream=needs_stream)
        except BaseException:
            home.close()
            raise
        try:
            return await work(adapter)
        finally:
            await adapter.close()

    return asyncio.run(run())


async def send_what_waits(adapter: Adapter) -> None:
    """Sends what waits; where the stream is out of reach, it waits on, and the person is told."""
    try:
        await adapter.send()
    except StreamError as error:
        if not isinstance(adapter.stream, NoStream):
            click.echo(f"note: {error}; what waits is sent later", err=True)


def event_id(adapter: Adapter, text: str) -> EventId:
    """The event of this UUID, or of its first eight or more hexadecimal digits.

    Raises:
        InputError: not such an id, or several begin so.
    """
    digits = text.replace("-", "").lower()
    if len(digits) == 32:
        try:
            return EventId(UUID(digits).bytes)
        except ValueError:
            pass
    found = adapter.home.inbox.events_like(digits) if len(digits) >= 8 else []
    if len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise InputError("event: several events begin so; write more digits", field="event")
    if len(digits) >= 8 and not set(digits) - set("0123456789abcdef"):
        raise InputError(f"event: none here begins with {text}; casebridge inbox lists them", field="event")
    raise InputError("event: write the event's id, or its first 8 or more digits, as inbox shows it", field="event")


def uuid_text(event: bytes) -> str:
    """An event id as people see it."""
    return str(UUID(bytes=event))


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns, as wide as they need to be."""
    lines = [list(head), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, line in enumerate(lines):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        click.secho(text, bold=number == 0)


def agency_name(adapter: Adapter, agency: AgencyId) -> str:
    """An agency's name as the directory has it, else its id; "?" where that is no text for a terminal."""
    found = adapter.ground.directory(adapter.home.clock.now()).find(agency)
    if found is not None:
        return found.name
    return agency if agency.isprintable() else "?"
