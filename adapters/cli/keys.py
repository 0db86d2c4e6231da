"""``casebridge keys``: show, rotate, destroy-expired and erase."""

from __future__ import annotations

from typing import Any, Final

import click

from adapters.adapter import Adapter
from adapters.cli.session import open_home, print_json, table, with_adapter
from adapters.upkeep import sweep, told
from broker.clock import ist, parse_time, rfc3339
from broker.errors import InputError
from broker.names import CaseRef, PersonRef, case_name


@click.group()
def keys() -> None:
    """This agency's keys."""


@keys.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for the registrar.")
@click.pass_context
def keys_show(ctx: click.Context, as_json: bool) -> None:
    """Show the public keys of this agency; with --json, as the registrar needs them."""
    home = open_home(ctx)
    try:
        public = home.ring.public()
    finally:
        home.close()
    if as_json:
        print_json(public)
        return
    now = home.clock.now()
    rows = [("identity", public["identity"]["id"], "-", "-", "signs prekeys")]
    for kind, listed in (("signing", public["signing"]), ("prekey", public["prekeys"])):
        for key in listed:
            start, end = parse_time(key["notBefore"]), parse_time(key["notAfter"])
            state = "later" if now < start else ("in use" if now < end else "past")
            rows.append((kind, key["id"], ist(start), ist(end), state))
    click.echo(f"Public keys of {public['agency']}")
    table(("key", "id", "from", "to", ""), rows)
    click.echo("For the registrar: casebridge keys show --json")


@keys.command("rotate")
@click.option("--signing", is_flag=True, help="The signing key instead of the prekey.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def keys_rotate(ctx: click.Context, signing: bool, as_json: bool) -> None:
    """Make a new prekey (monthly), or a new signing key. Give the registrar what `keys show --json` prints then."""
    home = open_home(ctx)
    try:
        now = home.clock.now()
        made = home.ring.rotate_signing(now) if signing else home.ring.rotate_prekey(now)
    finally:
        home.close()
    what = "signing key" if signing else "prekey"
    if as_json:
        print_json({"key": what, "id": made.id.hex()})
        return
    click.echo(f"new {what} {made.id.hex()}; the older ones still work for a while")
    click.echo("Next: give the registrar what `casebridge keys show --json` prints.")


@keys.command("destroy-expired")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def keys_destroy(ctx: click.Context, as_json: bool) -> None:
    """Destroy private keys that nothing needs any more; a running adapter does it each day by itself.

    A signing key goes at its end. A prekey goes 14 days after its end once everything sealed to it has been read, and
    after 90 days in any case.
    """

    async def work(adapter: Adapter) -> None:
        swept = await sweep(adapter)
        if as_json:
            found = {"prekeys": swept.prekeys, "signing": swept.signing, "unread": swept.unread}
            print_json({name: [one.hex() for one in keys] for name, keys in found.items()})
            return
        for line in told(swept):
            click.echo(line)

    with_adapter(ctx, work, needs_stream=False)


_STAYS: Final = (
    "What stays: who sent what kind of message when, the records of what was opened, and what other agencies have."
    " Whoever has a copy of keystore.sqlite, or a sealed message from the stream or this agency's outbox and the prekey"
    " of its month, can open it again: keep no such copy; prekeys go by themselves (keys destroy-expired). What is"
    " received later gets a new key."
)
_CASE: Final = "This agency can then open nothing of the case any more, and can no longer act in it."
_PERSON: Final = "This agency can then open nothing about {} any more; what is of the case as a whole stays readable."


@keys.command("erase")
@click.argument("case")
@click.option("--person", help="Only what is about this person (alias, for example P-1).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def keys_erase(ctx: click.Context, case: str, person: str | None, yes: bool, as_json: bool) -> None:
    """Erase what this agency received of CASE, or about one person of it, by destroying the keys to it.

    It cannot be undone here. Says what goes and what stays, and asks first.
    """

    async def work(adapter: Adapter) -> None:
        ref, who = _which(adapter, case, person)
        held = adapter.home.keystore.held(ref)
        going = {one: count for one, count in held.items() if who is None or one == who}
        if not yes:
            _explain(adapter, ref, going, person)
            click.confirm("Erase?", abort=True, err=True)
        keystore = adapter.home.keystore
        done = keystore.erase_case(ref) if who is None else [keystore.erase(ref, who)]
        adapter.files.forget()
        names = adapter.home.inbox.casebook.labels(ref)
        said = [
            {"person": names.get(one.person) if one.person else None, "keys": one.seeds, "at": rfc3339(one.at)}
            for one in done
        ]
        if as_json:
            print_json({"case": ref.hex(), "caseName": case_name(ref), "erased": said})
            return
        if not any(going.values()):
            click.echo("Nothing was left to erase.")
        for erasure in done:
            whose = names.get(erasure.person, "a person") if erasure.person else "the case as a whole"
            click.echo(f"{case_name(ref)}, {whose}: {erasure.seeds} keys erased, {ist(erasure.at)}")

    with_adapter(ctx, work, needs_stream=False)


def _which(adapter: Adapter, case: str, person: str | None) -> tuple[CaseRef, PersonRef | None]:
    ref = adapter.files.known(case)
    if person is None:
        return ref, None
    names = adapter.home.inbox.casebook.labels(ref)
    found = [one for one, alias in names.items() if person in (alias, one.hex())]
    if not found:
        known = ", ".join(sorted(names.values())) or "nobody"
        raise InputError(f"--person: {person!r} is not known in this case; known is {known}", field="--person")
    return ref, found[0]


def _explain(adapter: Adapter, case: CaseRef, going: dict[Any, int], person: str | None) -> None:
    names = adapter.home.inbox.casebook.labels(case)
    click.echo(f"To be erased of case {case_name(case)}  {case.hex()}:", err=True)
    for one, count in going.items():
        click.echo(f"   {names.get(one, 'a person') if one else 'the case as a whole'}: {count} keys", err=True)
    if not going:
        click.echo("   nothing; all of it is erased already, or nothing ever came", err=True)
    click.echo(_CASE if person is None else _PERSON.format(person), err=True)
    click.echo(_STAYS, err=True)
