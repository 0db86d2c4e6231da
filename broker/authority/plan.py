"""Everything that is decided before a message is sealed: under which roles, what it gives, who reads what.

``plan`` makes the message a fact of its own and asks the state in which it counts already; so what the sender
decides is what every recipient will find. Nothing is sent that would be refused, or change nothing, at the other end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from broker.authority import audience, controls, giving, granting, values
from broker.authority import roles as rules
from broker.authority.basis import Decide, Setting
from broker.authority.chain import can_open, holds_standing
from broker.authority.controls import Control, Sending
from broker.authority.fold import add
from broker.authority.model import Claim, Fact, Held, Mandate, Plan
from broker.authority.senders import BY_RELATION, entry_for
from broker.authority.state import CaseState, Effect
from broker.authority.table import SenderRule, Table
from broker.authority.warn import warnings
from broker.errors import InputError, Refused
from broker.event.model import Event
from broker.names import AgencyId, CaseRef, Compartment, EventId, Millis, PersonRef, Phase, Role
from broker.trust.bundle import Parameters
from broker.trust.directory import Agency, Directory

_CONTROLS: Final[Mapping[str, Control]] = {
    "ack": controls.ack,
    "amend": controls.amend,
    "cancel": controls.cancel,
    "access.grant": granting.grant,
    "access.withdraw": granting.withdraw,
    "disclosure.request": controls.request,
    "disclosure.decision": granting.decision,
}
_CONTROL_ROLES: Final = (
    Role.IA, Role.DP, Role.CH, Role.CJ, Role.SH, Role.ES, Role.HP, Role.TP, Role.FP, Role.LS, Role.WD, Role.NR,
    Role.NC, Role.CM, Role.AS,
)  # fmt: skip
"""In which of its roles a sender signs a control, first to last."""


def plan(
    event: Event,
    *,
    event_id: EventId,
    author: AgencyId,
    state: CaseState | None,
    directory: Directory,
    table: Table,
    decide: Decide,
    at: Millis,
    case: CaseRef,
    case_salt: bytes | None,
    parameters: Parameters | None = None,
) -> Plan:
    """The claims, mandates and readers of a message that this agency is about to send.

    ``state`` is what the agency knows of the case, None where the record opens it; then ``case_salt`` is the salt
    behind ``case``. Auditors and the envelope's own parts are not in the plan.

    Raises:
        InputError: a field names something that is not so; it says which and what to do.
        Refused: the sender's role, kind or phase does not allow it, or one that must be addressed is not.
    """
    agency = directory.agency(author, field="author")
    first = giving.opening(state)
    known = CaseState(case, table) if state is None else state
    _check_sender_at_all(event, agency, known, at=at)
    if first and not values.opens(case, giver=author, salt=case_salt):
        raise InputError('case: this case is not known here; write "new" to open one', field="case")
    sending = Sending(event, agency, known, directory, decide, at)
    if event.type in table.controls:
        to, claims, mandates = _control(sending, first=first)
    else:
        to = tuple(dict.fromkeys(one for one in event.to if one != author))
        claims = _claims(event, agency, known, first=first, at=at)
        salt = case_salt if first else None
        giver = giving.Giver(agency, event_id, case, salt, known, directory, at, parameters or Parameters())
        mandates = giving.mandates(event, giver)
    addressed = tuple(_addressee(directory, one, at) for one in to)
    _check_given(mandates, author, to)
    fact = _as_fact(event, event_id, author, case, claims, mandates, position=known.last + 1, at=at)
    message = _message(sending, fact, _after(known, fact), mandates)
    musts = _musts(sending, message, claims)
    _check_musts(event, author, to, musts)
    readers = (audience.author(message, agency), *(audience.reader(message, one, decide) for one in addressed))
    return Plan(claims, mandates, readers, warnings(message, agency, addressed, readers, musts, decide, directory))


def _control(sending: Sending, *, first: bool) -> tuple[tuple[AgencyId, ...], tuple[Claim, ...], tuple[Mandate, ...]]:
    """Addressees and claims of a control; it gives no roles."""
    event = sending.event
    if first:
        raise InputError(f"case: a {event.type} needs a case that exists", field="case")
    claims = tuple(_control_claim(sending, person) for person in event.persons)
    to = _CONTROLS[event.type](sending)
    _check_amend(sending)
    return to, claims, ()


def _musts(
    sending: Sending, message: audience.Message, claims: Sequence[Claim]
) -> tuple[tuple[Role, tuple[Agency, ...]], ...]:
    event = sending.event
    return rules.must_address(
        sending.table,
        message.after,
        sending.directory,
        event_type=event.type,
        variant=event.variant,
        persons=event.persons,
        before=[claim.phase for claim in claims],
        at=sending.at,
    )


def _check_sender_at_all(event: Event, agency: Agency, state: CaseState, *, at: Millis) -> None:
    if not agency.enrolled_at(at):
        raise Refused(f"{agency.id} is not enrolled now and sends nothing")
    if not agency.may_send(event.clear.post, event.type):
        raise Refused(f"post: {event.clear.post} may not send a {event.type}; the directory says which post may")
    if not event.persons:
        raise InputError("persons: name at least one person", field="persons")
    if state.status is not None and event.clear.status is not state.status:
        raise Refused(
            f"status: the case is {state.status.label}, this is {event.clear.status.label}; "
            "a drill is never mixed with a case"
        )


def _addressee(directory: Directory, agency_id: AgencyId, at: Millis) -> Agency:
    agency = directory.agency(agency_id)
    if not agency.enrolled_at(at):
        raise InputError(f"to: {agency_id} is not enrolled now; leave it out or name another", field="to")
    return agency


def _claims(event: Event, agency: Agency, state: CaseState, *, first: bool, at: Millis) -> tuple[Claim, ...]:
    """The role under which the author sends for each person, and that it may write what it wrote."""
    written = frozenset(compartment for compartment, _ in event.blocks)
    claims: list[Claim] = []
    for person in event.persons:
        found = (
            _opening_claim(event, agency, person, state.table) if first else _claim(event, agency, state, person, at)
        )
        if found is None:
            raise Refused(_why_not(event, agency, state, person, first=first, at=at))
        claim, entry = found
        beyond = written & entry.may_not_write
        if beyond:
            words = ", ".join(sorted(one.label for one in beyond))
            raise Refused(f"{agency.id} may not write {words} in a {event.type}; leave these fields out")
        claims.append(claim)
    return tuple(claims)


def _opening_claim(event: Event, agency: Agency, person: PersonRef, table: Table) -> tuple[Claim, SenderRule] | None:
    entry = entry_for(
        table, event.type, event.variant, status=event.clear.status, kind=agency.kind, role=Role.OPENER, phase=Phase.NEW
    )
    if entry is None or (entry.roles and not any(holds_standing(agency, role, table) for role in entry.roles)):
        return None
    return Claim(person, Role.OPENER, None, Phase.NEW), entry


def _claim(
    event: Event, agency: Agency, state: CaseState, person: PersonRef, at: Millis
) -> tuple[Claim, SenderRule] | None:
    """The strongest applicable role: that may write most, then for the whole case, then in the order of the entry."""
    phase = state.phase(person)
    found: list[tuple[tuple[int, int, int], Claim, SenderRule]] = []
    for held in _roles_for(agency, state, person, event.variant, at):
        entry = entry_for(
            state.table, event.type, event.variant,
            status=event.clear.status, kind=agency.kind, role=held.role, phase=phase,
        )  # fmt: skip
        if entry is None:
            continue
        width = 2 if held.mandate is None else int(held.person is not None)
        rank = (len(entry.may_not_write), width, entry.roles.index(held.role))
        found.append((rank, Claim(person, held.role, held.mandate, phase), entry))
    if not found:
        return None
    _, claim, entry = min(found, key=lambda one: one[0])
    return claim, entry


def _roles_for(agency: Agency, state: CaseState, person: PersonRef, variant: str, at: Millis) -> tuple[Held, ...]:
    return rules.in_message(state, agency, variant=variant, persons=(person,), at=at)


def _why_not(event: Event, agency: Agency, state: CaseState, person: PersonRef, *, first: bool, at: Millis) -> str:
    alias = event.aliases.get(person, "a person")
    if first:
        may = [name for name in state.table.senders if can_open(state.table, name, event.variant, agency)]
        hint = f"it may open one with {', '.join(may)}" if may else "it opens none"
        return f"{agency.id}, of kind {agency.kind.label}, cannot open a case with a {event.type}; {hint}"
    held = ", ".join(dict.fromkeys(one.role.label for one in _roles_for(agency, state, person, event.variant, at)))
    needed = "; or ".join(
        " or ".join(role.label for role in rule.roles)
        + " in "
        + ", ".join(one.label for one in sorted(rule.phases or ()))
        for rule in state.table.sending(event.type, event.variant)
        if rule.roles and not rule.opens
    )
    return (
        f"{agency.id} is {held or 'nothing'} for {alias} in phase {state.phase(person).label} "
        f"and may not send a {event.type}; that is for {needed or 'nobody'}"
    )


def _control_claim(sending: Sending, person: PersonRef) -> Claim:
    """The role in which a control is signed: the first that the senders entry takes, else by relation."""
    event, state = sending.event, sending.state
    phase = state.phase(person)
    held = {one.role: one for one in reversed(_roles_for(sending.agency, state, person, event.variant, sending.at))}
    order: tuple[Role, ...] = _CONTROL_ROLES
    if event.variant == "counter-signed":
        custody = controls.custody(sending, person)
        order = (custody,) if custody is not None else ()
    for role in (*order, BY_RELATION):
        entry = entry_for(
            state.table, event.type, event.variant,
            status=event.clear.status, kind=sending.agency.kind, role=role, phase=phase,
        )  # fmt: skip
        if entry is None or (role not in held and role is not BY_RELATION):
            continue
        return Claim(person, role, held[role].mandate if role in held else None, phase)
    raise Refused(f"{sending.agency.id} may not send {event.type} ({event.variant}) for {sending.alias(person)}")


def _check_amend(sending: Sending) -> None:
    """An amended event may hold only what its author might write in it."""
    if sending.event.type != "amend":
        return
    fact = controls.amended(sending)
    entries = [
        entry_for(
            sending.table, fact.type, fact.variant,
            status=fact.status, kind=sending.agency.kind, role=role, phase=fact.phases.get(person, Phase.NEW),
        )
        for role in fact.sender_roles
        for person in fact.persons
    ]  # fmt: skip
    allowed = [entry for entry in entries if entry is not None]
    written = frozenset(compartment for compartment, _ in sending.event.blocks)
    beyond = written & frozenset[Compartment]().union(*(entry.may_not_write for entry in allowed))
    if beyond:
        words = ", ".join(sorted(one.label for one in beyond))
        raise Refused(f"{sending.agency.id} may not write {words} in a {fact.type}; leave these fields out")


def _check_given(mandates: Sequence[Mandate], author: AgencyId, to: Sequence[AgencyId]) -> None:
    for mandate in mandates:
        if mandate.agency != author and mandate.agency not in to:
            raise Refused(f"to: {mandate.agency} becomes {mandate.role.label} by this message; add it")


def _as_fact(
    event: Event,
    event_id: EventId,
    author: AgencyId,
    case: CaseRef,
    claims: Sequence[Claim],
    mandates: Sequence[Mandate],
    *,
    position: int,
    at: Millis,
) -> Fact:
    """The message as its author will know it once it is accepted."""
    return Fact(
        event_id=event_id,
        type=event.type,
        variant=event.variant,
        status=event.clear.status,
        author=author,
        case=case,
        position=position,
        accepted_at=at,
        act_at=event.clear.act_at,
        expires_at=event.clear.expires_at,
        references=event.clear.references,
        persons=event.persons,
        phases={claim.person: claim.phase for claim in claims},
        sender_roles=tuple(claim.role for claim in claims),
        mandates=tuple(giving.as_given(one, position=position, at=at) for one in mandates),
        control=event.blocks.get((Compartment.ACCESS, None), {}),
        coded={("place.status", one): event.value("place.status", one) for one in event.persons},
    )


def _after(state: CaseState, fact: Fact) -> CaseState:
    """The state with the message in it.

    Raises:
        Refused: the message, or a role that it gives, would have no effect.
    """
    after = add(state, fact)
    for person in fact.persons:
        effect = after.effect(fact.event_id, person)
        if effect is not Effect.EFFECTIVE:
            raise Refused(f"this {fact.type} would change nothing: {effect.value}")
    for given in fact.mandates:
        if given.digest not in after.holders:
            raise Refused(
                f"mandates: {given.mandate.role.label} cannot be given to {given.mandate.agency}; "
                "another agency holds it"
            )
    return after


def _message(sending: Sending, fact: Fact, after: CaseState, mandates: tuple[Mandate, ...]) -> audience.Message:
    event = sending.event
    decided = controls.amended(sending) if event.type == "amend" else fact
    setting = Setting(
        event_id=fact.event_id,
        type=decided.type,
        variant=decided.variant,
        persons=event.persons,
        phases={person: after.phase(person) for person in event.persons},
        author=fact.author,
        control=event.type if event.type in sending.table.controls else "",
        expired=fact.expires_at is not None and sending.at > fact.expires_at,
        movement_ended=after.movement_ended(decided.event_id, sending.at),
    )
    return audience.Message(setting, tuple(event.blocks), mandates, after, decided.variant, fact.position, sending.at)


def _check_musts(
    event: Event, author: AgencyId, to: Sequence[AgencyId], musts: Sequence[tuple[Role, tuple[Agency, ...]]]
) -> None:
    for role, agencies in musts:
        missing = [one.id for one in agencies if one.id not in to and one.id != author]
        if missing:
            raise Refused(f"to: a {event.type} must address {role.label}: add {', '.join(missing)}")
