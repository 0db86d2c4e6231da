"""Who may widen an audience beyond the matrix, how far and for how long (domain §5.2.4, "Grants", and §5.4)."""

from __future__ import annotations

from collections.abc import Iterable

from broker.authority import roles as rules
from broker.authority import values
from broker.authority.basis import Setting, how_to_ask, permitted
from broker.authority.controls import Sending, exactly
from broker.authority.model import Fact, Held
from broker.authority.table import GrantRule
from broker.errors import InputError, Refused
from broker.names import PERSON_SCOPED, AgencyId, Compartment, PersonRef, Role
from broker.policy.model import ASK_WITH_ORDER
from broker.trust.directory import Agency

_DECISIONS = frozenset({"grant", "part-grant"})


def grant(sending: Sending) -> tuple[AgencyId, ...]:
    """access.grant: to the grantee, with a copy to the owner."""
    rule = sending.table.grants[sending.event.variant]
    named = values.agency(sending.fields.get("grant.to"))
    if named is None:
        raise InputError("grant.to: name the agency that is to read", field="grant.to")
    grantee = sending.directory.agency(named, field="grant.to")
    if rule.to_kinds is not None and grantee.kind not in rule.to_kinds:
        kinds = ", ".join(kind.label for kind in rule.to_kinds)
        raise Refused(
            f"grant.to: a {rule.variant} grant is for an agency of kind {kinds}; {named} is {grantee.kind.label}"
        )
    compartments = values.compartments(sending.fields.get("grant.compartments"))
    person = values.person(sending.fields.get("grant.person"))
    messages = sending.named("grant.messages")
    if not messages and sending.fields.get("grant.later") is not True:
        raise InputError("grant.messages: name the messages, or set grant.later", field="grant.messages")
    _check_compartments(sending, rule, compartments, person, "grant")
    _check_until(sending, rule, "grant.until")
    _check_order(sending, rule, grantee, compartments, person, messages, "grant.orderNo")
    owners = {sending.state.owner(one, person, sending.at, fact.event_id) for fact in messages for one in compartments}
    if not messages:
        owners = {sending.state.owner(one, person, sending.at) for one in compartments}
    if rule.variant == "home-visit":
        _check_reads_itself(sending, compartments, person, messages)
    elif owners != {sending.agency.id}:
        raise Refused(
            f"grant.compartments: {sending.agency.id} does not own all of them; ask the owner by disclosure.request"
        )
    return exactly(sending, [named, *(one for one in owners if one is not None)])


def decision(sending: Sending) -> tuple[AgencyId, ...]:
    """disclosure.decision: to the asker."""
    requests = sending.named("dec.request")
    if not requests or requests[0].type != "disclosure.request":
        raise InputError("dec.request: name the disclosure.request that is answered", field="dec.request")
    asked = requests[0]
    wanted = values.compartments(asked.control.get("req.compartments"))
    if sending.event.variant not in _DECISIONS:
        if not _owns_any(sending, asked, wanted):
            raise Refused(f"dec.request: {sending.agency.id} owns nothing of what is asked for")
        return exactly(sending, [asked.author])
    rule = sending.table.grants["owner"]
    compartments = values.compartments(sending.fields.get("dec.compartments"))
    person = values.person(sending.fields.get("dec.person"))
    messages = sending.named("dec.messages")
    if not messages:
        raise InputError("dec.messages: name the messages that may be read", field="dec.messages")
    if not compartments <= wanted:
        raise InputError("dec.compartments: more than was asked for; leave out what was not", field="dec.compartments")
    _check_compartments(sending, rule, compartments, person, "dec")
    _check_until(sending, rule, "dec.until")
    grantee = sending.directory.agency(asked.author, field="dec.request")
    _check_order(sending, rule, grantee, compartments, person, messages, "dec.orderNo")
    for fact in messages:
        for one in compartments:
            if sending.state.owner(one, person, sending.at, fact.event_id) != sending.agency.id:
                raise Refused(f"dec.compartments: {sending.agency.id} does not own {one.label} of a message named")
    return exactly(sending, [asked.author])


def withdraw(sending: Sending) -> tuple[AgencyId, ...]:
    """access.withdraw: to the grantee and the owner; by the grantor, the owner, or CJ or CH of the person."""
    named = sending.named("withdraw.grant")
    found = sending.state.grants.get(named[0].event_id) if named else None
    if found is None:
        raise InputError("withdraw.grant: name a grant of this case", field="withdraw.grant")
    owners = {
        sending.state.owner(one, found.person, sending.at, message)
        for one in found.compartments
        for message in found.messages or [None]
    }
    committee = any(
        holder.given.mandate.role in (Role.CJ, Role.CH)
        for holder in sending.state.roles(sending.agency.id, found.person, sending.at)
    )
    if sending.agency.id != found.grantor and sending.agency.id not in owners and not committee:
        raise Refused("withdraw.grant: only the grantor, the owner, or CJ or CH of the person withdraws a grant")
    return exactly(sending, [found.agency, *(one for one in owners if one is not None)])


def _owns_any(sending: Sending, asked: Fact, wanted: Iterable[Compartment]) -> bool:
    messages = values.event_ids(asked.control.get("req.messages"))
    persons = (values.person(asked.control.get("req.person")),) if asked.control.get("req.person") else asked.persons
    return any(
        sending.state.owner(one, person, sending.at, message) == sending.agency.id
        for one in wanted
        for person in persons
        for message in (*messages, None)
    )


def _check_compartments(
    sending: Sending, rule: GrantRule, compartments: frozenset[Compartment], person: PersonRef | None, prefix: str
) -> None:
    field = f"{prefix}.compartments"
    if not compartments:
        raise InputError(f"{field}: name at least one compartment", field=field)
    beyond = compartments - rule.compartments
    if beyond:
        words = ", ".join(sorted(one.label for one in beyond))
        raise Refused(f"{field}: {words} cannot be granted so")
    if compartments & PERSON_SCOPED and person is None:
        raise InputError(
            f"{prefix}.person: these compartments are of one person; name the person", field=f"{prefix}.person"
        )
    if person is not None and person not in sending.event.persons:
        raise InputError(f"{prefix}.person: the record does not name this person", field=f"{prefix}.person")


def _check_until(sending: Sending, rule: GrantRule, field: str) -> None:
    until = values.millis(sending.fields.get(field))
    if until is None or until <= sending.at:
        raise InputError(f"{field}: name a time to come", field=field)
    if until > values.end_of_day_after(sending.at, rule.limit):
        raise Refused(
            f"{field}: a {rule.variant} grant lasts at most {rule.limit // 86_400_000} days; name an earlier time"
        )


def _check_order(
    sending: Sending,
    rule: GrantRule,
    grantee: Agency,
    compartments: frozenset[Compartment],
    person: PersonRef | None,
    messages: Iterable[Fact],
    field: str,
) -> None:
    """An order number is needed for a home visit, for a cell marked x, and for a victim's identity outside the case.

    What counts is how the grantee could ask by the roles that it held at each message (domain §5.2.1, JJ Act s.74).
    """
    if values.known(sending.fields.get(field)):
        return
    needed = rule.order_always
    for fact in messages:
        held = roles_at(sending, fact, grantee)
        for one in compartments:
            block = (one, person if one in PERSON_SCOPED else None)
            way = how_to_ask(block, held, grantee.kind, setting_of(sending, fact), sending.decide)
            needed = needed or way == ASK_WITH_ORDER or (not held and one in sending.table.victim_identity)
    if not tuple(messages) and compartments & sending.table.victim_identity:
        needed = True
    if needed:
        raise Refused(f"{field}: this needs the number of an order of the committee, the court or the police; add it")


def _check_reads_itself(
    sending: Sending, compartments: Iterable[Compartment], person: PersonRef | None, messages: Iterable[Fact]
) -> None:
    for fact in messages:
        held = roles_at(sending, fact, sending.agency)
        for one in compartments:
            block = (one, person if one in PERSON_SCOPED else None)
            if permitted(block, held, sending.agency.kind, setting_of(sending, fact), sending.decide) is None:
                raise Refused(
                    f"grant.compartments: {sending.agency.id} does not itself read {one.label} of a message named"
                )


def roles_at(sending: Sending, fact: Fact, agency: Agency) -> tuple[Held, ...]:
    """The roles that an agency held at a message, as far as known."""
    return rules.in_message(
        sending.state,
        agency,
        variant=fact.variant,
        persons=fact.persons,
        at=fact.accepted_at,
        position=fact.position,
    )


def setting_of(sending: Sending, fact: Fact) -> Setting:
    """How policy looks at an earlier message today."""
    return Setting(
        fact.event_id,
        fact.type,
        fact.variant,
        fact.persons,
        {person: sending.state.phase(person) for person in fact.persons},
        fact.author,
        expired=sending.state.expired(fact.event_id, None, sending.at),
        movement_ended=sending.state.movement_ended(fact.event_id, sending.at),
    )
