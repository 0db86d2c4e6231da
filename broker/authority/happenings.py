"""What an effective event changes beside the roles that it gives: phases, endings, grants, cancels, receipts.

Part of the fold of ``broker.authority.fold``; every function changes the state that is being built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from broker.authority import roles, values
from broker.authority.model import Fact, Given, Grant, Mandate
from broker.authority.state import CaseState, Effect, Holder
from broker.clock import DAY
from broker.names import AgencyId, Compartment, EventId, Millis, PersonRef, Phase, Role

AFTER_DISCHARGE = 30 * DAY
"""How long a shelter keeps its role after the person left it (domain §5.2.4)."""
_AFTER_REPLY = 90 * DAY
_DISCHARGED = frozenset({"discharged", "transferred", "refused-full"})
_DECISIONS = frozenset({"grant", "part-grant"})


def end_others(state: CaseState, given: Given, which: Callable[[Mandate], bool]) -> None:
    """Ends, with this mandate, the other mandates of the same role that ``which`` names."""
    for digest, holder in list(state.holders.items()):
        mandate = holder.given.mandate
        if digest == given.digest or mandate.role is not given.mandate.role or holder.ended_position is not None:
            continue
        if holder.given.position <= given.position and which(mandate):
            _end(state, holder, given.position, given.mandate.event_id)


def _end(state: CaseState, holder: Holder, position: int, event: EventId) -> None:
    state.holders[holder.given.digest] = replace(holder, ended_position=position, ended_by=event)


def _end_at(state: CaseState, holder: Holder, at: int, event: EventId) -> None:
    if holder.ended_at is None or at < holder.ended_at:
        state.holders[holder.given.digest] = replace(holder, ended_at=Millis(at), ended_by=event)


def phase_set(state: CaseState, fact: Fact, role: Role, before: Phase) -> Phase | None:
    """The phase that this event sets for a person who was in ``before``, if it sets one."""
    return roles.phase_set(
        state.table,
        event_type=fact.type,
        variant=fact.variant,
        role=role,
        before=before,
        of={_type_of(state, one) for one in fact.references},
    )


def _type_of(state: CaseState, event: EventId) -> str:
    fact = state.facts.get(event)
    return fact.type if fact is not None else ""


def relation(state: CaseState, fact: Fact) -> Effect:
    """Whether the sender of a control is what the control asks for, as far as this party can tell.

    What it cannot tell it believes: the sender signed, and proved its role.
    """
    refs = [state.facts[one] for one in fact.references if one in state.facts]
    ok = True
    match fact.type:
        case "amend":
            amended = [state.facts[one] for one in _amended(fact) if one in state.facts]
            ok = all(one.author == fact.author for one in amended)
        case "ack":
            ok = all(not one.to or fact.author in one.to or one.author == fact.author for one in refs)
        case "cancel" if fact.variant == "alert":
            ok = all(one.author == fact.author for one in refs) or _rescuer(fact)
        case "cancel":
            ok = all(_may_close(state, fact, person) for person in fact.persons)
    return Effect.EFFECTIVE if ok else Effect.RELATION


def _amended(fact: Fact) -> tuple[EventId, ...]:
    of = fact.control.get("amend.of")
    return (values.event_id(of),) if values.known(of) else fact.references[:1]


def _rescuer(fact: Fact) -> bool:
    """Whether the sender holds a role in which a rescue is told; a party need not have been told of the rescue."""
    return bool(fact.sender_roles) and all(role in (Role.DP, Role.TP, Role.HP, Role.IA) for role in fact.sender_roles)


def _may_close(state: CaseState, fact: Fact, person: PersonRef) -> bool:
    """The owner closes; where this party does not know the owner, a role that can own must be proved."""
    if person in state.persons and state.persons[person].own:
        owner = state.owner(Compartment.PERSON_IDENTITY, person, fact.accepted_at)
        if owner is not None:
            return owner == fact.author
    return any(role in (Role.CJ, Role.CH, Role.HP, Role.IA, Role.DP) for role in fact.sender_roles)


def apply(state: CaseState, fact: Fact) -> None:
    """What an effective event sets beside phases and roles."""
    if state.effect(fact.event_id) is not Effect.EFFECTIVE:
        return
    persons = tuple(one for one in fact.persons if state.effect(fact.event_id, one) is Effect.EFFECTIVE)
    match fact.type, fact.variant:
        case "rescue.notice", _:
            _end_provisional(state, fact, persons, Role.CJ)
        case "cwc.order", _:
            for person in persons:
                known = state.persons[person]
                state.persons[person] = replace(known, ordered=True)
        case "shelter.placement", _:
            _discharge(state, fact, persons)
        case "verify.report", "nationality":
            _reply(state, fact, persons)
        case "verify.report", _:
            state.home_reports.update(dict.fromkeys(persons, fact.accepted_at))
        case "ack", "counter-signed":
            _countersign(state, fact, persons)
        case "cancel", _:
            _cancel(state, fact, persons)
        case "access.grant", _:
            _grant(state, fact)
        case "disclosure.decision", variant if variant in _DECISIONS:
            _decide(state, fact)
        case "access.withdraw", _:
            _withdraw(state, fact)


def _end_provisional(state: CaseState, fact: Fact, persons: Iterable[PersonRef], role: Role) -> None:
    for person in persons:
        for holder in state.having(role, person, fact.accepted_at):
            if holder.given.mandate.provisional:
                _end(state, holder, fact.position, fact.event_id)


def _discharge(state: CaseState, fact: Fact, persons: Iterable[PersonRef]) -> None:
    for person in persons:
        if fact.coded.get(("place.status", person)) in _DISCHARGED:
            for holder in state.roles(fact.author, person, fact.accepted_at):
                if holder.given.mandate.role is Role.SH:
                    _end_at(state, holder, fact.accepted_at + AFTER_DISCHARGE, fact.event_id)


def _reply(state: CaseState, fact: Fact, persons: Iterable[PersonRef]) -> None:
    for person in persons:
        state.replies[person] = fact.accepted_at
        for holder in state.having(Role.FP, person, fact.accepted_at):
            _end_at(state, holder, fact.accepted_at + _AFTER_REPLY, fact.event_id)


def _countersign(state: CaseState, fact: Fact, persons: tuple[PersonRef, ...]) -> None:
    """The escort's role and the help on the way end a day after the counter-signature."""
    handovers = [one for one in fact.references if _type_of(state, one) == "handover.record"]
    for event in handovers:
        state.countersigned.setdefault(event, fact.accepted_at)
    if not handovers:
        return
    for holder in list(state.holders.values()):
        mandate = holder.given.mandate
        if mandate.type != "repatriation.order" or holder.given.position >= fact.position:
            continue
        order = state.facts.get(mandate.event_id)
        moved = (mandate.person,) if mandate.person else (order.persons if order is not None else ())
        if set(moved) & set(persons):
            _end_at(state, holder, fact.accepted_at + DAY, fact.event_id)


def _cancel(state: CaseState, fact: Fact, persons: Iterable[PersonRef]) -> None:
    events: Iterable[EventId] = fact.references
    if fact.variant == "case" and not fact.references:
        events = [one.event_id for one in state.facts.values() if one.type in state.table.alerts]
    for event in events:
        for person in persons:
            state.cancelled.setdefault((event, person), fact.accepted_at)


def _grant(state: CaseState, fact: Fact) -> None:
    control = fact.control
    agency = values.agency(control.get("grant.to"))
    rule = state.table.grants.get(fact.variant)
    if agency is None or rule is None:
        return
    if fact.variant == "home-visit" and not set(fact.sender_roles) & {Role.CH, Role.CJ}:
        return
    _keep(
        state,
        fact,
        agency,
        person=values.person(control.get("grant.person")),
        compartments=values.compartments(control.get("grant.compartments")) & rule.compartments,
        messages=values.event_ids(control.get("grant.messages")),
        later=control.get("grant.later") is True,
        until=values.millis(control.get("grant.until")),
        limit=rule.limit,
    )


def _decide(state: CaseState, fact: Fact) -> None:
    control = fact.control
    if not values.known(control.get("dec.request")):
        return
    request = state.facts.get(values.event_id(control["dec.request"]))
    if request is None:
        return
    rule = state.table.grants["owner"]
    _keep(
        state,
        fact,
        request.author,
        person=values.person(control.get("dec.person")),
        compartments=values.compartments(control.get("dec.compartments")) & rule.compartments,
        messages=values.event_ids(control.get("dec.messages")),
        later=False,
        until=values.millis(control.get("dec.until")),
        limit=rule.limit,
    )


def _keep(
    state: CaseState,
    fact: Fact,
    agency: AgencyId,
    *,
    person: PersonRef | None,
    compartments: frozenset[Compartment],
    messages: tuple[EventId, ...],
    later: bool,
    until: Millis | None,
    limit: int,
) -> None:
    longest = values.end_of_day_after(fact.accepted_at, limit)
    state.grants[fact.event_id] = Grant(
        id=fact.event_id,
        grantor=fact.author,
        agency=agency,
        person=person,
        compartments=compartments,
        messages=frozenset(messages),
        later=later,
        until=Millis(min(until, longest)) if until is not None else longest,
    )


def _withdraw(state: CaseState, fact: Fact) -> None:
    """Counts from the message named in ``withdraw.from``; only from the grantor, the owner, or CJ or CH."""
    grant_id = fact.control.get("withdraw.grant")
    grant = state.grants.get(values.event_id(grant_id)) if values.known(grant_id) else None
    if grant is None:
        return
    owners = {state.owner(one, grant.person, fact.accepted_at) for one in grant.compartments}
    by_role = set(fact.sender_roles) & {Role.CJ, Role.CH}
    if fact.author != grant.grantor and fact.author not in owners and not by_role:
        return
    since = fact.position
    named = fact.control.get("withdraw.from")
    if values.known(named) and values.event_id(named) in state.facts:
        since = min(since, state.facts[values.event_id(named)].position)
    state.withdrawn[grant.id] = min(since, state.withdrawn.get(grant.id, since))
