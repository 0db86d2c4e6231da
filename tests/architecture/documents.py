"""Documents that fail when they are no longer true, and what must stand in no file at all."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_FENCE: Final = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_ANY_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_CITED: Final = re.compile(r"docs/spec/([a-z-]+)\.md(?:``)?(?:[ \n#]+§([0-9]+(?:\.[0-9]+)*))?")
_HEADING: Final = re.compile(r"^#+ +(?:§ *)?([0-9]+(?:\.[0-9]+)*)\.? ", re.MULTILINE)
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n?[A-Za-z0-9+/=]|AGE-SECRET-KEY-1[A-Z0-9]")
_THIS_MACHINE: Final = re.compile(
    r"(?<![\w.])/(?:work|root|home)/[a-z]|--(?:extra-)?index-url|--find" "-links|python" "hosted"
)
_WORD: Final = re.compile(r"[a-z]+")

FOREIGN_WORDS: Final = frozenset(
    {
        "3ea125d0bff3",
        "487b91042c7c",
        "57de4cf40144",
        "5d72436256ad",
        "60965168ce76",
        "7d3194f79e64",
        "94a168d2da57",
        "c70eca6b0f88",
        "c857d09db23e",
        "cd88a6fb1423",
        "d298391b0743",
        "de2187af3fb0",
    }
)
"""First 12 hex digits of SHA-256 of words that have no place here, so that this file does not hold them either."""


def shell_lines(markdown: str) -> list[str]:
    """The commands of the ``sh`` blocks of a document, one a line, comments and continuations resolved."""
    joined = "".join(_FENCE.findall(markdown)).replace("\\\n", " ")
    lines = (re.sub(r"(^|\s+)#\s.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def casebridge_words(markdown: str) -> Iterator[list[str]]:
    """The words after ``casebridge`` of every command shown, also in a pipe or a line of code."""
    shown = [*shell_lines(markdown), *re.findall(r"`(casebridge [^`\n]+)`", _ANY_FENCE.sub("", markdown))]
    for line in shown:
        for part in re.split(r"[|;]|&&", line):
            words = part.split()
            if words[:1] == ["casebridge"]:
                yield words[1:]


def unknown_commands(markdown: str, commands: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Commands and options that a document shows and the program does not have.

    Args:
        commands: ``policy matrix`` to its options (``--format``); the key "" holds those of ``casebridge`` itself.
    """
    for words in casebridge_words(markdown):
        name, options, before = "", set(commands.get("", ())), ""
        for word in words:
            below = f"{name} {word}".strip()
            if word.startswith("--"):
                option = word.split("=")[0]
                if option not in options | {"--help"}:
                    yield f"casebridge {name} has no {option}"
            elif below in commands:
                name, options = below, options | commands[below]
            elif not name and not before.startswith("-"):
                yield f"there is no command: casebridge {word}"
                break
            before = word


def undocumented_commands(markdown: str, commands: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Commands that the program has and the list of commands does not show."""
    for name in commands:
        if name and f"casebridge {name}" not in markdown:
            yield f"docs/commands.md does not show: casebridge {name}"


def dead_links(path: str, markdown: str, root: Path) -> Iterator[str]:
    """Links to files of ours that are not there."""
    for target in _LINK.findall(_ANY_FENCE.sub("", markdown)):
        if re.match(r"[a-z]+:|#", target):
            continue
        if not (root / path).parent.joinpath(target.split("#")[0]).exists():
            yield f"{path}: leads to {target}, which is not there"


def sections(markdown: str) -> frozenset[str]:
    """The numbers of the headings of a document: ``12``, ``5.3``."""
    return frozenset(_HEADING.findall(markdown))


def wrong_citations(path: str, text: str, specs: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Citations of a specification or section that does not exist."""
    for name, section in _CITED.findall(text):
        if name not in specs:
            yield f"{path}: cites docs/spec/{name}.md, which is not there"
        elif section and section not in specs[name]:
            yield f"{path}: cites docs/spec/{name}.md §{section}, which it does not have"


def secrets(path: str, text: str) -> Iterator[str]:
    """Private keys outside the test vectors."""
    if not path.startswith("tests/vectors/") and _PRIVATE_KEY.search(text):
        yield f"{path}: holds a private key"


def foreign_words(path: str, text: str) -> Iterator[str]:
    """Words, folders and addresses of some workplace: the project speaks of itself alone."""
    found = {match.group() for match in _THIS_MACHINE.finditer(text)}
    found |= {word for word in set(_WORD.findall(text.lower())) if digest(word) in FOREIGN_WORDS}
    yield from (f"{path}: {word!r} has no place here" for word in sorted(found))


def digest(word: str) -> str:
    """The digest by which a foreign word is listed."""
    return hashlib.sha256(word.encode()).hexdigest()[:12]


def incomplete_decision(path: str, markdown: str) -> Iterator[str]:
    """A decision record that does not weigh: its options, and what is good and bad about each."""
    wanted = ("## Context", "## Options", "## Decision", "Good, because", "Bad, because")
    yield from (f"{path}: lacks {part!r}" for part in wanted if part not in markdown)
    if not re.match(r"# [0-9]{4}\. ", markdown) or not Path(path).name.startswith(markdown[2:6]):
        yield f"{path}: its title does not begin with its number"
