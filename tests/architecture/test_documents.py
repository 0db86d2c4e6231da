"""Documents are true, and nothing stands in the repository that must not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.architecture import commands, documents, readme_check, released
from tests.architecture.source import ROOT, texts

SPECS = {
    path.removeprefix("docs/spec/").removesuffix(".md"): documents.sections(text)
    for path, text in texts(".md")
    if path.startswith("docs/spec/")
}
COMMANDS = {
    "": frozenset({"--version"}),
    "demo": frozenset({"--home"}),
    "policy": frozenset[str](),
    "policy matrix": frozenset({"--format"}),
}

Check = Callable[[str, str], Iterable[str]]

CHECKS: dict[str, tuple[Check, tuple[str, ...]]] = {
    "a link leads to a file that is there": (lambda path, text: documents.dead_links(path, text, ROOT), (".md",)),
    "a cited section of a specification exists": (
        lambda path, text: documents.wrong_citations(path, text, SPECS),
        (".py", ".md", ".avsc", ".toml"),
    ),
    "no private key is kept outside the vectors": (documents.secrets, ()),
    "the project speaks of itself alone": (documents.foreign_words, ()),
}

PEM = "-----BEGIN " + "PRIVATE KEY-----\nMC4CAQ"

BREACHES = [
    ("a link leads to a file that is there", "docs/a.md", "see [the code](../no/such/file.py)"),
    ("a cited section of a specification exists", "broker/a.py", "``docs/spec/" + "envelope.md`` §99"),
    ("a cited section of a specification exists", "broker/a.py", "docs/spec/" + "poetry.md"),
    ("no private key is kept outside the vectors", "tests/unit/test_a.py", PEM),
    ("the project speaks of itself alone", "README.md", "see /" + "root/thing"),
    ("the project speaks of itself alone", "requirements/a.txt", "--index" + "-url x"),
    ("the project speaks of itself alone", "README.md", "written with Chat" + "GPT."),
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_repository_keeps_the_rule(check: str) -> None:
    """No text of the repository breaks a rule of documents."""
    rule, suffixes = CHECKS[check]
    found = [finding for path, text in texts(*suffixes) for finding in rule(path, text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("check", "path", "text"), BREACHES)
def test_a_breach_is_found(check: str, path: str, text: str) -> None:
    """Each rule finds the text that breaks it."""
    assert list(CHECKS[check][0](path, text))


def test_every_check_has_a_breach() -> None:
    """A rule without a text that breaks it could hold whatever was written."""
    assert {check for check, _, _ in BREACHES} == set(CHECKS)


def test_what_documents_show_the_program_has() -> None:
    """Every command and option in README.md and docs is one of casebridge's."""
    program = commands.commands()
    found = [f"{path}: {wrong}" for path, text in texts(".md") for wrong in documents.unknown_commands(text, program)]
    assert not found, "\n".join(found)


def test_what_the_program_has_is_documented() -> None:
    """Every command stands in docs/commands.md."""
    found = list(documents.undocumented_commands((ROOT / "docs" / "commands.md").read_text(), commands.commands()))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "casebridge fly",
        "casebridge demo --fast",
        "casebridge policy matrix --format csv --colour",
        "cat x | casebridge eat",
    ],
)
def test_a_command_that_is_not_there_is_found(line: str) -> None:
    """A wrong command or option in a block of commands, or in a pipe, is found."""
    assert list(documents.unknown_commands(f"```sh\n{line}\n```", COMMANDS))


def test_a_command_that_is_there_passes() -> None:
    """Arguments, comments, continuations and global options do not confuse the check."""
    shown = "```sh\n# play it\ncasebridge --version\ncasebridge policy \\\n  matrix --format=csv  # as CSV\n```\n`casebridge demo`"
    assert not list(documents.unknown_commands(shown, COMMANDS))
    assert [words[0] for words in documents.casebridge_words(shown)] == ["--version", "policy", "demo"]


def test_a_command_that_is_not_documented_is_found() -> None:
    """A command that docs/commands.md leaves out is found."""
    assert list(documents.undocumented_commands("casebridge demo", COMMANDS)) == [
        "docs/commands.md does not show: casebridge policy",
        "docs/commands.md does not show: casebridge policy matrix",
    ]


def test_readme_shows_commands_to_run() -> None:
    """README.md shows the demo among the commands that the CI runs; a document without commands is an error."""
    assert "make demo" in readme_check.to_run((ROOT / "README.md").read_text())
    with pytest.raises(LookupError):
        readme_check.to_run("no command here")


def test_released_schemas_did_not_change() -> None:
    """A released schema keeps its bytes for ever, and every schema is released."""
    present, kept = released.schemas(), released.kept()
    found = [*released.changed(kept, present), *released.unreleased(kept, present)]
    assert not found, "\n".join(found)


def test_a_changed_or_lost_schema_is_found() -> None:
    """A released schema that changed or is gone, and one that nobody released, are found."""
    assert list(released.changed({"schemas/a.avsc": "1"}, {"schemas/a.avsc": "2"}))
    assert list(released.changed({"schemas/a.avsc": "1"}, {}))
    assert list(released.unreleased({}, {"schemas/a.avsc": "1"}))


def test_decisions_weigh() -> None:
    """Decision records are numbered without a gap and name options with good and bad."""
    decisions = {path: text for path, text in texts(".md") if path.startswith("docs/adr/0")}
    numbers = [int(path.removeprefix("docs/adr/")[:4]) for path in decisions]
    assert numbers == list(range(1, len(numbers) + 1)), numbers
    assert numbers, "no decision is recorded"
    found = [lack for path, text in decisions.items() for lack in documents.incomplete_decision(path, text)]
    assert not found, "\n".join(found)


def test_a_decision_that_does_not_weigh_is_found() -> None:
    """A record without options, good and bad is found, and one with another number in its title."""
    assert len(list(documents.incomplete_decision("docs/adr/0001-a.md", "# 0002. A\n\n## Context\n"))) == 5
