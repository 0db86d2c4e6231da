"""What the records tell of a case, for reading: one line for each record, its place in the log, and a verdict."""

from __future__ import annotations

import click

from adapters.adapter import Adapter
from adapters.audit import Believed
from adapters.cli.session import SHORT, agency_name, table, uuid_text
from adapters.tracing import UNCHECKED, UNPROVED, WAITS, Line, Told
from broker.clock import ist


def print_told(adapter: Adapter, told: Told, believed: Believed | None) -> None:
    """The lines, and the verdict: red where anything does not verify."""
    if not told.notarized:
        click.secho("The audit topic is empty: no notary runs, so nothing is proved.", fg="yellow")
        return
    click.echo("")
    table(("time (IST)", "what", "who", "event", "entry", "proof", ""), [_row(adapter, line) for line in told.lines])
    click.echo("")
    for line in told.faults:
        event = f" (event {uuid_text(line.event)[:SHORT]})" if line.event else ""
        whom = "the operator of the log" if line.fault == UNPROVED else agency_name(adapter, line.agency)
        click.secho(f"{ist(line.at)} {line.what}{event}: {line.fault}; ask {whom}", fg="red")
    text, colour = verdict(told, believed)
    click.secho(text, fg=colour, bold=colour == "red")


def verdict(told: Told, believed: Believed | None) -> tuple[str, str]:
    """The verdict in a sentence, and its colour."""
    if told.faults:
        count = len(told.faults)
        return f"{count} {'line does' if count == 1 else 'lines do'} not verify.", "red"
    if believed is None or any(line.proof == UNCHECKED for line in told.lines):
        return "Every signature verifies. Places in the log were not checked: name the log with --log.", "yellow"
    waiting = sum(line.proof == WAITS for line in told.lines)
    if waiting:
        return f"Every signature verifies; {waiting} lines are newer than the log's checkpoint.", "yellow"
    said = believed.checkpoint
    return f"Every line verifies: signed by its author and proved in {said.origin} at {said.size} entries.", "green"


def _row(adapter: Adapter, line: Line) -> tuple[str, ...]:
    return (
        ist(line.at)[:19],
        line.what,
        agency_name(adapter, line.agency) if line.agency else "-",
        uuid_text(line.event)[:SHORT] if line.event else "-",
        "-" if line.place is None else str(line.place),
        "DOES NOT VERIFY" if line.fault else line.proof,
        reason(line),
    )


def reason(line: Line) -> str:
    """What was read of whom, by which post, for what purpose and on what ground; else the line's own words."""
    if not line.compartments:
        return line.words
    whose = " or ".join(line.persons)
    parts = [", ".join(line.compartments) + (f" of {whose}" if whose not in ("", "-") else "")]
    parts.append(f"by {line.post} for {line.purpose}")
    if line.ground:
        parts.append(f"on the ground: {line.ground}")
    return ", ".join(parts)
