"""The part of the invariants that speaks of writers, kinds, mandates and who is told of whom.

Reads the authority table (``policies/authority.json``) as data; deciding by it is ``broker.authority``'s.
Each function yields cases: whether the statement holds there, and what to call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from broker.names import PERSON_SCOPED, AgencyKind, Compartment, Role
from broker.policy.domain import CONTENT, Domain
from broker.policy.matrix import Matrix

_POLICE: Final = frozenset(k for k in AgencyKind if k.label.startswith("police-"))
_BORDER: Final = _POLICE | {AgencyKind.BORDER_FORCE}
_FIELD: Final = _BORDER | {AgencyKind.CHILD_HELP_DESK}
_CARERS: Final = frozenset({AgencyKind.SHELTER, AgencyKind.NGO})
_CLINICAL: Final = _CARERS | {AgencyKind.CWC, AgencyKind.PROBATION_OFFICER, AgencyKind.LSA}
_NO_SUSPECT: Final = _CARERS | {AgencyKind.LSA, AgencyKind.COMMISSION, AgencyKind.FOREIGN_CELL}
_KINDS_OF: Final = {
    Role.SH: _CARERS,
    Role.FP: frozenset({AgencyKind.FOREIGN_CELL}),
    Role.CM: frozenset({AgencyKind.COMMISSION}),
}
_SHELTER_TOLD_TO: Final = frozenset({Role.DP, Role.CJ, Role.CH, Role.SH, Role.ES})

Case = tuple[bool, object]
Table = Mapping[str, Any]


class Writing(NamedTuple):
    """A kind of agency that may write a compartment of a type in a variant, by a role or (none) as opener."""

    type: str
    variant: str
    kind: AgencyKind
    roles: frozenset[Role]
    compartment: Compartment

    def __str__(self) -> str:
        roles = "/".join(sorted(r.label for r in self.roles)) or "opener"
        return f"{self.kind.label} as {roles} writes {self.compartment.label} of {self.type} ({self.variant})"


def _roles(entry: Table, key: str = "roles") -> frozenset[Role]:
    return frozenset(Role.of(name) for name in entry.get(key, ()))


def _kinds(entry: Table, key: str = "kinds") -> frozenset[AgencyKind]:
    return frozenset(AgencyKind.of(name) for name in entry.get(key, ()))


def _fits(entry: Table, variant: str) -> bool:
    return variant in entry.get("variant", (variant,))


def writings(domain: Domain, authority: Table) -> Iterator[Writing]:
    """Everything that somebody may write, as the senders of the authority table say."""
    for name, entries in authority["senders"].items():
        facts = domain.get(name)
        if facts is None:
            continue
        for entry in entries:
            barred = {Compartment.of(c) for c in entry.get("mayNotWrite", ())}
            for variant in facts.variants:
                if _fits(entry, variant):
                    for compartment in sorted(facts.compartments(variant) - barred):
                        for kind in sorted(_kinds(entry)):
                            yield Writing(name, variant, kind, _roles(entry), compartment)


def never_written(domain: Domain, authority: Table, pairs: Iterable[tuple[Role, Compartment]]) -> Iterator[Case]:
    """Invariant 3: no sender writes a compartment under a role, or as a kind, for which it is closed."""
    closed = tuple(pairs)
    for writing in writings(domain, authority):
        for role, compartment in closed:
            if role in writing.roles or (not writing.roles and writing.kind in _KINDS_OF[role]):
                yield writing.compartment is not compartment, writing


def never_senders(domain: Domain, authority: Table) -> Iterator[Case]:
    """Invariant 11: neither the operator nor an auditor sends an event or a control."""
    entries = [(n, e) for n, listed in authority["senders"].items() for e in listed]
    entries += [(n, e) for n, control in authority["controls"].items() for e in control["senders"]]
    for name, entry in entries:
        if name in domain:
            outsiders = _roles(entry) & {Role.HB, Role.AU} or _kinds(entry) & {AgencyKind.HUB, AgencyKind.AUDITOR}
            yield not outsiders, f"the operator or an auditor may send {name}"


def facts_of_persons(domain: Domain) -> Iterator[Case]:
    """Invariant 5: what tells of one person is sealed per person, or stands in an event about exactly one."""
    for facts in domain.values():
        for field in facts.fields:
            scoped = field.compartment in PERSON_SCOPED
            yield field.personal == scoped, f"{facts.name} {field.name} is not as its compartment, per person or not"
            if field.compartment in CONTENT and not scoped:
                alone = field.about == "case" or (field.about == "person" and facts.persons_max == 1)
                yield alone, f"{facts.name} {field.name} may tell a fact of one of several persons"


def kinds(matrix: Matrix, authority: Table) -> Iterator[Case]:
    """Invariant 9: which kinds hold which roles, and that no mandate may give a role to another kind."""
    closed = frozenset({Role.HP, Role.DP, Role.TP, Role.IA, Role.AS, Role.NR, Role.NC, Role.LS})
    open_to = {Role.HP: _POLICE, Role.IA: _POLICE, Role.DP: _BORDER, Role.AS: _BORDER, Role.TP: _FIELD}
    for role, holders in matrix.holders.items():
        for kind in AgencyKind:
            barred = (kind in _CARERS and role in closed) or kind not in open_to.get(role, AgencyKind)
            yield not (barred and kind in holders), f"{role.label} counts for {kind.label}"
    for entry in authority["assignments"]:
        role = Role.of(entry["gives"])
        for kind in sorted(_kinds(entry, "toKinds")):
            given = f"{entry['event']} gives {role.label} to {kind.label}, for which it does not count"
            yield kind in matrix.holders[role], given


def written(matrix: Matrix, domain: Domain, authority: Table) -> Iterator[Case]:
    """Invariant 10: who writes medical, suspect and source."""
    for writing in writings(domain, authority):
        kind = writing.kind
        if writing.roles and not any(kind in matrix.holders[role] for role in writing.roles):
            continue
        match writing.compartment:
            case Compartment.MEDICAL:
                cares = kind in _CLINICAL and (kind not in _CARERS or Role.SH in writing.roles)
                yield cares or (kind in _FIELD and writing.type == "rescue.notice"), writing
            case Compartment.SUSPECT:
                yield kind not in _NO_SUSPECT, writing
            case Compartment.SOURCE:
                yield kind in _FIELD, writing
            case _:
                pass


def can_exist(matrix: Matrix, authority: Table, role: Role) -> bool:
    """Whether a role is standing, authorship, or given by an assignment to a kind for which it counts."""
    if authority["roles"].get(role.label, {}).get("source") in ("standing", "authorship"):
        return True
    return any(
        entry["gives"] == role.label and _kinds(entry, "toKinds") & matrix.holders[role]
        for entry in authority["assignments"]
    )


def addressed_exist(matrix: Matrix, authority: Table) -> Iterator[Case]:
    """Invariant 16, for the roles that must be addressed."""
    for name, entries in authority["must_address"].items():
        for role in sorted({role for entry in entries for role in _roles(entry)}):
            yield can_exist(matrix, authority, role), f"{name} must address {role.label}, which nobody gives"


def told(domain: Domain, authority: Table) -> Iterator[Case]:
    """Invariant 17: a sender knows whom it must address, and a shelter is known to those who must only.

    An event that opens a new case finds no earlier holder: what it must address it gives itself or nobody holds.
    """
    roster = {Role.of(name): frozenset(map(Role.of, roles)) for name, roles in authority["roster"].items()}
    for name, entries in authority["senders"].items():
        for entry in entries if name in domain else ():
            for variant in domain[name].variants:
                if _fits(entry, variant) and not entry.get("opens"):
                    yield from _told(name, variant, entry, roster, authority)
    for role, known in roster.items():
        yield Role.SH not in known or role in _SHELTER_TOLD_TO, f"{role.label} is told who the shelter is"


def _told(
    name: str, variant: str, entry: Table, roster: Mapping[Role, frozenset[Role]], authority: Table
) -> Iterator[Case]:
    for must in authority["must_address"][name]:
        phases = must.get("phases")
        if not _fits(must, variant) or (phases and not set(phases) & set(entry["phases"])):
            continue
        for role in sorted(_roles(must)):
            if authority["roles"][role.label]["source"] == "standing":
                continue
            for sender in sorted(_roles(entry)):
                gives = any(
                    given["event"] == name
                    and given["gives"] == role.label
                    and sender.label in given["by"]
                    and _fits(given, variant)
                    for given in authority["assignments"]
                )
                knows = role in roster.get(sender, frozenset()) or gives
                yield knows, f"{sender.label} must address {role.label} in {name} ({variant}) and is not told who it is"
