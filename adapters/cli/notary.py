"""``casebridge notary init`` and ``run``."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import click

from adapters.cli.run import Trouble, log, only_one, stop_on_signals
from adapters.cli.session import home_folder, print_json, secret
from adapters.cli.setup import made_key_file
from adapters.notary import LOG_FOLDER, NotaryHome, work
from broker.clock import SystemClock, SystemRandom
from broker.errors import StoreError, StreamError
from broker.tlog.checkpoint import parse_checkpoint
from broker.tlog.note import Note

PAUSE = 0.2


@click.group()
def notary() -> None:
    """The exchange's notary: one signed tree of everything that was said."""


@notary.command("init")
@click.option("--origin", required=True, help="The log's name, for example audit.example/one.")
@click.option("--stream", required=True, help="The stream's file, or the settings of the cluster.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def notary_init(ctx: click.Context, origin: str, stream: str, as_json: bool) -> None:
    """Make the home folder (--home) of a notary, with a new key; prints the key that checkpoints are verified by."""
    folder, path = home_folder(ctx), Path(stream).absolute()
    with made_key_file(ctx):
        home = NotaryHome.create(
            folder,
            origin=origin,
            stream=path,
            secret=secret(ctx, new=True),
            clock=SystemClock(),
            random=SystemRandom(),
        )
    key = home.signer.verifier.vkey()
    if as_json:
        print_json({"origin": origin, "key": key})
    else:
        click.echo(key)
    click.echo(f"Next: give this key to agencies, and run: casebridge --home {folder} notary run", err=True)


@notary.command("run")
@click.pass_context
def notary_run(ctx: click.Context) -> None:
    """Notarize until stopped (SIGTERM or Ctrl-C); any static web server can serve the home's folder log."""

    def seen(note: Note) -> None:
        log(f"checkpoint of {parse_checkpoint(note.text).size} entries")

    async def run() -> None:
        clock = SystemClock()
        home = NotaryHome.open(home_folder(ctx), secret=secret(ctx), clock=clock, random=SystemRandom())
        stop = stop_on_signals()
        trouble = Trouble(stop)

        async def idle() -> None:
            trouble.over()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PAUSE)

        with only_one(home.folder):
            log(f"notary runs; its log is {home.folder / LOG_FOLDER}; stop it with SIGTERM or Ctrl-C")
            while True:
                try:
                    await work(home, clock=clock, stop=stop.is_set, idle=idle, seen=seen)
                    break
                except (StreamError, StoreError) as error:
                    await trouble.wait(error)
                    if stop.is_set():
                        break
        log("stopped; nothing is lost")

    asyncio.run(run())
