"""From facts to what a party knows of a case: a pure fold in the order of the stream.

The same facts give the same state in whatever order they arrived. An event is *effective* unless its sender's
mandate had ended, what it assumes was overtaken, or it claims what another holds; it is then kept and changes
nothing (architecture: valid is not effective). What facts say of controls is in ``broker.authority.controls``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

from broker.authority import happenings
from broker.authority.model import Fact, Given
from broker.authority.senders import BY_RELATION, fits_some_kind
from broker.authority.state import CaseState, Effect, Holder, PersonState
from broker.authority.table import Table
from broker.names import CaseRef, Digest, EventId, Millis, PersonRef, Phase, Role


def fold(case: CaseRef, facts: Iterable[Fact], *, table: Table) -> CaseState:
    """What these facts tell of the case; of an event that comes twice, the lowest position counts."""
    first: dict[EventId, Fact] = {}
    for fact in facts:
        seen = first.get(fact.event_id)
        if fact.case == case and (seen is None or fact.position < seen.position):
            first[fact.event_id] = fact
    state = CaseState(case, table)
    steps: dict[int, tuple[list[Given], list[Fact]]] = {}
    for fact in first.values():
        steps.setdefault(fact.position, ([], []))[1].append(fact)
    for given in _earliest(first.values()):
        state.given[given.digest] = given
        steps.setdefault(given.position, ([], []))[0].append(given)
    for position in sorted(steps):
        mandates, here = steps[position]
        _step(state, mandates, here, position)
    return state


def add(state: CaseState, fact: Fact) -> CaseState:
    """The state with one more fact; the state given is left as it was.

    Whatever comes out of order is folded again from the start, so the order of arrival never shows.
    """
    new = [given for given in fact.mandates if given.digest not in state.given]
    if (
        fact.event_id in state.facts
        or fact.position <= state.last
        or any(given.position != fact.position for given in new)
    ):
        return fold(state.case, [*state.facts.values(), fact], table=state.table)
    following = copy.copy(state)
    for name in _TABLES:
        setattr(following, name, dict(getattr(state, name)))
    for given in new:
        following.given[given.digest] = given
    if fact.case == state.case:
        _step(following, new, [fact], fact.position)
    return following


_TABLES = (
    "facts", "given", "holders", "persons", "effects", "person_effects", "grants", "withdrawn", "cancelled",
    "countersigned", "replies", "home_reports",
)  # fmt: skip


def _earliest(facts: Iterable[Fact]) -> list[Given]:
    found: dict[Digest, Given] = {}
    for fact in facts:
        for given in fact.mandates:
            seen = found.get(given.digest)
            if seen is None or given.position < seen.position:
                found[given.digest] = given
    return sorted(found.values(), key=lambda given: (given.position, given.digest))


def _step(state: CaseState, mandates: list[Given], facts: list[Fact], position: int) -> None:
    """One position of the stream: judge the event, apply what it gives, then what it sets."""
    state.last = position
    for fact in facts:
        _judge(state, fact)
    pending = list(mandates)
    while pending:
        ready = [given for given in pending if _under_known(state, given, pending)]
        for given in ready or pending:
            _give(state, given)
        pending = [given for given in pending if given not in ready] if ready else []
    for fact in facts:
        _set_phases(state, fact)
        happenings.apply(state, fact)


def _under_known(state: CaseState, given: Given, pending: list[Given]) -> bool:
    return given.mandate.under_mandate not in {one.digest for one in pending}


def _judge(state: CaseState, fact: Fact) -> None:
    """Whether the event is effective, for each of its persons and as a whole."""
    state.facts[fact.event_id] = fact
    whole = _whole(state, fact)
    if whole is Effect.EFFECTIVE:
        each = [_for_person(state, fact, place) for place in range(len(fact.persons))]
        for person, effect in zip(fact.persons, each, strict=True):
            state.person_effects[fact.event_id, person] = effect
        if each and all(each):
            whole = each[0]
    state.effects[fact.event_id] = whole
    if whole is not Effect.EFFECTIVE:
        for person in fact.persons:
            state.person_effects.setdefault((fact.event_id, person), whole)
        return
    if state.status is None:
        state.status = fact.status
    if Role.OPENER in fact.sender_roles and state.opener is None:
        state.opener = (fact.author, fact.event_id)


def _whole(state: CaseState, fact: Fact) -> Effect:
    if state.status is not None and fact.status is not state.status:
        return Effect.STATUS
    if Role.OPENER in fact.sender_roles and state.opener not in (None, (fact.author, fact.event_id)):
        return Effect.SECOND_OPENER
    if Role.OPENER in fact.sender_roles and any(
        one.position < fact.position
        and one.type not in state.table.controls
        and state.effect(one.event_id) is Effect.EFFECTIVE
        for one in state.facts.values()
    ):
        return Effect.SECOND_OPENER
    return happenings.relation(state, fact)


def claimed_role(fact: Fact, place: int) -> Role:
    """The role that the sender claims for the person at this place."""
    if len(fact.sender_roles) == len(fact.persons):
        return fact.sender_roles[place]
    return fact.sender_roles[0] if fact.sender_roles else BY_RELATION


def _for_person(state: CaseState, fact: Fact, place: int) -> Effect:
    role, person = claimed_role(fact, place), fact.persons[place]
    claimed = fact.phases.get(person, Phase.NEW)
    if role is Role.OPENER:
        return Effect.EFFECTIVE
    if role is not BY_RELATION and not state.standing(role):
        held = _holds(state, fact.author, role, person, fact.accepted_at, fact.position)
        if held is not Effect.EFFECTIVE:
            return held
    _hear(state, fact, role, person, claimed)
    if fact.type in state.table.controls:
        return Effect.EFFECTIVE
    fits = fits_some_kind(
        state.table, fact.type, fact.variant, status=fact.status, role=role, phase=state.phase(person)
    )
    return Effect.EFFECTIVE if fits else Effect.OVERTAKEN


def _holds(state: CaseState, agency: str, role: Role, person: PersonRef, at: Millis, position: int) -> Effect:
    mine = [
        holder
        for holder in state.holders.values()
        if holder.given.mandate.agency == agency
        and holder.given.mandate.role is role
        and holder.given.mandate.person in (None, person)
    ]
    if any(holder.live(at, position) for holder in mine):
        return Effect.EFFECTIVE
    return Effect.ENDED if mine else Effect.NO_ROLE


def _hear(state: CaseState, fact: Fact, role: Role, person: PersonRef, claimed: Phase) -> None:
    """Takes over the phase that a sender tells: of a person not known yet, or a later one from who must know."""
    known = state.persons.get(person)
    if claimed is Phase.NEW or role is BY_RELATION:
        return
    believed = known is None or (claimed > known.phase and (not known.own or role in state.table.heard))
    if believed:
        state.persons[person] = PersonState(
            claimed,
            False,
            fact.author,
            fact.event_id,
            ordered=claimed >= Phase.PLACED or (known is not None and known.ordered),
            restored=claimed is Phase.RESTORED,
        )


def _give(state: CaseState, given: Given) -> None:
    """A mandate takes effect if its giver held the role under which it gave, and nothing stands against it."""
    mandate = given.mandate
    if mandate.case != state.case or state.effect(mandate.event_id, mandate.person) is not Effect.EFFECTIVE:
        return
    if mandate.under is Role.OPENER:
        if state.opener is None:
            state.opener = (mandate.giver, mandate.event_id)
        elif state.opener != (mandate.giver, mandate.event_id):
            return
    elif mandate.under_mandate is not None:
        under = state.holders.get(mandate.under_mandate)
        if under is None or not under.live(given.accepted_at, given.position):
            return
    if _taken(state, given):
        return
    state.holders[given.digest] = Holder(given)
    if mandate.role is Role.IA:
        happenings.end_others(state, given, lambda other: other.agency != mandate.agency)
    elif not mandate.provisional:
        happenings.end_others(state, given, lambda other: other.provisional and other.person == mandate.person)


def _taken(state: CaseState, given: Given) -> bool:
    """Whether the role may be given only to a person without it, and another holds it already."""
    mandate = given.mandate
    rows = [
        row
        for row in state.table.assigned(mandate.type, mandate.variant)
        if row.gives is mandate.role and mandate.under in row.by and row.provisional == mandate.provisional
    ]
    if not rows or any(row.only != "person-without-role" for row in rows):
        return False
    return any(
        holder.given.mandate.agency != mandate.agency
        for holder in state.having(mandate.role, mandate.person, given.accepted_at, given.position)
    )


def _set_phases(state: CaseState, fact: Fact) -> None:
    for place, person in enumerate(fact.persons):
        if state.effect(fact.event_id, person) is not Effect.EFFECTIVE:
            continue
        before = state.phase(person) if person in state.persons else fact.phases.get(person, Phase.NEW)
        after = happenings.phase_set(state, fact, claimed_role(fact, place), before)
        known = state.persons.get(person)
        if after is None or (known is not None and known.own and after is before):
            continue
        base = known or PersonState(after, True, fact.author, fact.event_id)
        state.persons[person] = replace(
            base,
            phase=after,
            own=True,
            author=fact.author,
            event=fact.event_id,
            ordered=base.ordered and after > Phase.RESCUED,
            restored=after is Phase.RESTORED or (base.restored and after is Phase.CLOSED),
        )
