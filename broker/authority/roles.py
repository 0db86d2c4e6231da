"""Which roles count for an agency in one message: those given by mandates and those that the directory lists."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from broker.authority.chain import holds_standing
from broker.authority.model import Given, Held, Mandate
from broker.authority.state import FOREIGN_VARIANTS, CaseState
from broker.authority.table import Table
from broker.names import Millis, PersonRef, Phase, Role
from broker.trust.directory import Agency, Directory

_NOT_READERS = frozenset({Role.HB, Role.AU})
_STATE_WIDE = frozenset({Role.WD, Role.CM})
_LOCAL = frozenset({Role.LS}) | _STATE_WIDE


def standing(agency: Agency, *, variant: str, persons: Sequence[PersonRef], table: Table) -> tuple[Held, ...]:
    """The standing roles that count for this agency in a message of this variant (domain §5.2).

    NC counts only where the variant is one of nationality or crossing the border, for the persons of the message.
    """
    found: list[Held] = []
    for role in sorted(agency.standing - _NOT_READERS):
        if not holds_standing(agency, role, table):
            continue
        if not table.roles[role].person_scoped:
            found.append(Held(role, None, None))
        elif variant in FOREIGN_VARIANTS:
            found += [Held(role, person, None) for person in persons]
    return tuple(found)


def in_message(
    state: CaseState,
    agency: Agency,
    *,
    variant: str,
    persons: Sequence[PersonRef],
    at: Millis,
    position: int | None = None,
) -> tuple[Held, ...]:
    """Every role that counts for this agency in a message about these persons: mandated, then standing."""
    found: dict[tuple[Role, PersonRef | None], Held] = {}
    for holder in state.roles(agency.id, None, at, position):
        mandate = holder.given.mandate
        if (mandate.person is None or mandate.person in persons) and state.table.permits(mandate.role, agency.kind):
            found[mandate.role, mandate.person] = Held(mandate.role, mandate.person, holder.given.digest)
    mandated = sorted(found.values(), key=lambda held: (held.role, held.person or b""))
    return (*mandated, *standing(agency, variant=variant, persons=persons, table=state.table))


def proves(held: Held, *, agency: Agency, given: Collection[Given], at: Millis, table: Table) -> bool:
    """Whether a role is proved by one of these mandates, in its time, or by the directory."""
    if not table.permits(held.role, agency.kind):
        return False
    if held.mandate is None:
        return holds_standing(agency, held.role, table)
    return any(
        one.digest == held.mandate
        and one.mandate.agency == agency.id
        and one.mandate.role is held.role
        and one.mandate.person == held.person
        and at <= one.mandate.not_after
        for one in given
    )


def may_be_told(roles: Sequence[Held], mandate: Mandate, table: Table) -> bool:
    """Whether one with these roles is told who holds the role of this mandate (domain §5.2.5)."""
    return any(
        mandate.role in table.told.get(held.role, frozenset())
        and (held.person is None or mandate.person is None or held.person == mandate.person)
        for held in roles
    )


def phase_set(
    table: Table, *, event_type: str, variant: str, role: Role, before: Phase, of: Collection[str] = ()
) -> Phase | None:
    """The phase that an event sets for a person who was in ``before``, or None where it sets none (domain §5.2.3).

    ``role`` is the role that the author claims for that person, ``of`` the types of the events referenced.
    """
    for rule in table.phases:
        if rule.type != event_type or (rule.variants is not None and variant not in rule.variants):
            continue
        if before not in rule.before or (rule.by is not None and role not in rule.by):
            continue
        if rule.of and rule.of not in of:
            continue
        return rule.after
    return None


def phase_after(
    table: Table, *, event_type: str, variant: str, role: Role, before: Phase, of: Collection[str] = ()
) -> Phase:
    """The phase in which an event leaves a person; see ``phase_set``."""
    after = phase_set(table, event_type=event_type, variant=variant, role=role, before=before, of=of)
    return before if after is None else after


def must_address(
    table: Table,
    state: CaseState,
    directory: Directory,
    *,
    event_type: str,
    variant: str,
    persons: Sequence[PersonRef],
    before: Sequence[Phase],
    at: Millis,
) -> tuple[tuple[Role, tuple[Agency, ...]], ...]:
    """Each role that must be addressed, with the agencies that hold it for a person of the message as far as known.

    ``state`` counts the message itself already; ``before`` are the phases before it.
    """
    found: list[tuple[Role, tuple[Agency, ...]]] = []
    for rule in table.must_address.get(event_type, ()):
        if rule.variants is not None and variant not in rule.variants:
            continue
        if rule.phases is not None and not rule.phases & set(before):
            continue
        for role in rule.roles:
            found.append((role, holders(role, state, directory, persons=persons, at=at)))
    return tuple(found)


def holders(
    role: Role, state: CaseState, directory: Directory, *, persons: Sequence[PersonRef], at: Millis
) -> tuple[Agency, ...]:
    """The agencies that hold a role for one of these persons: by mandates known, or by the directory.

    A legal services authority, a State's nodal officer or commission holds its role where it has jurisdiction.
    """
    if not state.standing(role):
        named = {holder.given.mandate.agency for person in persons for holder in state.having(role, person, at)}
        return tuple(agency for agency in map(directory.find, sorted(named)) if agency is not None)
    return tuple(
        agency
        for agency in directory.standing(role, at)
        if holds_standing(agency, role, state.table)
        and (role not in _LOCAL or has_jurisdiction(agency, role, state, directory, persons=persons, at=at))
    )


def has_jurisdiction(
    agency: Agency, role: Role, state: CaseState, directory: Directory, *, persons: Sequence[PersonRef], at: Millis
) -> bool:
    """Whether the place of rescue or of a person's home lies in this agency's district or State, as far as known.

    The places are those of the agencies that act there: DP and CJ for the rescue, HP and CH for the home.
    """
    if role not in _LOCAL:
        return True
    return any(
        one.state == agency.state
        and (role in _STATE_WIDE or None in (agency.district, one.district) or one.district == agency.district)
        for one in acting(state, directory, persons=persons, at=at)
    )


def acting(state: CaseState, directory: Directory, *, persons: Sequence[PersonRef], at: Millis) -> tuple[Agency, ...]:
    """The agencies known to act at the place of rescue (DP, CJ) or at the home (HP, CH) of these persons."""
    return tuple(
        agency
        for role in (Role.DP, Role.CJ, Role.HP, Role.CH)
        for agency in holders(role, state, directory, persons=persons, at=at)
    )
