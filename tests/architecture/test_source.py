"""The rules of shape and imports, over the project's own files, and each rule over a snippet that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.architecture import imports, shape
from tests.architecture.source import Source, sources

PRODUCT = ("broker", "adapters")
EVERYTHING = ("broker", "adapters", "deploy", "tests", "schemas", "policies")

Rule = Callable[[Source], Iterable[str]]

RULES: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "a third party stays in the folder that is fenced for it": (imports.foreign, PRODUCT),
    "only the clock module asks the machine for time, chance and ids": (imports.machine_calls, PRODUCT),
    "a module and a function can be read at once": (shape.sizes, EVERYTHING),
    "an __init__ holds a docstring and nothing else": (shape.package_bodies, EVERYTHING),
    "what is public says what it is for": (
        lambda source: shape.undocumented(source, shape.promised(sources(*PRODUCT))),
        PRODUCT,
    ),
    "a silenced check says which it is": (shape.silenced, EVERYTHING),
    "no handler swallows everything": (shape.swallowed, EVERYTHING),
    "errors have one root": (
        lambda source: shape.strange_errors(source, shape.error_names(sources(*PRODUCT))),
        PRODUCT,
    ),
    "a test states its rule": (shape.unruled_tests, ("tests",)),
}

LONG = "def long() -> None:\n    '''Does much.'''\n" + "    print()\n" * 50
IGNORE, NOQA = "# type: " + "ignore", "# no" + "qa"

BREACHES: list[tuple[str, str, str]] = [
    ("a third party stays in the folder that is fenced for it", "broker/seal/a.py", "import fastavro"),
    ("a third party stays in the folder that is fenced for it", "broker/policy/a.py", "from cryptography import x509"),
    ("a third party stays in the folder that is fenced for it", "broker/keys/a.py", "def f():\n    import cedarpy.x"),
    (
        "a third party stays in the folder that is fenced for it",
        "broker/tlog/a.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from aiokafka.x import y",
    ),
    ("a third party stays in the folder that is fenced for it", "broker/eventful.py", "import fastavro"),
    ("a third party stays in the folder that is fenced for it", "broker/seal/a.py", "import requests"),
    ("a third party stays in the folder that is fenced for it", "broker/event/a.py", "from .codec import encode"),
    ("a third party stays in the folder that is fenced for it", "broker/seal/a.py", "from tests.data import world"),
    ("a third party stays in the folder that is fenced for it", "broker/policy/a.py", "import sqlite3"),
    ("only the clock module asks the machine for time, chance and ids", "broker/a.py", "import time\ntime.time()"),
    ("only the clock module asks the machine for time, chance and ids", "broker/a.py", "from os import urandom"),
    (
        "only the clock module asks the machine for time, chance and ids",
        "broker/a.py",
        "from secrets import token_bytes",
    ),
    (
        "only the clock module asks the machine for time, chance and ids",
        "broker/a.py",
        "x = datetime.datetime.now(UTC)",
    ),
    ("only the clock module asks the machine for time, chance and ids", "adapters/a.py", "import random"),
    ("a module and a function can be read at once", "broker/a.py", "\n" * 401),
    ("a module and a function can be read at once", "tests/unit/test_a.py", "\n" * 601),
    ("a module and a function can be read at once", "broker/a.py", LONG),
    ("an __init__ holds a docstring and nothing else", "broker/x/__init__.py", "'''X.'''\nfrom broker.x.y import z"),
    ("an __init__ holds a docstring and nothing else", "broker/x/__init__.py", ""),
    ("what is public says what it is for", "broker/a.py", "X = 1"),
    ("what is public says what it is for", "broker/a.py", "'''A.'''\ndef f(): ..."),
    ("what is public says what it is for", "broker/a.py", "'''A.'''\nclass C: ..."),
    (
        "what is public says what it is for",
        "broker/a.py",
        "'''A.'''\nclass C:\n    '''C.'''\n    def odd_name(self): ...",
    ),
    ("a silenced check says which it is", "broker/a.py", f"x = 1  {IGNORE}"),
    ("a silenced check says which it is", "tests/a.py", f"x = 1  {NOQA}"),
    ("no handler swallows everything", "broker/a.py", "try:\n    f()\nexcept Exception:\n    pass"),
    ("no handler swallows everything", "broker/a.py", "try:\n    f()\nexcept (OSError, Exception):\n    ..."),
    ("no handler swallows everything", "broker/a.py", "try:\n    f()\nexcept:\n    report()"),
    ("errors have one root", "broker/a.py", "raise RuntimeError('no')"),
    ("errors have one root", "broker/a.py", "class Odd(Exception): ...\nraise Odd"),
    ("errors have one root", "broker/a.py", "raise SystemExit(1)"),
    ("a test states its rule", "tests/unit/test_a.py", "def test_a(): ..."),
]

HONEST = '''"""A."""

from broker.errors import InputError


class Reader:
    """Reads."""

    def read(self) -> int:
        """A number.

        Raises:
            InputError: it cannot.
        """
        try:
            return int("1")
        except ValueError as error:
            raise InputError("write a number", field="n") from error
'''


@pytest.mark.parametrize("rule", RULES)
def test_the_project_keeps_the_rule(rule: str) -> None:
    """No file of the project breaks a rule of shape or imports."""
    check, folders = RULES[rule]
    present = [folder for folder in folders if folder in (*PRODUCT[:1], "tests") or _has_code(folder)]
    found = [finding for source in sources(*present) for finding in check(source)]
    assert not found, "\n".join(found)


def _has_code(folder: str) -> bool:
    try:
        return bool(sources(folder))
    except LookupError:
        return False


@pytest.mark.parametrize(("rule", "path", "text"), BREACHES)
def test_a_breach_is_found(rule: str, path: str, text: str) -> None:
    """Each rule finds the snippet that breaks it, so that the test above can fail."""
    assert list(RULES[rule][0](Source(path, text)))


@pytest.mark.parametrize("rule", RULES)
def test_honest_code_passes(rule: str) -> None:
    """No rule finds anything in a module as it should be."""
    assert not list(RULES[rule][0](Source("broker/event/honest.py", HONEST)))


def test_every_rule_has_a_breach() -> None:
    """A rule without a snippet that breaks it could hold whatever was written."""
    assert {rule for rule, _, _ in BREACHES} == set(RULES)


def test_a_rule_over_no_files_fails() -> None:
    """A folder that moved away does not leave its rules holding."""
    with pytest.raises(LookupError):
        sources("no-such-folder")
