"""``casebridge preview`` and ``casebridge publish``."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from adapters.adapter import Adapter
from adapters.cli.progress import progress
from adapters.cli.session import agency_name, print_json, send_what_waits, table, uuid_text, with_adapter
from adapters.cli.words import kind_of, print_roles
from adapters.publisher import Prepared, Published
from broker import limits
from broker.authority.model import Entry, Reader
from broker.clock import ist, parse_time, rfc3339
from broker.errors import InputError, StreamError
from broker.names import Basis, Compartment, PersonRef, case_name
from broker.seal.envelope import decode_envelope
from broker.seal.parts import PartKind
from broker.seal.slot import read_slot


def read_records(path: str) -> list[bytes]:
    """The records of a file or of standard input (``-``): one JSON object, or one on each line.

    Raises:
        InputError: not readable, too large, or empty.
    """
    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", field="FILE") from None
    if len(data) > 64 * limits.NATIVE_RECORD_BYTES:
        raise InputError("the file is too large; send it in parts", field="FILE")
    if not data.strip():
        raise InputError("the file is empty; a record is a JSON object", field="FILE")
    try:
        json.loads(data)
    except ValueError:
        lines = [line for line in data.splitlines() if line.strip()]
        if len(lines) > 1 and all(line.lstrip().startswith(b"{") and line.rstrip().endswith(b"}") for line in lines):
            return lines
    return [data]


@click.command()
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def preview(ctx: click.Context, file: str, as_json: bool) -> None:
    """Show who would read what of the record in FILE (``-`` for standard input), and why. Nothing is sent."""

    records = read_records(file)

    async def work(adapter: Adapter) -> None:
        with progress(len(records), "checking") as tick:
            prepared = adapter.publisher.prepare_all(records, seen=tick)
        if as_json:
            print_json([_preview_json(one) for one in prepared])
            return
        for one in prepared:
            _print_preview(adapter, one)
        click.echo("Nothing was sent.")

    with_adapter(ctx, work, needs_stream=False)


def _preview_json(prepared: Prepared) -> dict[str, Any]:
    event, names = prepared.event, prepared.event.aliases
    return {
        "type": event.type,
        "variant": event.variant,
        "case": "new" if event.case is None else prepared.case.hex(),
        "warnings": list(prepared.plan.warnings),
        "gives": [
            {"role": one.role.label, "agency": one.agency, "person": names.get(one.person) if one.person else None}
            for one in prepared.plan.mandates
        ],
        "readers": [
            {
                "agency": reader.agency,
                "roles": sorted({held.role.label for held in reader.roles}),
                "reads": [
                    {
                        "compartment": entry.block[0].label,
                        "person": names.get(entry.block[1]) if entry.block[1] else None,
                        "why": _why(entry),
                    }
                    for entry in reader.entries
                ],
                "withheld": [
                    {"compartment": key[0].label, "person": names.get(key[1]) if key[1] else None, "ask": ask}
                    for key, ask in reader.withheld.items()
                ],
            }
            for reader in prepared.plan.readers
        ],
    }


def _why(entry: Entry) -> str:
    match entry.basis:
        case Basis.AUTHOR:
            return "author"
        case Basis.ROLE:
            return f"{entry.role.label} by {entry.rule}"
        case Basis.GRANT:
            return f"grant {uuid_text(entry.grant or bytes(16))}"
        case _:
            return "party"


def _print_preview(adapter: Adapter, prepared: Prepared) -> None:
    event, plan = prepared.event, prepared.plan
    click.secho(kind_of(event.type, event.variant), bold=True)
    where = "opens a new case" if event.case is None else f"case {case_name(prepared.case)}"
    click.echo(f"{where}; persons {', '.join(event.aliases[person] for person in event.persons)}")
    for warning in plan.warnings:
        click.secho(f"note: {warning}", fg="yellow")
    for one in plan.mandates:
        whose = f" for {event.aliases[one.person]}" if one.person else ""
        click.echo(f"gives {one.role.label} to {agency_name(adapter, one.agency)}{whose}")
    click.echo("")
    _print_matrix(adapter, prepared)
    click.echo("")
    for reader in plan.readers:
        grounds: dict[str, list[str]] = {}
        for entry in reader.entries:
            named = grounds.setdefault(_why(entry), [])
            if entry.block[0].label not in named:
                named.append(entry.block[0].label)
        roles = ", ".join(dict.fromkeys(held.role.label for held in reader.roles)) or "no role"
        click.secho(f"{agency_name(adapter, reader.agency)} ({roles})", bold=True)
        for why, named in grounds.items():
            click.echo(f"   reads {', '.join(named)}: {why}")
        if not grounds:
            click.echo("   reads the header only: that there is such a message, from whom and when")
    click.echo("")
    print_roles(held.role.label for reader in plan.readers for held in reader.roles)
    click.echo("")


_MAY_ASK: Final = {"q": "ask", "x": "order"}
_LEGEND: Final = (
    "yes: reads it; P-…: for these persons only; -: has no key; "
    "ask: no key, may ask the owner (disclosure.request); order: no key, may ask with the number of an order"
)


def _print_matrix(adapter: Adapter, prepared: Prepared) -> None:
    """Agencies down, compartments across."""
    blocks: dict[Compartment, list[PersonRef | None]] = {}
    for compartment, person in sorted(prepared.event.blocks, key=lambda key: key[0]):
        blocks.setdefault(compartment, []).append(person)
    rows = [
        (
            agency_name(adapter, reader.agency)[:40],
            *(_cell(prepared, reader, compartment, persons) for compartment, persons in blocks.items()),
        )
        for reader in prepared.plan.readers
    ]
    table(("agency", *(one.label for one in blocks)), rows)
    click.echo(_LEGEND)


def _cell(prepared: Prepared, reader: Reader, compartment: Compartment, persons: list[PersonRef | None]) -> str:
    reads = {entry.block for entry in reader.entries}
    given = [person for person in persons if (compartment, person) in reads]
    if len(given) == len(persons):
        return "yes"
    if given:
        return " ".join(sorted(prepared.event.aliases[person] for person in given if person))
    asks = {reader.withheld.get((compartment, person), "") for person in persons}
    return _MAY_ASK.get(min(asks), "-")


@click.command()
@click.argument("file")
@click.option("--idempotency-key", help="A name of your own: calling again with it sends nothing twice.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=5.0,
    show_default=True,
    help="Seconds to wait for the broker's acceptance.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def publish(
    ctx: click.Context,
    file: str,
    idempotency_key: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Seal the record in FILE (``-`` for standard input; JSON, or JSON Lines) and send it.

    All records of a file are kept, or none. What is kept is sent now or, if the stream is out of reach, later.
    """

    records = read_records(file)
    if idempotency_key is not None and len(records) > 1:
        raise InputError("an idempotency key is for one record; send the records one by one", field="--idempotency-key")

    async def work(adapter: Adapter) -> int:
        with progress(2 * len(records), "checking and sealing") as tick:
            published = adapter.publisher.publish(records, idempotency_key=idempotency_key, seen=tick)
        if not ctx.obj["offline"]:
            await send_what_waits(adapter)
            await _wait(adapter, published, wait)
        said = [_state(adapter, one) for one in published]
        if as_json:
            print_json(said)
        else:
            _print_states(said)
        return 1 if any(one["state"] == "refused" for one in said) else 0

    return with_adapter(ctx, work, needs_stream=False)


async def _wait(adapter: Adapter, published: list[Published], seconds: float) -> None:
    """Until the broker has answered for all, or the time is over, or the stream is out of reach."""
    loop = asyncio.get_running_loop()
    deadline, waiting = loop.time() + seconds, published
    with contextlib.suppress(StreamError), progress(len(published), "waiting for the broker") as tick:
        while left := [one for one in waiting if not _answered(adapter, one)]:
            tick(len(waiting) - len(left))
            waiting, seconds = left, deadline - loop.time()
            if seconds <= 0:
                break
            await adapter.receive(wait=min(seconds, 0.5))


def _answered(adapter: Adapter, one: Published) -> bool:
    return adapter.home.outbox.get(one.event_id).check is not None or adapter.accepted(one.case, one.root)


def _state(adapter: Adapter, one: Published) -> dict[str, Any]:
    kept = adapter.home.outbox.get(one.event_id)
    own = adapter.home.inbox.by_root(one.root)
    said: dict[str, Any] = {
        "event": uuid_text(one.event_id),
        "case": one.case.hex(),
        "caseName": case_name(one.case),
        "root": one.root.hex(),
        "again": one.again,
        "state": "kept",
        "readers": _readers(adapter, kept.draft.envelope),
    }
    if kept.check is not None:
        said |= {"state": "refused", "check": kept.check}
    elif own is not None and own.arrival.accepted is not None and own.arrival.accepted_at is not None:
        place = own.arrival.accepted
        said |= {
            "state": "accepted",
            "acceptedAt": rfc3339(own.arrival.accepted_at),
            "partition": place.partition,
            "offset": place.offset,
        }
    elif kept.position is not None:
        said["state"] = "sent"
    return said


def _readers(adapter: Adapter, envelope: bytes) -> int:
    """How many other agencies can read something of it, auditors not counted."""
    parts = decode_envelope(envelope).parts
    named = {read_slot(part.body).reader for part in parts if part.kind == PartKind.SLOT}
    return len(named - adapter.ground.auditors(adapter.home.clock.now()) - {adapter.home.agency})


def _print_states(said: list[dict[str, Any]]) -> None:
    for one in said:
        readers = f"{one['readers']} other {'agency' if one['readers'] == 1 else 'agencies'}"
        match one["state"]:
            case "accepted":
                state = f"accepted {ist(parse_time(one['acceptedAt']))} at {one['partition']}/{one['offset']}"
            case "refused":
                state = f"refused by the broker, check {one['check']}; casebridge quarantine tells why"
            case "sent":
                state = "sent, not yet accepted; it counts when the broker has accepted it"
            case _:
                state = "kept, will be sent; nothing more is to be done"
        again = " (published before under this key)" if one["again"] else ""
        click.echo(f"{one['event']}  case {one['caseName']}  for {readers}: {state}{again}")


def compartments(names: tuple[str, ...]) -> list[Compartment]:
    """Compartments by name.

    Raises:
        InputError: no such compartment.
    """
    found = []
    for name in names:
        try:
            found.append(Compartment.of(name))
        except ValueError:
            raise InputError(f"--compartment: {name!r} is not a compartment; see docs/glossary.md") from None
    return found
