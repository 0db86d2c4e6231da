"""``casebridge init``, ``directory`` and ``stream``: what is done once, or seldom."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from adapters import registrar
from adapters.cli.session import home_folder, print_json, secret, table
from adapters.home import CONFIG_FILE, Config, Home, decode_key
from broker.clock import SystemClock, SystemRandom
from broker.errors import ConfigError, InputError, StoreError, StreamError
from broker.keys import disk
from broker.keys.files import KeyFile, KeyRing
from broker.keys.handles import verify
from broker.names import AgencyId, Millis
from broker.stream import embedded_file
from broker.trust import file as directory_file
from broker.trust.directory import Directory

REGISTRAR = AgencyId("in.exchange.registrar")
_EXAMPLE = (
    '{"id": "in.kl.cwc.ernakulam", "kind": "cwc", "name": "CWC Ernakulam", "state": "IN-KL", "district": 555, '
    '"standing": [], "subscribed": false}'
)
_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--agency", required=True, help="The agency's id, for example in.kl.cwc.ernakulam.")
@click.option("--stream", required=True, help="The stream's file.")
@click.option("--directory", required=True, help="The folder (or the one file) with the exchange's directory.")
@click.option(
    "--trust", required=True, multiple=True, help="Key that signs the directory (base64), from its registrar."
)
@click.pass_context
def init(ctx: click.Context, agency: str, stream: str, directory: str, trust: tuple[str, ...]) -> None:
    """Make the home folder (--home) of an agency's adapter, with new keys.

    The keys are locked with --key-file (made if it is not there) or a passphrase.
    """
    folder, random = home_folder(ctx), SystemRandom()
    for key in trust:
        decode_key(key)
    if (folder / CONFIG_FILE).exists():  # before anybody is asked for a passphrase
        raise ConfigError(f"{folder} is the home of an adapter already; choose another folder")
    config = Config(
        agency=agency,
        stream=str(Path(stream).absolute()),
        directory=str(Path(directory).absolute()),
        trusted_keys=trust,
    )
    with made_key_file(ctx):
        home = Home.create(folder, config, secret=secret(ctx, new=True), clock=SystemClock(), random=random)
    home.close()
    click.echo(f"{folder} is the home of {agency}.")
    click.echo(f"Next: casebridge --home {folder} keys show --json > keys.json, and give keys.json to the registrar.")
    click.echo("Keep what unlocks the keys apart from this folder and its backups: without it they are lost.")


@contextlib.contextmanager
def made_key_file(ctx: click.Context) -> Iterator[None]:
    """The key file that was named, made if it is not there; taken back if what it is for could not be made."""
    key_file: Path | None = ctx.obj["key_file"]
    made = key_file is not None and not key_file.exists()
    if key_file is not None and made:
        KeyFile.create(key_file, random=SystemRandom())
    try:
        yield
    except BaseException:
        if key_file is not None and made:
            key_file.unlink(missing_ok=True)
        raise


@click.group()
def directory() -> None:
    """The directory of a pilot, signed by one registrar."""


def _registrar_ring(ctx: click.Context, folder: Path, *, new: bool = False) -> KeyRing:
    clock, random = SystemClock(), SystemRandom()
    if new:
        with made_key_file(ctx):
            return KeyRing.create(folder, agency=REGISTRAR, secret=secret(ctx, new=True), clock=clock, random=random)
    return KeyRing.open(folder, agency=REGISTRAR, secret=secret(ctx), clock=clock, random=random)


@directory.command("create")
@click.option("--keys", "folder", type=_PATH, required=True, help="A new folder for the registrar's key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def directory_create(ctx: click.Context, folder: Path, as_json: bool) -> None:
    """Make the registrar's key and print its public half, which every `casebridge init` is given as --trust."""
    ring = _registrar_ring(ctx, folder, new=True)
    key = registrar.public_text(ring.signing.public)
    ring.close()
    if as_json:
        print_json({"trust": key})
        return
    click.echo(key)
    click.echo("Next: give this key to every agency, for casebridge init --trust.", err=True)


@directory.command("enrol")
@click.argument("folder", metavar="DIR", type=_PATH)
@click.option("--keys", "keys_folder", type=_PATH, required=True, help="The registrar's folder.")
@click.option("--entry", type=_PATH, required=True, help="JSON: id, kind, name, state, district, standing, subscribed.")
@click.option("--public", "public", type=_PATH, required=True, help="What `keys show --json` printed there.")
@click.option("--stream", "stream_file", type=_PATH, help="Also give it its topic in this embedded stream.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def directory_enrol(
    ctx: click.Context,
    folder: Path,
    keys_folder: Path,
    entry: Path,
    public: Path,
    stream_file: Path | None,
    as_json: bool,
) -> None:
    """Enter an agency into the directory, or give it its new keys, and sign it as the newest file of the folder DIR.

    The files before it stay: what was sent while they were in force is judged by them.
    """
    listed, keys_there = _json(entry), _json(public)
    ring = _registrar_ring(ctx, keys_folder)
    try:
        now = SystemClock().now()
        made = _entry(listed, keys_there, now, entry=entry, public=public)
        if folder.is_file():
            raise ConfigError(f"{folder} is a file; name a folder, where each directory file joins those before it")
        last = registrar.newest(folder)
        if last is not None:  # what somebody else has written there must not get this registrar's signature
            _directory(last, (ring.signing.public,))
        kept = registrar.read_entries(last) if last is not None else []
        before = {one["id"]: one for one, _ in kept}
        if made[0]["id"] in before:
            made[0]["history"] = before[made[0]["id"]]["history"]
        entries = [made if one[0]["id"] == made[0]["id"] else one for one in kept]
        entries += [] if made[0]["id"] in before else [made]
        # The topic first: an agency that others can address must be able to receive.
        if stream_file is not None:
            with _here():
                embedded_file.enrol(stream_file, agencies=[AgencyId(made[0]["id"])], random=SystemRandom())
        disk.make_folder(folder)
        file = registrar.add(folder, entries, now=now, key=ring.signing)
        if as_json:
            print_json({"agency": made[0]["id"], "new": made[0]["id"] not in before, "file": str(file)})
            return
        verb = "has its new keys in" if made[0]["id"] in before else "is entered in"
        click.echo(f"{made[0]['id']} {verb} {file}, which lists {len(entries)} agencies")
        click.echo("Next: give every agency the folder as it is now; running adapters take it up by themselves.")
    finally:
        ring.close()


def _entry(
    listed: dict[str, Any], keys_there: dict[str, Any], now: Millis, *, entry: Path, public: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    for name in ("id", "kind", "name", "state"):
        if not isinstance(listed.get(name), str) or not listed[name]:
            raise InputError(f"{entry}: {name} is missing; write for example {_EXAMPLE}", field=name)
    try:
        return registrar.agency_entry(listed, keys_there, enrolled=now)
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{public} is not what `casebridge keys show --json` prints at the agency; ask it again", field="public"
        ) from None


@directory.command("show")
@click.argument("file", metavar="DIR", type=_PATH)
@click.option("--trust", required=True, multiple=True, help="Key that signs the directory (base64).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def directory_show(file: Path, trust: tuple[str, ...], as_json: bool) -> None:
    """Verify and list the newest directory of the folder DIR, or of one file."""
    if file.is_dir():
        last = registrar.newest(file)
        if last is None:
            raise ConfigError(f"{file} holds no directory file; put the exchange's directory there")
        file = last
    found = _directory(file, tuple(decode_key(key) for key in trust))
    agencies = sorted(found.agencies.values(), key=lambda one: one.id)
    if as_json:
        print_json(
            [
                {
                    "id": one.id,
                    "kind": one.kind.label,
                    "name": one.name,
                    "state": one.state,
                    "district": one.district,
                    "standing": sorted(role.label for role in one.standing),
                }
                for one in agencies
            ]
        )
        return
    rows = [
        (one.id, one.kind.label, one.name, one.state, ", ".join(sorted(role.label for role in one.standing)))
        for one in agencies
    ]
    table(("agency", "kind", "name", "State", "standing roles"), rows)


def _directory(file: Path, trusted: tuple[bytes, ...]) -> Directory:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {(error.strerror or 'refused').lower()}") from None
    return directory_file.parse(data, verify=verify, trusted_keys=trusted)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", field=str(path)) from None
    except ValueError:
        raise InputError(f"{path} is not JSON", field=str(path)) from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a JSON object", field=str(path))
    return value


@contextlib.contextmanager
def _here() -> Iterator[None]:
    """The stream's file as one of this installation's: an error is for its operator, and nothing waits to be sent."""
    try:
        yield
    except StreamError as error:
        raise StoreError(str(error)) from error


@click.group()
def stream() -> None:
    """The embedded stream's file."""


@stream.command("create")
@click.argument("file", type=_PATH)
@click.option("--agency", "agencies", multiple=True, help="Give this agency a topic; may be repeated.")
def stream_create(file: Path, agencies: tuple[str, ...]) -> None:
    """Make FILE with the topics of the exchange."""
    with _here():
        embedded_file.create(file, agencies=[AgencyId(one) for one in agencies], random=SystemRandom())
    click.echo(f"{file} is made")


@stream.command("enrol")
@click.argument("file", type=_PATH)
@click.option("--agency", "agencies", multiple=True, required=True, help="Give this agency a topic; may be repeated.")
def stream_enrol(file: Path, agencies: tuple[str, ...]) -> None:
    """Give agencies a topic in FILE."""
    with _here():
        embedded_file.enrol(file, agencies=[AgencyId(one) for one in agencies], random=SystemRandom())
    click.echo(f"{len(agencies)} agencies have a topic in {file}")
