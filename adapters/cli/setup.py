"""``casebridge init``, ``keys``, ``directory``, ``stream`` and ``completion``: what is done once, or seldom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from adapters import registrar
from adapters.cli.session import home_folder, open_home, print_json, secret
from adapters.home import Config, Home, decode_key
from broker.clock import SystemClock, SystemRandom
from broker.errors import ConfigError, InputError
from broker.keys.files import KeyFile, KeyRing
from broker.keys.handles import verify
from broker.names import AgencyId
from broker.stream import embedded_file
from broker.trust import file as directory_file

REGISTRAR = AgencyId("in.exchange.registrar")
_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--agency", required=True, help="The agency's id, for example in.kl.cwc.ernakulam.")
@click.option("--stream", required=True, help="The stream's file.")
@click.option("--directory", required=True, help="The directory file of the exchange.")
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
    key_file: Path | None = ctx.obj["key_file"]
    if key_file is not None and not key_file.exists():
        KeyFile.create(key_file, random=random)
    config = Config(
        agency=agency,
        stream=str(Path(stream).absolute()),
        directory=str(Path(directory).absolute()),
        trusted_keys=trust,
    )
    home = Home.create(folder, config, secret=secret(ctx, new=True), clock=SystemClock(), random=random)
    home.close()
    click.echo(f"{folder} is the home of {agency}.")
    click.echo("Next: give the registrar what `casebridge keys show` prints, and keep the unlocking secret elsewhere.")


@click.group()
def keys() -> None:
    """This agency's keys."""


@keys.command("show")
@click.pass_context
def keys_show(ctx: click.Context) -> None:
    """Print the public keys as JSON, for the registrar."""
    home = open_home(ctx)
    try:
        print_json(home.ring.public())
    finally:
        home.close()


@keys.command("rotate")
@click.option("--signing", is_flag=True, help="The signing key instead of the prekey.")
@click.pass_context
def keys_rotate(ctx: click.Context, signing: bool) -> None:
    """Make a new prekey (monthly), or a new signing key. Give the registrar what `keys show` prints then."""
    home = open_home(ctx)
    try:
        now = home.clock.now()
        made = home.ring.rotate_signing(now) if signing else home.ring.rotate_prekey(now)
        click.echo(
            f"new {'signing key' if signing else 'prekey'} {made.id.hex()}; the older ones still work for a while"
        )
        click.echo("Next: give the registrar what `casebridge keys show` prints.")
    finally:
        home.close()


@keys.command("destroy-expired")
@click.pass_context
def keys_destroy(ctx: click.Context) -> None:
    """Destroy private halves that nothing needs any more."""
    home = open_home(ctx)
    try:
        swept = home.ring.destroy_expired(home.clock.now(), read_past=())
        click.echo(f"{len(swept.prekeys)} prekeys and {len(swept.signing)} signing keys destroyed")
        for one in swept.unread:
            click.echo(f"prekey {one.hex()} was destroyed though it is not known that everything under it was read")
    finally:
        home.close()


@click.group()
def directory() -> None:
    """The directory file of a pilot, signed by one registrar."""


def _registrar_ring(ctx: click.Context, folder: Path, *, new: bool = False) -> KeyRing:
    clock, random = SystemClock(), SystemRandom()
    if new:
        key_file: Path | None = ctx.obj["key_file"]
        if key_file is not None and not key_file.exists():
            KeyFile.create(key_file, random=random)
        return KeyRing.create(folder, agency=REGISTRAR, secret=secret(ctx, new=True), clock=clock, random=random)
    return KeyRing.open(folder, agency=REGISTRAR, secret=secret(ctx), clock=clock, random=random)


@directory.command("create")
@click.option("--keys", "folder", type=_PATH, required=True, help="A new folder for the registrar's key.")
@click.pass_context
def directory_create(ctx: click.Context, folder: Path) -> None:
    """Make the registrar's key and print its public half, which every `casebridge init` is given as --trust."""
    ring = _registrar_ring(ctx, folder, new=True)
    click.echo(registrar.public_text(ring.signing.public))
    ring.close()


@directory.command("enrol")
@click.argument("file", type=_PATH)
@click.option("--keys", "folder", type=_PATH, required=True, help="The registrar's folder.")
@click.option("--entry", type=_PATH, required=True, help="JSON: id, kind, name, state, district, standing, subscribed.")
@click.option("--public", "public", type=_PATH, required=True, help="What `casebridge keys show` printed there.")
@click.pass_context
def directory_enrol(ctx: click.Context, file: Path, folder: Path, entry: Path, public: Path) -> None:
    """Enter an agency into the directory FILE, or give it its new keys, and sign it."""
    ring = _registrar_ring(ctx, folder)
    try:
        now = SystemClock().now()
        made = registrar.agency_entry(_json(entry), _json(public), enrolled=now)
        kept = registrar.read_entries(file)
        before = {one["id"]: one for one, _ in kept}
        if made[0]["id"] in before:
            made[0]["history"] = before[made[0]["id"]]["history"]
        entries = [one for one in kept if one[0]["id"] != made[0]["id"]] + [made]
        registrar.write(file, entries, issued_at=now, key=ring.signing)
        click.echo(f"{file} lists {len(entries)} agencies")
    finally:
        ring.close()


@directory.command("show")
@click.argument("file", type=_PATH)
@click.option("--trust", required=True, multiple=True, help="Key that signs the directory (base64).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def directory_show(file: Path, trust: tuple[str, ...], as_json: bool) -> None:
    """Verify and list the directory FILE."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    found = directory_file.parse(data, verify=verify, trusted_keys=tuple(decode_key(key) for key in trust))
    if as_json:
        print_json(
            [
                {"id": one.id, "kind": one.kind.label, "name": one.name, "state": one.state, "district": one.district}
                for one in found.agencies.values()
            ]
        )
        return
    for one in found.agencies.values():
        click.echo(f"{one.id:<40} {one.kind.label:<16} {one.name}")


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


@click.group()
def stream() -> None:
    """The embedded stream's file."""


@stream.command("create")
@click.argument("file", type=_PATH)
@click.option("--agency", "agencies", multiple=True, help="Give this agency a topic; may be repeated.")
def stream_create(file: Path, agencies: tuple[str, ...]) -> None:
    """Make FILE with the topics of the exchange."""
    embedded_file.create(file, agencies=[AgencyId(one) for one in agencies], random=SystemRandom())
    click.echo(f"{file} is made")


@stream.command("enrol")
@click.argument("file", type=_PATH)
@click.option("--agency", "agencies", multiple=True, required=True, help="Give this agency a topic; may be repeated.")
def stream_enrol(file: Path, agencies: tuple[str, ...]) -> None:
    """Give agencies a topic in FILE."""
    embedded_file.enrol(file, agencies=[AgencyId(one) for one in agencies], random=SystemRandom())
    click.echo(f"{len(agencies)} agencies have a topic in {file}")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL; for bash: eval "$(casebridge completion bash)"."""
    from adapters.cli.main import cli

    made = get_completion_class(shell)
    if made is None:
        raise InputError(f"{shell} is not known", field="SHELL")
    click.echo(made(cli, {}, "casebridge", "_CASEBRIDGE_COMPLETE").source())
