"""What the demo prints: a story for somebody who is no engineer, then the table, then what was refused."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from adapters.demo.script import Script, Step
from adapters.exchange import Exchange
from broker.audit.record import Kind
from broker.clock import ist
from broker.dispatch import Accepted, Quarantined
from broker.names import AgencyId, Millis

Echo = Callable[[str], None]

WIDTH: Final = 100
COLUMNS: Final = (
    "spotting", "case", "person-identity", "biometrics", "location", "medical", "suspect", "operational",
    "contact-reporter", "source", "legal", "aftercare",
)  # fmt: skip
HEADS: Final = ("spot", "case", "iden", "biom", "loca", "medi", "susp", "oper", "repo", "sour", "lega", "care")


def _wrap(text: str, indent: str = "   ") -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def opening(script: Script, exchange: Exchange, echo: Echo) -> None:
    """Who takes part."""
    echo(f"casebridge demo: case {script.case}, invented from beginning to end.")
    echo("")
    echo(
        _wrap(
            "Seventeen agencies, each with an adapter, keys and a folder of its own, exchange one case through a broker"
            " that can open none of it. Whatever is said below to be readable was opened, in that agency's folder, with"
            " that agency's keys.",
            "",
        )
    )
    echo("")
    for listed in script.agencies:
        echo(f"   {script.code[AgencyId(listed['id'])]:<4}{listed['name']:<55} {listed['id']}")
    echo("")


def message(step: Step, record: Mapping[str, Any], script: Script, sent_at: Millis, echo: Echo) -> None:
    """One message of the story."""
    variant = record.get("variant", "-")
    kind = record["type"] if variant == "-" else f"{record['type']} ({variant})"
    mark = "  *** EXERCISE ***" if record.get("status") == "Exercise" else ""
    echo(f"{step.id:<4}{ist(step.at)}  {script.code[step.author]}  {kind}{mark}")
    if sent_at != step.at:
        echo(_wrap(f"The desk was off line: sealed {ist(step.at)}, sent {ist(sent_at)}. Both times are kept.", "    "))
    echo(_wrap(step.story, "    "))


def rotation(echo: Echo) -> None:
    """A month has passed."""
    echo("    (a month has passed: every agency publishes a new prekey; nothing stops for it)")


def table(
    script: Script, messages: Mapping[str, Mapping[str, Any]], granted: Mapping[str, Mapping[str, Any]], echo: Echo
) -> None:
    """Who can open what."""
    echo("")
    echo("Who can open what. Each mark is a decryption in that agency's own folder.")
    echo("● every person of the message or not personal   1 or 2 only P-1 or P-2   g by a later grant")
    head = "".join(f"{name:<5}" for name in HEADS)
    for name, found in messages.items():
        echo("")
        echo(f"{name:<4} author {script.code[found['author']]:<25}{head}")
        more = granted.get(name, {}).get("views", {})
        for agency in sorted({*found["views"], *more}, key=lambda one: int(script.code[one][1:])):
            cells = _cells(found, agency, more.get(agency, {}))
            note = "" if any(cells) else "   header only"
            echo(
                f"     {script.code[agency]:<4}{_short(script, agency):<28}" + "".join(f"{c:<5}" for c in cells) + note
            )


def _short(script: Script, agency: AgencyId) -> str:
    name = next(str(one["name"]) for one in script.agencies if one["id"] == agency)
    return name.split(",")[0].split(" (")[0][:26]


def _cells(found: Mapping[str, Any], agency: AgencyId, more: Mapping[str, list[str]]) -> list[str]:
    everybody = {person for view in found["views"].values() for persons in view.values() for person in persons}
    everybody.discard("-")
    mine = found["views"].get(agency, {})
    cells = []
    for compartment in COLUMNS:
        persons = set(mine.get(compartment, ()))
        if persons and (persons == {"-"} or persons == everybody):
            cells.append("●")
        elif persons:
            cells.append("".join(sorted(person.removeprefix("P-") for person in persons)))
        else:
            cells.append("g" if compartment in more else "")
    return cells


def attempts_heading(echo: Echo) -> None:
    """Before the attempts."""
    echo("")
    echo("What was refused. Each was tried for real.")
    echo("")


def attempt(code: str, message: str, compartment: str, person: str | None, reason: str, story: str, echo: Echo) -> None:
    """One attempt."""
    whose = f" of {person}" if person else ""
    verdict = f"refused: {reason}" if reason else "NOT REFUSED: this is a fault"
    echo(f"{code:<4}opens {compartment}{whose} in {message}")
    echo(_wrap(verdict, "    "))
    echo(_wrap(story, "    "))


def altered(verdict: Accepted | Quarantined, echo: Echo) -> None:
    """One byte changed in the stored M05."""
    echo("HB  changes one byte of the stored M05")
    if isinstance(verdict, Quarantined):
        echo(_wrap(f"refused: check {verdict.check}: {verdict.reason}", "    "))
    else:
        echo(_wrap("NOT REFUSED: this is a fault", "    "))


def operator_search(script: Script, exchange: Exchange, echo: Echo) -> list[str]:
    """Searches the operator's files for every text of M01 that only readers may know; what was found."""
    held = b"".join(path.read_bytes() for path in exchange.operator_files())
    step = script.steps[0]
    texts = sorted({one for one in _texts(script.record(step)["personFields"]) if len(one) > 5})
    found = [one for one in texts if one.encode() in held]
    echo(f"HB  searches its {len(held):,} bytes for {len(texts)} texts of M01: name, home, clothing, photograph")
    if not held:
        found = ["(nothing to search)"]
    echo(_wrap("nothing found." if not found else "FOUND: this is a fault", "    "))
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def records(counts: Mapping[Kind, int], echo: Echo) -> None:
    """What the records say, each signed by the party whose step it was."""
    words = ", ".join(f"{counts[kind]} {kind.name.lower()}" for kind in sorted(counts))
    echo("AU  reads the signed records of every step")
    echo(_wrap(f"{words}.", "    "))


def closing(
    exchange: Exchange, messages: Mapping[str, Mapping[str, Any]], refused: list[dict[str, Any]], echo: Echo
) -> None:
    """What was done, and where it is to be looked at."""
    opened = sum(
        len(persons) for found in messages.values() for view in found["views"].values() for persons in view.values()
    )
    held = sum(1 for one in refused if one["reason"])
    echo("")
    echo(
        f"{len(messages)} messages, {opened} blocks opened by those who may, {held} of {len(refused)} attempts refused."
    )
    echo("")
    echo("Look around as one of them, for example the shelter:")
    home = exchange.home_folder(AgencyId("in.kl.ngo.marigold-nest"))
    key = exchange.folder / "unlock.key"
    echo(f"   casebridge --home {home} --key-file {key} inbox")
