"""``casebridge trace``: a case as this agency knows it."""

from __future__ import annotations

from typing import Any

import click

from adapters.adapter import Adapter
from adapters.casefile import CaseFile
from adapters.cli.faults import findings, incidents, print_findings, print_incidents
from adapters.cli.read import ist_of
from adapters.cli.session import agency_name, print_json, table, uuid_text, with_adapter
from adapters.cli.words import kind_of, print_roles
from broker.authority.model import Fact
from broker.clock import rfc3339
from broker.names import case_name


@click.command()
@click.argument("case")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def trace(ctx: click.Context, case: str, as_json: bool) -> None:
    """Tell CASE as this agency knows it: messages, roles, phases, grants, openings, and what does not fit.

    An auditor is told, too, where a ledger differs from its envelope, or gives more or less than the rules.
    """

    async def work(adapter: Adapter) -> None:
        file = adapter.files.get(adapter.files.known(case))
        said = _trace_json(adapter, file)
        said["findings"] = findings(adapter, file.case)
        if said["findings"] is not None:
            said["notCompared"] = adapter.home.inbox.findings.left(file.case)
        if as_json:
            print_json(said)
        else:
            _print_trace(adapter, said)

    with_adapter(ctx, work)


def _trace_json(adapter: Adapter, file: CaseFile) -> dict[str, Any]:
    state = file.state
    return {
        "case": file.case.hex(),
        "caseName": case_name(file.case),
        "persons": [
            {"person": name, "reference": person.hex(), "phase": state.phase(person).label}
            for person, name in sorted(file.aliases.items(), key=lambda one: one[1])
        ],
        "messages": [
            _message_json(adapter, file, fact) for fact in sorted(state.facts.values(), key=lambda fact: fact.position)
        ],
        "roles": _roles_json(adapter, file),
        "grants": [
            {
                "event": uuid_text(grant.id),
                "by": grant.grantor,
                "to": grant.agency,
                "compartments": sorted(one.label for one in grant.compartments),
                "until": rfc3339(grant.until),
                "live": state.grant_live(grant, adapter.home.clock.now()),
            }
            for grant in state.grants.values()
        ],
        "incidents": incidents(adapter),
    }


def _message_json(adapter: Adapter, file: CaseFile, fact: Fact) -> dict[str, Any]:
    openings = adapter.home.inbox.openings(fact.event_id)
    return {
        "event": uuid_text(fact.event_id),
        "acceptedAt": rfc3339(fact.accepted_at),
        "position": fact.position,
        "type": fact.type,
        "variant": fact.variant,
        "status": fact.status.label,
        "author": fact.author,
        "sentAs": sorted({role.label for role in fact.sender_roles}),
        "effect": file.state.effect(fact.event_id).value or "in effect",
        "given": sorted({key[0].label for key in fact.compartments}),
        "opened": [
            {"compartment": one.compartment.label, "post": one.post, "purpose": one.purpose, "at": rfc3339(one.at)}
            for one in openings
        ],
    }


def _roles_json(adapter: Adapter, file: CaseFile) -> list[dict[str, Any]]:
    now = adapter.home.clock.now()
    return [
        {
            "role": holder.given.mandate.role.label,
            "agency": holder.given.mandate.agency,
            "person": file.aliases.get(holder.given.mandate.person) if holder.given.mandate.person else None,
            "givenBy": holder.given.mandate.giver,
            "event": uuid_text(holder.given.mandate.event_id),
            "holds": holder.live(now),
        }
        for holder in file.state.holders.values()
    ]


def _print_trace(adapter: Adapter, said: dict[str, Any]) -> None:
    click.secho(f"Case {said['caseName']}  {said['case']}", bold=True)
    for one in said["persons"]:
        click.echo(f"   {one['person']}: {one['phase']}")
    click.echo("")
    rows = [
        (
            ist_of(one["acceptedAt"]),
            kind_of(one["type"], one["variant"]),
            agency_name(adapter, one["author"]),
            "+".join(one["sentAs"]),
            "" if one["effect"] == "in effect" else f"no effect: {one['effect']}",
            f"opened {len(one['opened'])}" if one["opened"] else "",
        )
        for one in said["messages"]
    ]
    table(("accepted", "message", "from", "as", "", ""), rows)
    click.echo("")
    holding = [
        (
            one["role"],
            agency_name(adapter, one["agency"]),
            one["person"] or "the case",
            "holds" if one["holds"] else "ended",
        )
        for one in said["roles"]
    ]
    table(("role", "agency", "for", ""), holding)
    for one in said["grants"]:
        state = "live" if one["live"] else "ended"
        what = ", ".join(one["compartments"])
        click.echo(f"grant by {one['by']} to {one['to']}: {what}, until {ist_of(one['until'])}, {state}")
    click.echo("")
    sent_as = [role for one in said["messages"] for role in one["sentAs"]]
    print_roles([*sent_as, *(one["role"] for one in said["roles"])])
    print_incidents(said["incidents"])
    if said["findings"] is not None:
        print_findings(adapter, said["findings"])
        if said["notCompared"]:
            count = said["notCompared"]
            click.secho(f"messages not compared with their ledgers yet, or erased since: {count}", fg="yellow")
        elif not said["findings"]:
            click.secho("Every ledger fits its envelope and the rules.", fg="green")
