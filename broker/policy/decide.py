"""Asking the policies: one question, one decision, for exactly one role.

Deny by default. A folder with a fault, a word that the schema does not know, and any error of evaluation deny
and say so. A decision is two questions to Cedar: does the role count for this kind of agency (``hold``), and
may the role read (``read``); where it may not, whether it may ask (``request``, ``requestWithOrder``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

import cedarpy

from broker.names import AgencyKind, Compartment, Digest, Phase, Role
from broker.policy.load import Files, Loaded, load, read_files
from broker.policy.model import ASK_OWNER, ASK_WITH_ORDER, Decision, Fault, Question
from broker.policy.rules import Rule

_ASKING: Final = (("request", ASK_OWNER), ("requestWithOrder", ASK_WITH_ORDER))
_NO_ENTITIES: Final = cedarpy.Entities.from_json_str("[]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Cedar says to one action: the ids of all policies that determined it, sorted, or an error (denied)."""

    permit: bool
    rules: tuple[str, ...] = ()
    error: str = ""

    @property
    def rule(self) -> str:
        """The first determining policy by id, or empty."""
        return self.rules[0] if self.rules else ""


@dataclass(frozen=True, slots=True, eq=False)
class _Slice:
    """The policies that can match a question, ready to evaluate, the facts on which they depend, and past answers.

    Its rules were read under one schema, so that two instances of ``Policy`` that share it get the same answers.
    """

    policies: cedarpy.PolicySet | None
    permits: bool
    mentions: frozenset[str]
    outcomes: dict[tuple[object, ...], Outcome]


_DENIED: Final = Outcome(permit=False)


class Policy:
    """A policy folder that can be asked. Immutable but for its caches, which live as long as it does."""

    __slots__ = ("_cache", "_loaded", "_near", "_slices", "_words")

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._cache: dict[Question, Decision] = {}
        self._near: dict[tuple[str, str], list[Rule]] = {}
        self._slices: dict[tuple[str, str, str, str], _Slice] = {}
        self._words: dict[tuple[str, str], str] = {}

    @classmethod
    def load(cls, files: Files | None = None) -> Self:
        """The policy of these files (name to content), or of the installed folder ``policies/``.

        A fault in a file is no exception: see ``faults``.

        Raises:
            ConfigError: the installed folder is missing or cannot be read.
        """
        return cls(load(read_files() if files is None else files))

    @property
    def digest(self) -> Digest:
        """The digest of the folder's binding files (``docs/spec/policy.md`` §5)."""
        return self._loaded.digest

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Why this policy denies everything; empty if it does not."""
        return self._loaded.faults

    @property
    def rules(self) -> Mapping[str, Rule]:
        """All policies by id; none where there are faults."""
        return self._loaded.rules

    def decide(self, question: Question) -> Decision:
        """The decision on this question. Raises nothing: what cannot be decided is denied, with ``error``."""
        found = self._cache.get(question)
        if found is None:
            found = self._decide(question)
            if not found.error:
                self._cache[question] = found
        return found

    def hold(self, role: Role, kind: AgencyKind) -> Outcome:
        """Whether the role counts for an agency of this kind."""
        return self._ask("hold", role.label, ("AgencyKind", kind.label), {})

    def read(
        self,
        *,
        event_type: str,
        variant: str,
        compartment: Compartment,
        role: Role,
        phase: Phase,
        expired: bool,
        movement_ended: bool,
    ) -> Outcome:
        """Whether the role reads, for any kind of agency for which it counts."""
        facts = _message(event_type, variant) | {
            "phase": ("Phase", phase.label),
            "expired": expired,
            "movementEnded": movement_ended,
        }
        return self._ask("read", role.label, ("Compartment", compartment.label), facts)

    def depends(self, *, event_type: str, compartment: Compartment, role: Role) -> frozenset[str] | None:
        """The facts on which ``read`` can depend here, and no other; None where no policy could permit it."""
        part = self._slice("read", role.label, compartment.label, event_type)
        return part.mentions if part.permits else None

    def ask_depends(self, *, event_type: str, compartment: Compartment, role: Role) -> frozenset[str] | None:
        """The facts on which ``ask`` can depend here, and no other; None where no policy could permit asking."""
        parts = [self._slice(action, role.label, compartment.label, event_type) for action, _ in _ASKING]
        return parts[0].mentions | parts[1].mentions if parts[0].permits or parts[1].permits else None

    def ask(self, *, event_type: str, variant: str, compartment: Compartment, role: Role) -> tuple[str, Outcome]:
        """How a role that does not read may ask: ``q``, ``x`` or empty, and what decided that."""
        facts = _message(event_type, variant)
        last = _DENIED
        for action, letter in _ASKING:
            last = self._ask(action, role.label, ("Compartment", compartment.label), facts)
            if last.permit or last.error:
                return ("" if last.error else letter), last
        return "", last

    def _decide(self, question: Question) -> Decision:
        event_type, variant, compartment, role, kind, phase, expired, movement_ended = question
        reads = self.read(
            event_type=event_type,
            variant=variant,
            compartment=compartment,
            role=role,
            phase=phase,
            expired=expired,
            movement_ended=movement_ended,
        )
        holds = self.hold(role, kind)
        for outcome in (holds, reads):
            if outcome.error:
                return Decision(False, "", "", outcome.error)
        if not holds.permit:
            return Decision(False, holds.rule, "", "")
        if reads.permit:
            return Decision(True, reads.rule, "", "")
        letter, asks = self.ask(event_type=event_type, variant=variant, compartment=compartment, role=role)
        return Decision(False, reads.rule, letter, asks.error)

    def _ask(self, action: str, role: str, resource: tuple[str, str], facts: Mapping[str, Any]) -> Outcome:
        if self._loaded.schema is None:
            return Outcome(permit=False, error="policy denies everything: " + "; ".join(map(str, self.faults)))
        unknown = self._unknown(("Role", role), resource, *(v for v in facts.values() if isinstance(v, tuple)))
        if unknown:
            return Outcome(permit=False, error=unknown)
        event_type = facts["eventType"][1] if facts else ""
        part = self._slice(action, role, resource[1], event_type)
        if part.policies is None:
            return _DENIED
        key = (action, role, resource, *(facts[name] for name in sorted(part.mentions)))
        found = part.outcomes.get(key)
        if found is None:
            found = part.outcomes[key] = self._evaluate(part.policies, action, role, resource, facts)
        return found

    def _unknown(self, *words: tuple[str, str]) -> str:
        """Why one of these words is unknown to the schema, or empty."""
        for word in words:
            if word not in self._words:
                self._words[word] = self._undeclared(word)
            if self._words[word]:
                return self._words[word]
        return ""

    def _undeclared(self, word: tuple[str, str]) -> str:
        kind, name = word
        entity = {"uid": {"type": kind, "id": name}, "attrs": {}, "parents": []}
        try:
            cedarpy.Entities.from_json_str(json.dumps([entity]), self._loaded.schema)
        except ValueError:
            return f"policy knows no {kind} {name!r}"
        return ""

    def _slice(self, action: str, role: str, resource: str, event_type: str) -> _Slice:
        key = (action, role, resource, event_type)
        found = self._slices.get(key)
        if found is None:
            near = self._near.get((action, event_type))
            if near is None:
                near = self._near[action, event_type] = [
                    r for r in self.rules.values() if r.concerns(action, event_type)
                ]
            found = self._slices[key] = _sliced(tuple(r for r in near if r.about(resource, role)))
        return found

    def _evaluate(
        self, policies: cedarpy.PolicySet, action: str, role: str, resource: tuple[str, str], facts: Mapping[str, Any]
    ) -> Outcome:
        request = {
            "principal": {"type": "Role", "id": role},
            "action": {"type": "Action", "id": action},
            "resource": {"type": resource[0], "id": resource[1]},
            "context": {name: _cedar(value) for name, value in facts.items()},
        }
        try:
            result = cedarpy.is_authorized(request, policies, _NO_ENTITIES, self._loaded.schema)
        except Exception as error:  # noqa: BLE001 - whatever the engine raises must deny
            return Outcome(permit=False, error=f"evaluation failed: {error}")
        if result.diagnostics.errors:
            return Outcome(permit=False, error="; ".join(result.diagnostics.errors))
        return Outcome(permit=result.allowed, rules=tuple(sorted(result.diagnostics.reasons)))


def _message(event_type: str, variant: str) -> dict[str, Any]:
    return {"eventType": ("EventType", event_type), "variant": ("Variant", variant)}


def _cedar(value: Any) -> Any:
    """A fact as Cedar's JSON writes it."""
    return {"__entity": {"type": value[0], "id": value[1]}} if isinstance(value, tuple) else value


@lru_cache(maxsize=4096)
def _sliced(rules: tuple[Rule, ...]) -> _Slice:
    """The slice of these rules; the same for the same rules, so that folders that share files share the work."""
    if not rules:
        return _Slice(None, permits=False, mentions=frozenset(), outcomes={})
    policies = {"templates": {}, "staticPolicies": {r.id: r.ast for r in rules}, "templateLinks": []}
    return _Slice(
        policies=cedarpy.PolicySet.from_json_str(json.dumps(policies)),
        permits=any(r.effect == "permit" for r in rules),
        mentions=frozenset().union(*(r.mentions for r in rules)),
        outcomes={},
    )
