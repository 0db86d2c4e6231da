"""``casebridge preview`` and ``casebridge publish``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click

from adapters.adapter import Adapter
from adapters.cli.session import agency_name, print_json, table, uuid_text, with_adapter
from adapters.publisher import Prepared, Published
from broker import limits
from broker.authority.model import Entry
from broker.errors import InputError
from broker.names import Basis, Compartment, case_name


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

    async def work(adapter: Adapter) -> None:
        for raw in read_records(file):
            prepared = adapter.publisher.prepare(raw)
            if as_json:
                print_json(_preview_json(prepared))
            else:
                _print_preview(adapter, prepared)

    with_adapter(ctx, work)


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
    click.secho(f"{event.type} ({event.variant})" if event.variant != "-" else event.type, bold=True)
    where = "opens a new case" if event.case is None else f"case {case_name(prepared.case)}"
    click.echo(f"{where}; persons {', '.join(event.aliases[person] for person in event.persons)}")
    for warning in plan.warnings:
        click.secho(f"note: {warning}", fg="yellow")
    for one in plan.mandates:
        whose = f" for {event.aliases[one.person]}" if one.person else ""
        click.echo(f"gives {one.role.label} to {agency_name(adapter, one.agency)}{whose}")
    click.echo("")
    keys = sorted(event.blocks, key=lambda key: (key[0], event.aliases.get(key[1], "") if key[1] else ""))
    for reader in plan.readers:
        roles = ", ".join(dict.fromkeys(held.role.label for held in reader.roles)) or "no role"
        click.secho(f"{agency_name(adapter, reader.agency)}  {reader.agency}  [{roles}]", bold=True)
        reads = {entry.block: _why(entry) for entry in reader.entries}
        rows = []
        for key in keys:
            ask = {"q": "no; may ask its owner", "x": "no; only with an order number"}
            verdict = f"reads, {reads[key]}" if key in reads else ask.get(reader.withheld.get(key, ""), "no")
            rows.append((f"   {key[0].label}", event.aliases[key[1]] if key[1] else "-", verdict))
        if all(key not in reads for key in keys):
            click.echo("   header only")
        table(("   compartment", "person", "may read"), rows)
        click.echo("")
    click.echo("Nothing was sent.")


@click.command()
@click.argument("file")
@click.option("--idempotency-key", help="A name of your own: calling again with it sends nothing twice.")
@click.option("--wait", default=5.0, show_default=True, help="Seconds to wait for the broker's acceptance.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def publish(
    ctx: click.Context,
    file: str,
    idempotency_key: str | None,
    wait: float,
    as_json: bool,
) -> None:
    """Seal the record in FILE (``-`` for standard input; JSON, or JSON Lines) and send it.

    All records of a file are kept, or none. What is kept is sent now or, if the stream is out of reach, later.
    """

    async def work(adapter: Adapter) -> None:
        records = read_records(file)
        if idempotency_key is not None and len(records) > 1:
            raise InputError("an idempotency key is for one record", field="--idempotency-key")
        published = adapter.publisher.publish(records, idempotency_key=idempotency_key)
        if not ctx.obj["offline"]:
            await adapter.send()
            await _wait(adapter, published, wait)
        said = [_state(adapter, one) for one in published]
        if as_json:
            print_json(said)
            return
        for one in said:
            click.echo(f"{one['event']}  case {one['caseName']}  {one['state']}")

    with_adapter(ctx, work)


async def _wait(adapter: Adapter, published: list[Published], seconds: float) -> None:
    left = seconds
    while left > 0 and not all(adapter.accepted(one.case, one.root) for one in published):
        if any(_refused(adapter, one) is not None for one in published):
            return
        step = min(left, 0.5)
        if not await adapter.receive(wait=step):
            await asyncio.sleep(0)
        left -= step


def _refused(adapter: Adapter, one: Published) -> int | None:
    return adapter.home.outbox.get(one.event_id).check


def _state(adapter: Adapter, one: Published) -> dict[str, Any]:
    kept = adapter.home.outbox.get(one.event_id)
    own = adapter.home.inbox.by_root(one.root)
    if kept.check is not None:
        state = f"refused by the broker, check {kept.check}; see casebridge quarantine"
    elif own is not None and own.arrival.accepted is not None:
        place = own.arrival.accepted
        state = f"accepted at {place.partition}/{place.offset}"
    else:
        state = "kept in the outbox; it is sent and accepted when stream and broker are there"
    return {
        "event": uuid_text(one.event_id),
        "case": one.case.hex(),
        "caseName": case_name(one.case),
        "root": one.root.hex(),
        "state": state,
        "again": one.again,
    }


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
