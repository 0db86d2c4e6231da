"""What docs/commands.md says of commands, and what commands print for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.commands import commands
from tests.architecture.source import ROOT
from tests.story.small_exchange import HOME, OTHER, alert
from tests.unit.cli.terminal import Desk, typed

SECTIONS: Final = re.split(r"^## ", (ROOT / "docs" / "commands.md").read_text(), flags=re.MULTILINE)
SHARED: Final = frozenset({"--home", "--key-file", "--passphrase-file", "--offline", "--debug", "--json"})
NO_DATA: Final = frozenset(
    {"adapter run", "broker run", "completion", "init", "notary run", "stream create", "stream enrol"}
)
"""Commands that print nothing that a program would read."""


def undocumented_options(sections: list[str], program: dict[str, frozenset[str]]) -> list[str]:
    """Options that stand in none of the sections that show their command; those for all stand in the first."""
    found = [f"casebridge {one}" for one in (*SHARED, *program[""]) if f"`{one}" not in sections[0]]
    for name, options in program.items():
        shown = "".join(section for section in sections if name and f"casebridge {name}" in section)
        own = [one for one in options - SHARED if one.startswith("--") and name]
        found += [f"casebridge {name} {one}" for one in own if not re.search(rf"[`\[ ]{one}\b", shown)]
    return sorted(found)


def test_every_option_is_documented() -> None:
    """Each option of a command stands where docs/commands.md shows the command."""
    assert not undocumented_options(SECTIONS, commands())


def test_an_option_that_is_not_documented_is_found() -> None:
    """An option that only another section has, and one for all that the first lacks, are found."""
    program = {"": frozenset({"--version"}), "fly": frozenset({"--high"})}
    first = " ".join(f"`{one}`" for one in (*SHARED, "--version"))
    assert undocumented_options([first, "`casebridge fly`", "`--high`"], program) == ["casebridge fly --high"]
    assert undocumented_options([first[2:], "`casebridge fly --high`"], program)


def test_every_command_that_prints_data_takes_json() -> None:
    """``--json`` is there for all but those that print nothing for programs."""
    program = commands()
    below = {name for name in program if name and not any(other.startswith(f"{name} ") for other in program)}
    assert {name for name in below if "--json" not in program[name]} == NO_DATA


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """An exchange with a case."""
    return Desk.create(tmp_path_factory.mktemp("json") / "exchange")


@pytest.fixture(scope="module")
def event(desk: Desk) -> dict[str, str]:
    """What a command said of a message that has arrived."""
    return desk.publish(alert())


OF_AN_AGENCY: Final = (
    "inbox",
    "show {event}",
    "open {event} --post duty-officer --purpose case-work",
    "trace {case}",
    "quarantine",
    "quarantine {event}",
    "keys show",
    "keys rotate",
    "keys rotate --signing",
    "keys destroy-expired",
    "keys erase {case} --yes",
)


@pytest.mark.parametrize("line", OF_AN_AGENCY)
def test_json_is_one_document_and_nothing_else(line: str, desk: Desk, event: dict[str, str]) -> None:
    """Standard output is JSON, from its first byte to its last; times in it are in UTC."""
    done = desk.types(OTHER, *line.format(**event).split(), "--json")
    assert (done.code, done.err) == (0, "")
    assert done.json is not None
    assert "IST" not in done.out


@pytest.mark.parametrize("line", ["policy matrix --type ack", "policy check", "policy explain ack access AU"])
def test_json_of_policies_is_one_document(line: str) -> None:
    """The same for what needs no home."""
    assert typed(*line.split(), "--json").json


def test_json_of_records_is_one_document(desk: Desk) -> None:
    """``preview`` and ``publish`` give a list with one entry for each record."""
    records = "\n".join(json.dumps(alert()) for _ in range(2))
    for words in (("preview", "-"), ("publish", "-", "--wait", "0")):
        done = desk.types(HOME, *words, "--json", said=records)
        assert (done.code, done.err) == (0, "")
        assert len(done.json) == 2


def test_options_for_all_stand_before_or_after_the_command(desk: Desk, tmp_path: Path) -> None:
    """Where people write them, they are taken."""
    words = ("--home", desk.home(OTHER), "--key-file", desk.folder / "unlock.key", "--offline")
    after, before = typed("inbox", "--json", *words), typed(*words, "inbox", "--json")
    assert after.code == before.code == 0
    assert after.json == before.json
    assert typed("--home", tmp_path, "inbox", *words, "--json").json == before.json
