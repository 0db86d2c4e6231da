"""``casebridge inbox``, ``show`` and ``open``."""

from __future__ import annotations

from typing import Any

import click

from adapters.adapter import Adapter
from adapters.casefile import CaseFile
from adapters.cli.faults import slice_json
from adapters.cli.send import compartments
from adapters.cli.session import (
    SHORT,
    agency_name,
    event_id,
    print_json,
    send_what_waits,
    table,
    uuid_text,
    with_adapter,
)
from adapters.cli.words import kind_of, plain, print_roles
from adapters.inbox_file import Slice, State
from adapters.kept import Kept
from adapters.opener import Block, describe
from broker.clock import ist, parse_time, rfc3339
from broker.errors import InputError, KeyUnavailable
from broker.names import EventId, Millis, PersonRef, case_name
from broker.receive import CATALOGUED
from broker.seal.block import Label
from broker.seal.envelope import decode_slice
from broker.seal.header import Header

NO_PERSON = PersonRef(b"")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.option("--case", "case", help="Only this case (its name or reference).")
@click.option("--state", type=click.Choice(["received", "pending", "quarantined"]), help="Only these.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Only the newest, so many.")
@_JSON
@click.pass_context
def inbox(ctx: click.Context, case: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List what this agency received, in the order of its arrival."""

    async def work(adapter: Adapter) -> None:
        ref = adapter.files.known(case) if case is not None else None
        wanted = State[state.upper()] if state is not None else None
        found = adapter.home.inbox.slices(case=ref, state=wanted, limit=limit + 1, newest=True)
        shown = found[-limit:]
        if as_json:
            print_json([slice_json(one) for one in shown])
        elif not shown:
            click.echo("Nothing here yet." if wanted is None else "Nothing here in that state.")
        else:
            table(("event", "case", "accepted (IST)", "type", "from", "state"), [_row(adapter, one) for one in shown])
        if len(found) > limit:
            click.echo(f"These are the newest {limit}; there are earlier ones: --limit shows more.", err=True)

    with_adapter(ctx, work)


def _row(adapter: Adapter, one: Slice) -> tuple[str, ...]:
    arrival = one.arrival
    when = ist(arrival.accepted_at)[:16] if arrival.accepted_at is not None else "-"
    match arrival.state:
        case State.RECEIVED:
            state = "opened" if one.opened else "not opened"
        case State.PENDING:
            state = f"waits for {arrival.needs}"
        case State.QUARANTINED:
            state = f"quarantined, check {arrival.check}"
    event = uuid_text(arrival.event_id)[:SHORT]
    return (
        event,
        case_name(arrival.case),
        when,
        kind_of(arrival.type, arrival.variant),
        agency_name(adapter, arrival.author) if arrival.author else "-",
        state,
    )


def _kept(adapter: Adapter, event: EventId) -> tuple[CaseFile, Kept]:
    for one in adapter.home.inbox.slices_of(event):
        file = adapter.files.get(one.arrival.case)
        kept = file.kept(event)
        if kept is not None:
            return file, kept
    raise InputError("event: it is not here, or not valid; casebridge inbox and quarantine list what is", field="event")


@click.command()
@click.argument("event")
@_JSON
@click.pass_context
def show(ctx: click.Context, event: str, as_json: bool) -> None:
    """Show EVENT without opening it: who sent it and as what, what this agency was given and why.

    Of what it was not given, only what such an event may hold at all is told, never what this one holds for others.
    """

    async def work(adapter: Adapter) -> None:
        found = event_id(adapter, event)
        erased = adapter.files.erased(found)
        said = _show_json(adapter, *_kept(adapter, found)) if erased is None else _erased_json(adapter, found, erased)
        if as_json:
            print_json(said)
        else:
            _print_show(adapter, said)

    with_adapter(ctx, work)


def _header_json(header: Header, accepted_at: Millis | None) -> dict[str, Any]:
    """What the clear part of an event says."""
    return {
        "event": uuid_text(header.event_id),
        "type": header.type,
        "variant": header.variant,
        "status": header.status,
        "case": header.case_ref.hex(),
        "caseName": case_name(header.case_ref),
        "author": header.agency,
        "post": header.post,
        "actAt": rfc3339(header.act_at),
        "sealedAt": rfc3339(header.sealed_at),
        "acceptedAt": rfc3339(accepted_at) if accepted_at is not None else None,
        "expiresAt": rfc3339(header.expires_at) if header.expires_at is not None else None,
        "replyBy": rfc3339(header.reply_by) if header.reply_by is not None else None,
        "deskPhone": header.desk_phone,
        "references": [uuid_text(one) for one in header.references],
    }


def _erased_json(adapter: Adapter, event: EventId, erased: Millis) -> dict[str, Any]:
    """What is left of an event whose case this agency erased."""
    arrival = adapter.home.inbox.get(event).arrival
    return {**_header_json(decode_slice(arrival.slice).header, arrival.accepted_at), "erasedAt": rfc3339(erased)}


def _show_json(adapter: Adapter, file: CaseFile, kept: Kept) -> dict[str, Any]:
    header, statement = kept.slice.header, kept.acceptance.statement
    rows = [entry for entry in kept.row.entries if entry.label.compartment < CATALOGUED]
    possible = set(adapter.rules.catalogue.compartments(header.type, header.variant))
    given = {entry.label.compartment for entry in rows}
    return {
        **_header_json(header, statement.appended_at),
        "effect": file.state.effect(header.event_id).value or "in effect",
        "sentAs": sorted({claim.role.label for claim in kept.credentials.claims}),
        "myRoles": sorted({held.role.label for held in kept.row.roles}),
        "given": [
            {
                "compartment": entry.label.compartment.label,
                "person": file.aliases.get(entry.label.person) if entry.label.person else None,
                "why": describe(entry),
                "erased": not _has_key(kept, entry.label),
            }
            for entry in sorted(
                rows, key=lambda one: (one.label.compartment, file.aliases.get(one.label.person or NO_PERSON, ""))
            )
        ],
        "noKey": sorted(one.label for one in possible - given),
    }


def _has_key(kept: Kept, label: Label) -> bool:
    try:
        kept.seed(label)
    except KeyUnavailable:
        return False
    return True


def ist_of(time: str | None) -> str:
    """A time as people in India read it."""
    return ist(parse_time(time)) if time is not None else "-"


def _print_show(adapter: Adapter, said: dict[str, Any]) -> None:
    if said["status"] == "Exercise":
        click.secho("*** EXERCISE ***", fg="yellow", bold=True)
    click.secho(kind_of(said["type"], said["variant"]), bold=True)
    lines = [
        ("event", said["event"]),
        ("case", f"{said['caseName']}  {said['case']}"),
        ("from", f"{agency_name(adapter, said['author'])} ({said['author']}), post {said['post']}"),
        ("act", ist_of(said["actAt"])),
        ("sealed", ist_of(said["sealedAt"])),
        ("accepted", ist_of(said["acceptedAt"])),
        ("expires", ist_of(said["expiresAt"])),
        ("desk", said["deskPhone"] or "-"),
    ]
    if "erasedAt" not in said:
        lines += [
            ("sent as", ", ".join(said["sentAs"])),
            ("effect", said["effect"]),
            ("my roles", ", ".join(said["myRoles"]) or "none"),
        ]
    for name, value in lines:
        click.echo(f"{name:<9} {value}")
    click.echo("")
    if "erasedAt" in said:
        when = ist_of(said["erasedAt"])
        click.echo(
            f"This agency erased the keys of this case on {when}: nothing more of it can be shown or opened here."
        )
        return
    if said["given"]:
        table(("given to this agency", "persons", "why"), _given(said["given"]))
    else:
        click.echo("This agency was given the header only.")
    if said["noKey"]:
        click.echo(f"Such an event may also hold: {', '.join(said['noKey'])}. This agency has no key to these.")
    click.echo("")
    print_roles((*said["sentAs"], *said["myRoles"]))


def _given(given: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """A row for each compartment and ground, with all its persons."""
    persons: dict[tuple[str, str], list[str]] = {}
    for one in given:
        why = f"erased; was: {one['why']}" if one["erased"] else one["why"]
        persons.setdefault((one["compartment"], why), []).append(one["person"] or "-")
    return [(compartment, ", ".join(named), why) for (compartment, why), named in persons.items()]


@click.command("open")
@click.argument("event")
@click.option("--compartment", "names", multiple=True, help="Only this one; may be repeated.")
@click.option("--person", help="Only of this person (alias).")
@click.option("--post", required=True, help="The post that opens, as the directory names it.")
@click.option("--purpose", required=True, help="Why, as a code: case-work, supervision, court, …")
@_JSON
@click.pass_context
def open_(
    ctx: click.Context,
    event: str,
    names: tuple[str, ...],
    person: str | None,
    post: str,
    purpose: str,
    as_json: bool,
) -> int:
    """Open what EVENT lets this agency read. Who opened what, when and why is recorded before anything is shown."""

    async def work(adapter: Adapter) -> int:
        found = event_id(adapter, event)
        blocks = adapter.open(found, post=post, purpose=purpose, compartments=compartments(names), person=person)
        if not ctx.obj["offline"]:
            await send_what_waits(adapter)
        if as_json:
            print_json([_block_json(block) for block in blocks])
        elif not blocks:
            click.echo("This agency was given the header only; there is nothing to open.")
        else:
            for block in blocks:
                _print_block(block)
        return 1 if any(block.check is not None for block in blocks) else 0

    return with_adapter(ctx, work)


def _block_json(block: Block) -> dict[str, Any]:
    return {
        "compartment": block.compartment.label,
        "person": block.alias if block.person else None,
        "why": block.basis,
        "refused": block.refused or None,
        "check": block.check,
        "fields": dict(block.fields),
    }


def _print_block(block: Block) -> None:
    whose = f" of {block.alias}" if block.person else ""
    click.secho(f"{block.compartment.label}{whose}", bold=True, nl=False)
    click.echo(f"   {block.basis}")
    if block.refused:
        click.secho(f"   {block.refused}", fg="yellow")
    for name, value in block.fields.items():
        click.echo(f"   {name}: {plain(value)}")
    click.echo("")
