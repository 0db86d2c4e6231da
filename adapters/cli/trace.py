"""``casebridge trace``: a case as this agency knows it, and, for an auditor, as the records tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adapters.adapter import Adapter
from adapters.audit import Believed, audit_stream
from adapters.audit_file import AuditFile
from adapters.casefile import CaseFile
from adapters.cli.faults import findings, incidents, print_findings, print_incidents
from adapters.cli.fsck import believed_log, log_options
from adapters.cli.progress import progress
from adapters.cli.read import ist_of
from adapters.cli.session import agency_name, event_id, print_json, table, uuid_text, with_adapter
from adapters.cli.told import print_told
from adapters.cli.words import kind_of, print_roles
from adapters.trace_page import page
from adapters.tracing import Told, as_values, follow, names, tell
from broker.authority.model import Fact
from broker.clock import rfc3339
from broker.errors import InputError, Refused
from broker.names import AgencyId, Compartment, EventId, case_name
from broker.stream.topics import AUDIT


@click.command()
@click.argument("case", metavar="EVENT|CASE")
@log_options
@click.option("--compartment", help="Only who read, or tried to read, this compartment, for example biometrics.")
@click.option("--person", help="Only readings of this person, for example P-1.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write one page that opens off line.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def trace(ctx: click.Context, /, case: str, html: Path | None, as_json: bool, **options: Any) -> int:
    """Tell a case, or one event of it, as this agency knows it: messages, roles, grants, openings, what does not fit.

    An auditor is told the records, too: who sent, who could read what and on what ground, who received, who opened
    what when and why, what was refused, overdue or missing; each line with its place in the log, proved with --log.
    Exits with 1 where something does not verify.
    """
    compartment, person = options["compartment"], options["person"]
    wanted = Compartment.of(compartment).label if compartment is not None else None

    async def work(adapter: Adapter) -> int:
        event, file = _which(adapter, case)
        if person is not None and person not in names(file).values():
            known = ", ".join(sorted(names(file).values()))
            raise InputError(f"--person: {person!r} is not known in this case; known are: {known}", field="person")
        believed = believed_log(options["source"], options["log_key"], options["log_policy"])
        said = _trace_json(adapter, file)
        if event is not None:
            said["messages"] = [one for one in said["messages"] if one["event"] == uuid_text(event)]
        said["findings"] = findings(adapter, file.case)
        told: Told | None = None
        if said["findings"] is not None:
            said["notCompared"] = adapter.home.inbox.findings.left(file.case)
            told = await _told(adapter, file, believed, offline=ctx.obj["offline"])
            told = told.only(event=event, compartment=wanted, person=person)
            said["audit"] = as_values(told, believed)
        elif any(options.values()):
            raise Refused("only an auditor reads the audit topic; leave out --log, --compartment and --person")
        if html is not None:
            html.write_text(page(said, lambda agency: agency_name(adapter, AgencyId(agency))), "utf-8")
        if as_json:
            print_json(said)
        elif wanted is None and person is None:
            _print_trace(adapter, said)
        if told is not None and not as_json:
            print_told(adapter, told, believed)
        return 1 if told is not None and told.faults else 0

    return with_adapter(ctx, work)


def _which(adapter: Adapter, text: str) -> tuple[EventId | None, CaseFile]:
    """The event that is named, if one is, and its case."""
    case = adapter.files.resolve_case(text)
    if case is None and _like_event(text):
        event = event_id(adapter, text)
        return event, adapter.files.get(adapter.home.inbox.get(event).arrival.case)
    return None, adapter.files.get(case if case is not None else adapter.files.known(text))


def _like_event(text: str) -> bool:
    digits = text.replace("-", "").lower()
    return len(digits) >= 8 and not set(digits) - set("0123456789abcdef")


async def _told(adapter: Adapter, file: CaseFile, believed: Believed | None, *, offline: bool) -> Told:
    """The records of a case, after what is new in the audit topic was taken in."""
    kept = AuditFile.open(adapter.home.folder)
    try:
        if not offline:
            async with audit_stream(adapter) as stream:
                waiting = (await stream.ends(AUDIT)).get(0, 0) - kept.next
                with progress(waiting, "audit topic") as tick:
                    await follow(stream, kept, tick)
        return tell(adapter, file, kept, believed)
    finally:
        kept.close()


def _trace_json(adapter: Adapter, file: CaseFile) -> dict[str, Any]:
    state = file.state
    return {
        "case": file.case.hex(),
        "caseName": case_name(file.case),
        "persons": [
            {"person": name, "reference": person.hex(), "phase": state.phase(person).label}
            for person, name in sorted(names(file).items(), key=lambda one: one[1])
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
            "person": names(file).get(holder.given.mandate.person) if holder.given.mandate.person else None,
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
