"""The authority table, ``policies/authority.json``: who is what, who may send, assign, grant, and must be addressed.

Data only; the judgement is in the other modules of this package. Read once, frozen, named by its digest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from typing import Any, Final

from broker.clock import DAY, HOUR, MINUTE
from broker.errors import ConfigError
from broker.names import AgencyKind, Compartment, Digest, Phase, Role, Status

_DURATION: Final = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?")


@dataclass(frozen=True, slots=True)
class RoleRule:
    """What a role is: for one person or the whole case, where it comes from, which kinds may hold it."""

    role: Role
    person_scoped: bool
    source: str
    kinds: frozenset[AgencyKind]


@dataclass(frozen=True, slots=True)
class Ends:
    """When a role that was given ends: ``on`` something that happens, or ``at`` a time that the event names.

    ``plus`` is added to it; ``otherwise`` is the life, from sealing, where the event does not tell the time. All in ms.
    """

    on: str = ""
    at: str = ""
    plus: int = 0
    otherwise: int = 0


@dataclass(frozen=True, slots=True)
class Assignment:
    """One row of domain §5.2.4. ``only`` is "", "person-without-role" or "agency-without-role"."""

    type: str
    variants: frozenset[str] | None
    by: tuple[Role, ...]
    gives: Role
    to_kinds: frozenset[AgencyKind]
    field: str
    provisional: bool
    only: str
    ends: Ends

    @property
    def to_author(self) -> bool:
        """Whether the row gives the role to the author itself."""
        return self.field in ("sender", "rescue.bnssFir")


@dataclass(frozen=True, slots=True)
class SenderRule:
    """One entry of the senders of a type or control; None means any."""

    roles: tuple[Role, ...]
    kinds: frozenset[AgencyKind]
    phases: frozenset[Phase] | None
    variants: frozenset[str] | None
    statuses: frozenset[Status] | None
    opens: bool
    may_not_write: frozenset[Compartment]
    relations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MustRule:
    """Roles whose holders must be addressed, in these variants and from these phases; None means any."""

    roles: tuple[Role, ...]
    variants: frozenset[str] | None
    phases: frozenset[Phase] | None


@dataclass(frozen=True, slots=True)
class PhaseRule:
    """An event that moves a person from one of these phases to another; ``by`` are roles of its author, None any."""

    type: str
    variants: frozenset[str] | None
    of: str
    by: frozenset[Role] | None
    before: frozenset[Phase]
    after: Phase


@dataclass(frozen=True, slots=True)
class GrantRule:
    """How far a grant may reach: to which kinds (None any), for which compartments, for how many ms at most."""

    variant: str
    to_kinds: frozenset[AgencyKind] | None
    compartments: frozenset[Compartment]
    limit: int
    order_always: bool
    after_report: int


@dataclass(frozen=True)
class Table:
    """The whole table. ``life`` is how long conditional reading lasts where the header says nothing, ms by type."""

    digest: Digest
    kinds: frozenset[AgencyKind]
    roles: Mapping[Role, RoleRule]
    assignments: tuple[Assignment, ...]
    senders: Mapping[str, tuple[SenderRule, ...]]
    controls: frozenset[str]
    must_address: Mapping[str, tuple[MustRule, ...]]
    phases: tuple[PhaseRule, ...]
    heard: frozenset[Role]
    told: Mapping[Role, frozenset[Role]]
    owners: Mapping[Compartment, Mapping[Phase, tuple[str, ...]]]
    grants: Mapping[str, GrantRule]
    victim_identity: frozenset[Compartment]
    alerts: frozenset[str]
    life: Mapping[str, int]
    needs: Mapping[str, tuple[tuple[frozenset[str] | None, frozenset[Compartment], str], ...]]

    def assigned(self, event_type: str, variant: str) -> tuple[Assignment, ...]:
        """The rows of this type and variant, in the order of the file."""
        return tuple(row for row in self.assignments if row.type == event_type and _in(variant, row.variants))

    def sending(self, event_type: str, variant: str) -> tuple[SenderRule, ...]:
        """The senders entries of this type or control and variant; none where the type is unknown."""
        return tuple(rule for rule in self.senders.get(event_type, ()) if _in(variant, rule.variants))

    def permits(self, role: Role, kind: AgencyKind) -> bool:
        """Whether an agency of this kind can hold this role at all."""
        return role in self.roles and kind in self.roles[role].kinds

    @classmethod
    def load(cls) -> Table:
        """The table that ships with the program."""
        return cls.parse(resources.files("policies").joinpath("authority.json").read_bytes())

    @classmethod
    def parse(cls, data: bytes) -> Table:
        """The table with these bytes.

        Raises:
            ConfigError: it cannot be read, or names a word that does not exist.
        """
        try:
            return _table(json.loads(data), Digest(sha256(data).digest()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError("policies/authority.json cannot be used; install it again", reason=repr(error)) from None


def duration(text: str) -> int:
    """Milliseconds of an ISO 8601 duration of days, hours and minutes.

    Raises:
        ValueError: not such a duration.
    """
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is not a duration")
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return days * DAY + hours * HOUR + minutes * MINUTE


def _in(variant: str, variants: frozenset[str] | None) -> bool:
    return variants is None or variant in variants


def _table(raw: Mapping[str, Any], digest: Digest) -> Table:
    senders = {name: tuple(_sender(one) for one in rules) for name, rules in raw["senders"].items()}
    controls = {name: tuple(_sender(one) for one in rule["senders"]) for name, rule in raw["controls"].items()}
    return Table(
        digest=digest,
        kinds=frozenset(AgencyKind.of(kind) for kind in raw["kinds"]),
        roles={Role.of(name): _role(Role.of(name), rule) for name, rule in raw["roles"].items()},
        assignments=tuple(_assignment(row) for row in raw["assignments"]),
        senders=senders | controls,
        controls=frozenset(controls),
        must_address={name: tuple(_must(one) for one in rules) for name, rules in raw["must_address"].items()},
        phases=tuple(_phase(rule) for rule in raw["phases"]["sets"]),
        heard=_roles(raw["phases"]["heard"]["roles"]),
        told={Role.of(role): _roles(told) for role, told in raw["roster"].items()},
        owners=_owners(raw["owners"].values()),
        grants={rule["variant"]: _grant(rule) for rule in raw["grants"]},
        victim_identity=frozenset(Compartment.of(name) for name in raw["victim_identity"]),
        alerts=frozenset(raw["alerts"]),
        life={name: duration(text) for name, text in raw["life"].items()},
        needs={name: tuple(_need(one) for one in rules) for name, rules in raw["needs"].items()},
    )


def _roles(names: Iterable[str]) -> frozenset[Role]:
    return frozenset(Role.of(name) for name in names)


def _kinds(names: Iterable[str]) -> frozenset[AgencyKind]:
    return frozenset(AgencyKind.of(name) for name in names)


def _compartments(names: Iterable[str]) -> frozenset[Compartment]:
    return frozenset(Compartment.of(name) for name in names)


def _words(raw: Mapping[str, Any], key: str) -> frozenset[str] | None:
    return frozenset(raw[key]) if key in raw else None


def _phases(raw: Mapping[str, Any], key: str = "phases") -> frozenset[Phase] | None:
    return frozenset(Phase.of(name) for name in raw[key]) if key in raw else None


def _role(role: Role, raw: Mapping[str, Any]) -> RoleRule:
    return RoleRule(role, raw["scope"] == "person", raw["source"], _kinds(raw["kinds"]))


def _assignment(raw: Mapping[str, Any]) -> Assignment:
    ends = raw["ends"]
    return Assignment(
        type=raw["event"],
        variants=_words(raw, "variant"),
        by=tuple(Role.of(name) for name in raw["by"]),
        gives=Role.of(raw["gives"]),
        to_kinds=_kinds(raw["toKinds"]),
        field=raw["field"],
        provisional=raw.get("provisional", False),
        only=raw.get("only", ""),
        ends=Ends(
            ends.get("on", ""),
            ends.get("at", ""),
            duration(ends["plus"]) if "plus" in ends else 0,
            duration(ends["else"]) if "else" in ends else 0,
        ),
    )


def _sender(raw: Mapping[str, Any]) -> SenderRule:
    statuses = frozenset(Status.of(word) for word in raw["status"]) if "status" in raw else None
    return SenderRule(
        roles=tuple(Role.of(name) for name in raw.get("roles", ())),
        kinds=_kinds(raw["kinds"]),
        phases=_phases(raw),
        variants=_words(raw, "variant"),
        statuses=statuses,
        opens=raw.get("opens", False),
        may_not_write=_compartments(raw.get("mayNotWrite", ())),
        relations=tuple(raw.get("relation", ())),
    )


def _must(raw: Mapping[str, Any]) -> MustRule:
    return MustRule(tuple(Role.of(name) for name in raw["roles"]), _words(raw, "variant"), _phases(raw))


def _phase(raw: Mapping[str, Any]) -> PhaseRule:
    before = _phases(raw, "from")
    assert before is not None
    return PhaseRule(
        raw["event"],
        _words(raw, "variant"),
        next(iter(raw.get("of", ())), ""),
        _roles(raw["by"]) if "by" in raw else None,
        before,
        Phase.of(raw["to"]),
    )


def _owners(rules: Iterable[Mapping[str, Any]]) -> dict[Compartment, dict[Phase, tuple[str, ...]]]:
    found: dict[Compartment, dict[Phase, tuple[str, ...]]] = {}
    for rule in rules:
        words: dict[Phase, tuple[str, ...]] = {
            phase: tuple(rule.get("everyPhase") or rule[phase.label]) for phase in Phase if phase is not Phase.NEW
        }
        for name in rule["compartments"]:
            found[Compartment.of(name)] = words
    return found


def _grant(raw: Mapping[str, Any]) -> GrantRule:
    return GrantRule(
        variant=raw["variant"],
        to_kinds=None if raw["toKinds"] == "any" else _kinds(raw["toKinds"]),
        compartments=_compartments(raw["compartments"]),
        limit=duration(raw["limit"]),
        order_always=raw["orderNo"] == "always",
        after_report=duration(raw["ends"]["plus"]) if "ends" in raw else 0,
    )


def _need(raw: Mapping[str, Any]) -> tuple[frozenset[str] | None, frozenset[Compartment], str]:
    return _words(raw, "variant"), _compartments(raw["compartments"]), raw["field"]
