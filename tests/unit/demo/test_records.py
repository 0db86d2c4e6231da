"""The scenario of the demo: every record is accepted, says all that its author may say, and is plainly invented."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from broker.clock import SetClock, parse_time
from broker.event.catalogue import Catalogue
from broker.event.model import Event
from broker.event.record import parse
from broker.names import PERSON_SCOPED, CaseRef, Compartment, EventId, PersonRef

ROOT: Final = Path(__file__).parents[3]
DEMO: Final = ROOT / "adapters" / "demo"
SCENARIO: Final[dict[str, Any]] = json.loads((DEMO / "scenario.json").read_text("utf-8"))
RECORDS: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted((DEMO / "records").glob("*.json"))
}
EXPECTED: Final[dict[str, Any]] = json.loads((ROOT / "tests" / "data" / "expected_views.json").read_text("utf-8"))
STEPS: Final[dict[str, dict[str, Any]]] = {step["id"]: step for step in SCENARIO["steps"]}
AGENCIES: Final[dict[str, dict[str, Any]]] = {agency["code"]: agency for agency in SCENARIO["agencies"]}
MESSAGES: Final = sorted(name for name, record in RECORDS.items() if not Catalogue.load().type(record["type"]).control)

NOT_WRITTEN: Final[Mapping[str, frozenset[Compartment]]] = {
    "K6": frozenset({Compartment.SOURCE}),
}
"""What the author of a message may not write though its type has it (domain, senders): a drill of the national cell
has no source."""

NAMES: Final = frozenset(
    {
        "person.fullName",
        "person.aliases",
        "person.guardianNames",
        "reporter.name",
        "name",
        "alias",
    }
)
INVENTED: Final = re.compile(
    "Tara|Taru|तारा|तारू|Sumitra|सुमित्रा|Rokeya|রোকেয়া|Ruku|Hasina|Bablu|Kailash|Kaka|Demo|EXERCISE|unknown"
)


@dataclass(slots=True)
class Known:
    """A view of cases that knows the names of the scenario."""

    opened: frozenset[str] = frozenset(SCENARIO["cases"])
    persons: dict[tuple[CaseRef, str], PersonRef] = field(default_factory=dict)

    def resolve_case(self, text: str) -> CaseRef | None:
        return CaseRef(hashlib.sha256(text.encode()).digest()[:16]) if text in self.opened else None

    def person(self, case: CaseRef, alias: str) -> PersonRef | None:
        return PersonRef(hashlib.sha256(case + alias.encode()).digest()[:16])

    def aliases(self, case: CaseRef) -> Mapping[PersonRef, str]:
        return {}

    def kind_of(self, event: EventId) -> tuple[str, str] | None:
        return None


class Zeros:
    """Randomness is not what is tested here."""

    def bytes(self, size: int) -> bytes:
        return bytes(size)


def event_id(step: str) -> str:
    """An event id that stands for the message of a step."""
    return str(uuid.UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0000 | sorted(STEPS).index(step)))


def event_of(name: str) -> Event:
    """The event that a record says, with the names of messages resolved."""

    def resolved(value: Any) -> Any:
        match value:
            case str() if value in STEPS:
                return event_id(value)
            case list():
                return [resolved(item) for item in value]
            case dict():
                return {key: resolved(item) for key, item in value.items()}
            case _:
                return value

    at = parse_time(STEPS[name]["at"])
    return parse(resolved(RECORDS[name]), case=Known(), clock=SetClock(at), random=Zeros())


def texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each text of a record with the keys above it; the bytes and hashes of files are left out."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key not in {"bytes", "sha256", "mime", "lang"} and not (key == "name" and "mime" in value):
                yield from texts(item, (*path, key))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, path)
    elif isinstance(value, str):
        yield path, value


def files(value: Any) -> Iterator[dict[str, Any]]:
    """Each file that a record carries."""
    if isinstance(value, dict):
        if "mime" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from files(item)


def blocks_of(event: Event) -> dict[str, list[str]]:
    """Compartments of an event to the aliases of their persons, ``-`` where they are not personal."""
    found: dict[str, list[str]] = {}
    for compartment, person in event.blocks:
        found.setdefault(compartment.label, []).append("-" if person is None else event.aliases[person])
    return found


def test_steps_and_records_are_the_same() -> None:
    """Every step of the scenario has its record, and no record is left over."""
    assert {step["record"] for step in STEPS.values()} == {f"{name}.json" for name in RECORDS}
    assert len(STEPS) == len(SCENARIO["steps"]) == 28


def test_steps_follow_one_another() -> None:
    """The steps stand in the order in which they happen, each at the time of its record."""
    times = [parse_time(step["at"]) for step in SCENARIO["steps"]]
    assert times == sorted(times)
    assert all(RECORDS[name]["actAt"] == step["at"] for name, step in STEPS.items())


def test_each_case_is_opened_by_its_first_step() -> None:
    """A case is opened by the first message that names it, and only cases of the scenario occur."""
    first: dict[str, str] = {}
    for name in STEPS:
        first.setdefault(RECORDS[name]["case"], name)
    assert first == SCENARIO["cases"]


@pytest.mark.parametrize("name", STEPS)
def test_record_is_accepted(name: str) -> None:
    """A record of the demo passes every check of the schemas."""
    event = event_of(name)
    assert event.type == RECORDS[name]["type"]
    assert list(event.to) == RECORDS[name]["to"]


@pytest.mark.parametrize("name", MESSAGES)
def test_record_fills_every_compartment(name: str) -> None:
    """Which blocks exist does not depend on the story: every compartment that the author may write is filled, for every person."""
    event = event_of(name)
    may = set(Catalogue.load().compartments(event.type, event.variant)) - NOT_WRITTEN.get(name, frozenset())
    wanted = {(it, person) for it in may for person in (event.persons if it in PERSON_SCOPED else (None,))}
    assert set(event.blocks) == wanted


def test_what_is_not_written_is_so_in_the_scenario() -> None:
    """The list of exceptions names only what a message would otherwise have."""
    assert set(MESSAGES) >= set(NOT_WRITTEN)
    for name, left_out in NOT_WRITTEN.items():
        assert left_out <= set(Catalogue.load().compartments(RECORDS[name]["type"], RECORDS[name].get("variant", "-")))


@pytest.mark.parametrize("name", STEPS)
def test_expected_views_are_of_those_addressed(name: str) -> None:
    """The author opens all that it wrote, nobody opens more, and a view is stated for the addressees and for who has a grant."""
    row, event = EXPECTED[name], event_of(name)
    author = AGENCIES[STEPS[name]["author"]]["id"]
    granted = {AGENCIES[it["to"]]["id"] for it in SCENARIO["grants"] if it["step"] == "G1" and name in it["messages"]}
    assert row["author"] == author
    assert set(row["views"]) == {author, *event.to} | granted
    written = {} if Catalogue.load().type(event.type).control else blocks_of(event)
    assert row["views"][author] == written
    for view in row["views"].values():
        assert all(set(persons) <= set(written[it]) for it, persons in view.items())


@pytest.mark.parametrize(
    "attempt", SCENARIO["refusals"], ids=lambda it: f"{it['agency']} {it['message']} {it['compartment']}"
)
def test_refused_attempts_are_not_expected_views(attempt: Mapping[str, Any]) -> None:
    """What the demo shows as refused is written in that message and is in no view of that agency, not even by a later grant."""
    reader, message, person = AGENCIES[attempt["agency"]]["id"], attempt["message"], attempt["person"] or "-"
    assert person in blocks_of(event_of(message))[attempt["compartment"]]
    for views in (EXPECTED[message]["views"], EXPECTED["granted"].get(message, {"views": {}})["views"]):
        assert person not in views.get(reader, {}).get(attempt["compartment"], [])


@pytest.mark.parametrize("name", STEPS)
def test_files_are_what_their_hash_says(name: str) -> None:
    """A file that rides in a record has the hash that stands beside it; a photograph is a small JPEG that carries no Exif."""
    for file in files(RECORDS[name]):
        data = base64.b64decode(file["bytes"], validate=True)
        assert hashlib.sha256(data).hexdigest() == file["sha256"]
        assert len(data) < 3_000
        if file["mime"] == "image/jpeg":
            assert data.startswith(b"\xff\xd8\xff\xe0")
            assert data.endswith(b"\xff\xd9")
            assert b"Exif" not in data
        else:
            assert file["mime"] == "application/pdf"
            assert data.startswith(b"%PDF-1.4")


def test_there_are_photographs_and_papers() -> None:
    """The scenario carries several pictures and several papers, so that the test of their hashes has something to look at."""
    kinds = [file["mime"] for record in RECORDS.values() for file in files(record)]
    assert kinds.count("image/jpeg") > 5
    assert kinds.count("application/pdf") > 3


@pytest.mark.parametrize("name", STEPS)
def test_no_number_is_real(name: str) -> None:
    """Telephone numbers are of a range that nobody has, numbers of papers are all noughts, and nothing looks like an Aadhaar number."""
    for path, text in texts(RECORDS[name]):
        if text.startswith("+"):
            assert re.fullmatch(r"\+(91|880)00000[0-9]{5}", text), path
        elif path[-1] in {"no", "last4", "sealNo", "regNo"}:
            assert re.fullmatch(r"(?:[A-Z-]*)(?:00-DEMO-)?0+[01]?", text), path
        else:
            assert not re.search(r"[0-9]{5}", text), path


@pytest.mark.parametrize("name", STEPS)
def test_no_person_is_real(name: str) -> None:
    """Every name is one of the few that were invented for the scenario."""
    for path, text in texts(RECORDS[name]):
        if NAMES & set(path):
            assert INVENTED.search(text), path


@pytest.mark.parametrize("name", STEPS)
def test_drafts_of_a_machine_say_so(name: str) -> None:
    """Marathi and Malayalam are machine drafts in this scenario and marked so; no other text is."""

    def drafts(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            if "lang" in value:
                yield value
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from drafts(item)

    found = list(drafts(RECORDS[name]))
    assert all(text["machine"] == (text["lang"] in {"mr-IN", "ml-IN"}) for text in found)
    assert name != "M01" or {"hi-IN", "en-IN", "mr-IN", "ml-IN"} <= {text["lang"] for text in found}


def test_the_drill_is_marked() -> None:
    """Only the drill is an exercise, in a case of its own, and whoever sees a text of it sees that it is one."""
    assert [name for name, record in RECORDS.items() if record.get("status", "Actual") != "Actual"] == ["K6"]
    assert [name for name, record in RECORDS.items() if record["case"] == RECORDS["K6"]["case"]] == ["K6"]
    marked = ("person.fullName", "spot.clothing", "spot.instruction", "seen.lastArea", "reporter.name")
    fields = RECORDS["K6"]["personFields"]["D-1"]
    assert all("EXERCISE" in json.dumps(fields[it]) for it in marked)
