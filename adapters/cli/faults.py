"""``casebridge quarantine``, and what it shares with ``inbox`` and ``trace``."""

from __future__ import annotations

from typing import Any

import click

from adapters.adapter import Adapter
from adapters.cli.session import print_json, table, uuid_text, with_adapter
from adapters.inbox_file import Slice, State
from broker.checks import Check
from broker.clock import ist, rfc3339
from broker.names import case_name


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


@click.command()
@click.option("--fail-if-any", is_flag=True, help="Exit with 1 if something is in quarantine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def quarantine(ctx: click.Context, fail_if_any: bool, as_json: bool) -> int:
    """List what failed a check, here or at the broker: the number of the check, its name and the reason."""

    async def work(adapter: Adapter) -> int:
        found = adapter.home.inbox.slices(state=State.QUARANTINED, limit=1_000)
        if as_json:
            print_json([*[slice_json(one) for one in found], *incidents(adapter)])
        elif not found:
            click.echo("Nothing is in quarantine.")
        else:
            rows = [
                (
                    uuid_text(one.arrival.event_id)[:13],
                    ist(one.received_at),
                    one.arrival.author or "-",
                    f"{one.arrival.check} {Check(one.arrival.check or 2).name.lower().replace('_', ' ')}",
                    one.arrival.reason,
                )
                for one in found
            ]
            table(("event", "received", "from", "check", "reason"), rows)
        for one in [] if as_json else incidents(adapter):
            click.secho(f"incident, check {one['check']}: {one}", fg="red")
        return 1 if fail_if_any and found else 0

    return with_adapter(ctx, work)
