"""``casebridge quarantine``, and what it shares with ``inbox`` and ``trace``."""

from __future__ import annotations

from typing import Any

import click

from adapters.adapter import Adapter
from adapters.cli.session import SHORT, agency_name, event_id, print_json, table, uuid_text, with_adapter
from adapters.inbox_file import Slice, State
from broker.checks import Check
from broker.clock import ist, rfc3339
from broker.names import CaseRef, case_name


def slice_json(one: Slice) -> dict[str, Any]:
    """One slice as the JSON of ``inbox`` and ``quarantine``."""
    arrival = one.arrival
    return {
        "event": uuid_text(arrival.event_id),
        "root": arrival.root.hex(),
        "case": arrival.case.hex(),
        "caseName": case_name(arrival.case),
        "type": arrival.type,
        "variant": arrival.variant,
        "author": arrival.author,
        "acceptedAt": rfc3339(arrival.accepted_at) if arrival.accepted_at is not None else None,
        "receivedAt": rfc3339(one.received_at),
        "state": arrival.state.name.lower(),
        "needs": arrival.needs or None,
        "check": arrival.check,
        "reason": arrival.reason or None,
        "opened": one.opened,
    }


def incidents(adapter: Adapter) -> list[dict[str, Any]]:
    """Gaps and forks in what publishers numbered for this agency."""
    casebook = adapter.home.inbox.casebook
    gaps = [
        {"check": int(Check.COUNTER_GAP), "publisher": one, "incarnation": life, "missing": count}
        for one, life, count in casebook.gaps()
    ]
    forks = [
        {"check": int(Check.CHAIN_FORK), "publisher": one, "incarnation": life, "sequence": number}
        for one, life, number in casebook.forks()
    ]
    return [*gaps, *forks]


def print_incidents(found: list[dict[str, Any]]) -> None:
    """Incidents in words."""
    for one in found:
        if "missing" in one:
            what = f"{one['missing']} messages of {one['publisher']} for this agency have not arrived"
        else:
            what = f"two messages of {one['publisher']} claim the same number {one['sequence']}"
        click.secho(f"incident, check {one['check']}: {what}; tell the exchange's operator", fg="red")


def findings(adapter: Adapter, case: CaseRef | None = None) -> list[dict[str, Any]] | None:
    """What an auditor found in ledgers; None for all others, who compare nothing."""
    if not adapter.reviewer.at_work:
        return None
    return [
        {
            "event": uuid_text(one.event_id),
            "caseName": case_name(one.case),
            "check": one.check,
            "agency": one.agency,
            "finding": one.reason,
            "foundAt": rfc3339(one.at),
        }
        for one in adapter.home.inbox.findings.found(case)
    ]


def print_findings(adapter: Adapter, found: list[dict[str, Any]]) -> None:
    """Findings in words, each with the agency to be asked."""
    for one in found:
        click.secho(
            f"finding, check {one['check']}: {one['finding']}; event {one['event'][:SHORT]} of {one['caseName']}, "
            f"ask {agency_name(adapter, one['agency'])}",
            fg="red",
        )


@click.command()
@click.argument("event", required=False)
@click.option("--fail-if-any", is_flag=True, help="Exit with 1 if something is listed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def quarantine(ctx: click.Context, event: str | None, fail_if_any: bool, as_json: bool) -> int:
    """List what failed a check, here or at the broker: the number of the check, its name and the reason.

    With EVENT, only what concerns that event. An event in quarantine changes nothing and is never opened. An auditor
    is told, too, what it found in ledgers: those events are valid, and stay so.
    """

    async def work(adapter: Adapter) -> int:
        inbox = adapter.home.inbox
        told = findings(adapter)
        if event is None:
            found, odd = inbox.slices(state=State.QUARANTINED, limit=1_000), incidents(adapter)
        else:
            named = event_id(adapter, event)
            found, odd = [one for one in inbox.slices_of(named) if one.arrival.state is State.QUARANTINED], []
            told = told and [one for one in told if one["event"] == uuid_text(named)]
        if as_json:
            print_json({"quarantine": [slice_json(one) for one in found], "incidents": odd, "findings": told})
        elif not found:
            click.echo("Nothing is in quarantine." if event is None else "Nothing of this event is in quarantine.")
        elif event is None:
            table(("event", "received", "from", "check", "reason"), [_row(adapter, one) for one in found])
        else:
            for one in found:
                _print_one(adapter, one)
        if not as_json:
            print_incidents(odd)
            print_findings(adapter, told or [])
        return 1 if fail_if_any and (found or odd or told) else 0

    return with_adapter(ctx, work)


def _check(one: Slice) -> str:
    number = one.arrival.check
    if number is None:
        return "-"
    try:
        return f"{number} {Check(number).name.lower().replace('_', ' ')}"
    except ValueError:  # a newer broker knows more checks
        return str(number)


def _row(adapter: Adapter, one: Slice) -> tuple[str, ...]:
    author = one.arrival.author
    return (
        uuid_text(one.arrival.event_id)[:SHORT],
        ist(one.received_at),
        agency_name(adapter, author) if author else "-",
        _check(one),
        one.arrival.reason,
    )


def _print_one(adapter: Adapter, one: Slice) -> None:
    arrival = one.arrival
    lines = [
        ("event", uuid_text(arrival.event_id)),
        ("case", f"{case_name(arrival.case)}  {arrival.case.hex()}"),
        ("type", arrival.type or "-"),
        ("from", f"{agency_name(adapter, arrival.author)} ({arrival.author})" if arrival.author else "-"),
        ("received", ist(one.received_at)),
        ("check", f"{_check(one)} (docs/spec/envelope.md, numbered checks)"),
        ("reason", arrival.reason),
    ]
    for name, value in lines:
        click.echo(f"{name:<9} {value}")
    click.echo("")
