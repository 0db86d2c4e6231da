"""One Cedar policy as the loader keeps it, and which questions it can possibly concern.

Evaluating hundreds of policies for each question is slow, and most cannot match. Cedar evaluates policies
independently of each other, so a question may be put to the **slice** of those that can match it, with the
same answer (https://docs.cedarpolicy.com, "policy slicing"). The analysis here is conservative: what it does
not recognise counts as concerning every question. A test compares the slices with the whole set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Ast = Mapping[str, Any]
"""A Cedar policy, or an expression of it, in Cedar's JSON form (docs.cedarpolicy.com, "JSON policy format")."""

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|//[^\n]*|;')
"""A string, a comment or the end of a policy, so that only the last is taken for an end."""

FACTS: Final = frozenset({"eventType", "variant", "phase", "expired", "movementEnded"})
"""The attributes of ``context`` that the schema declares."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A Cedar policy. Each of ``actions``, ``roles``, ``resources``, ``types`` is None where it concerns all."""

    id: str
    file: str
    effect: str
    note: str
    source: str
    text: str
    ast: Ast
    actions: frozenset[str] | None
    roles: frozenset[str] | None
    resources: frozenset[str] | None
    types: frozenset[str] | None
    mentions: frozenset[str]

    def concerns(self, action: str, event_type: str) -> bool:
        """Whether this policy can match a question of this action about this type."""
        return (self.actions is None or action in self.actions) and (self.types is None or event_type in self.types)

    def about(self, resource: str, role: str) -> bool:
        """Whether this policy can match a question about this resource for this role."""
        return (self.resources is None or resource in self.resources) and (self.roles is None or role in self.roles)


def statements(text: str) -> Iterator[str]:
    """The policies of a Cedar file as they are written, each without the comments before it."""
    start = 0
    for token in _TOKEN.finditer(text):
        if token.group() == ";":
            yield re.sub(r"\A(\s|//[^\n]*)*", "", text[start : token.end()])
            start = token.end()


def rule(file: str, ast: Ast, text: str = "") -> Rule:
    """The rule for a parsed policy, which has an ``id`` annotation; ``text`` is how it is written."""
    notes = ast.get("annotations", {})
    roles, resources, types = _scope(ast["principal"]), _scope(ast["resource"]), None
    for test in _leading_tests(ast):
        subject, values = test
        if subject == "principal":
            roles = _both(roles, values)
        elif subject == "resource":
            resources = _both(resources, values)
        else:
            types = _both(types, values)
    return Rule(
        id=notes["id"],
        file=file,
        effect=ast["effect"],
        note=notes.get("note") or "",
        source=notes.get("source") or "",
        text=text,
        ast=ast,
        actions=_scope(ast["action"]),
        roles=roles,
        resources=resources,
        types=types,
        mentions=frozenset(_mentions([clause["body"] for clause in ast.get("conditions", ())])),
    )


def _scope(part: Ast) -> frozenset[str] | None:
    """The ids that one part of the scope names, or None for any."""
    match part:
        case {"op": "==", "entity": {"id": str(name)}}:
            return frozenset({name})
        case {"op": "in", "entities": list(entities)}:
            # The schema groups no entities, so `in [a, b]` is `== a` or `== b`.
            return frozenset(entity["id"] for entity in entities)
        case _:
            return None


def _both(known: frozenset[str] | None, more: frozenset[str]) -> frozenset[str]:
    return more if known is None else known & more


def _leading_tests(ast: Ast) -> Iterator[tuple[str, frozenset[str]]]:
    """The tests of principal, resource and event type with which the conditions begin.

    Only the leading ones: where an earlier condition errs, Cedar reports the error whatever comes after it.
    """
    for clause in ast.get("conditions", ()):
        if clause["kind"] != "when":
            return
        for conjunct in _conjuncts(clause["body"]):
            test = _test(conjunct)
            if test is None:
                return
            yield test


def _conjuncts(body: Ast) -> Iterator[Ast]:
    match body:
        case {"&&": {"left": left, "right": right}}:
            yield from _conjuncts(left)
            yield from _conjuncts(right)
        case _:
            yield body


def _test(body: Ast) -> tuple[str, frozenset[str]] | None:
    """``subject == X`` or ``[X, Y].contains(subject)``, as the subject's name and the ids."""
    match body:
        case {"==": {"left": left, "right": {"Value": {"__entity": {"id": str(name)}}}}}:
            return _named(left, frozenset({name}))
        case {"contains": {"left": {"Set": list(values)}, "right": right}}:
            ids = [value.get("Value", {}).get("__entity", {}).get("id") for value in values]
            return None if None in ids else _named(right, frozenset(ids))
        case _:
            return None


def _named(subject: Ast, ids: frozenset[str]) -> tuple[str, frozenset[str]] | None:
    match subject:
        case {"Var": "principal" | "resource" as name}:
            return name, ids
        case {".": {"left": {"Var": "context"}, "attr": "eventType"}}:
            return "eventType", ids
        case _:
            return None


def _mentions(body: Any) -> Iterator[str]:
    """The attributes of ``context`` on which an expression can depend; all of them where that is unclear."""
    match body:
        case {".": {"left": {"Var": "context"}, "attr": str(name)}}:
            yield name
        case {"Var": "context"}:
            yield from FACTS
        case dict():
            for part in body.values():
                yield from _mentions(part)
        case list():
            for part in body:
                yield from _mentions(part)
