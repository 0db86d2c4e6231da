"""On what ground a reader has a block: asked of the policy when a message is planned, and again by its reader.

A decision is for exactly one role and one person; an agency's right is the union over its roles (domain §5.2.2).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker.authority import roles as rules
from broker.authority.model import Entry, Given, Grant, Held
from broker.authority.table import Table
from broker.checks import Check
from broker.errors import Invalid
from broker.event.model import BlockKey
from broker.names import (
    PERSON_SCOPED,
    AgencyId,
    AgencyKind,
    Basis,
    Compartment,
    EventId,
    Millis,
    PersonRef,
    Phase,
    Role,
)
from broker.policy.model import ASK_OWNER, ASK_WITH_ORDER, Decision, Question
from broker.trust.directory import Agency

Decide = Callable[[Question], Decision]
"""Answers one question of policy; denies where it cannot answer."""

GIVING: Final = frozenset({"access.grant", "disclosure.decision"})
"""The controls that may show old blocks to whom they grant them."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a decision looks at in a message beside the reader.

    ``type`` and ``variant`` are those that the matrix knows: of an amend, those of the event that it amends.
    ``phases`` are the phases after the message. ``control`` is the control's own type, or empty.
    """

    event_id: EventId
    type: str
    variant: str
    persons: tuple[PersonRef, ...]
    phases: Mapping[PersonRef, Phase]
    author: AgencyId
    control: str = ""
    expired: bool = False
    movement_ended: bool = False

    def question(self, block: BlockKey, role: Role, kind: AgencyKind, person: PersonRef) -> Question:
        """The question for one role and one person."""
        return Question(
            self.type, self.variant, block[0], role, kind, self.phases[person], self.expired, self.movement_ended
        )


def decisions(
    block: BlockKey, roles: Sequence[Held], kind: AgencyKind, setting: Setting, decide: Decide
) -> list[tuple[Held, Decision]]:
    """What policy says of a block for each role and each person for whom that role counts.

    A block that is not personal is asked for once for each person of the message.
    """
    compartment, person = block
    if (compartment in PERSON_SCOPED) != (person is not None):
        return []
    persons = setting.persons if person is None else tuple(one for one in setting.persons if one == person)
    return [
        (held, decide(setting.question(block, held.role, kind, one)))
        for held in roles
        for one in persons
        if held.person in (None, one)
    ]


def permitted(
    block: BlockKey, roles: Sequence[Held], kind: AgencyKind, setting: Setting, decide: Decide
) -> Entry | None:
    """The entry for the first role that may read the block, or None."""
    for held, decision in decisions(block, roles, kind, setting, decide):
        if decision.permit and not decision.error:
            return Entry(block, Basis.ROLE, held.role, rule=decision.rule)
    return None


def how_to_ask(block: BlockKey, roles: Sequence[Held], kind: AgencyKind, setting: Setting, decide: Decide) -> str:
    """The strongest of "q" (ask the owner), "x" (only with an order number) and "" (no way) over the roles."""
    ways = {decision.ask for _, decision in decisions(block, roles, kind, setting, decide)}
    return next((way for way in (ASK_OWNER, ASK_WITH_ORDER) if way in ways), "")


def covers(grant: Grant, *, agency: AgencyId, block: BlockKey, event: EventId, addressed: bool) -> bool:
    """Whether a grant gives this agency this block of this event; ``later`` reaches only what addresses it."""
    compartment, person = block
    if grant.agency != agency or compartment not in grant.compartments or compartment is Compartment.SOURCE:
        return False
    if person is not None and grant.person != person:
        return False
    return event in grant.messages or (grant.later and addressed)


def check_basis(
    entry: Entry,
    *,
    reader: Agency,
    roles: Sequence[Held],
    given: Collection[Given],
    setting: Setting,
    grants: Mapping[EventId, Grant],
    decide: Decide,
    accepted_at: Millis,
    table: Table,
) -> None:
    """Accept one entry of the reader's own slot on the basis that it states, or raise.

    ``roles`` are those that the slot says the reader holds, ``given`` the mandates that the reader has verified;
    ``grants`` are those to the reader that live for this event. The author needs no other basis for what it wrote.

    Raises:
        Invalid: check BASIS (not permitted, or not by the rule stated), ROLE (a role that the reader does not hold,
            or not for this person), GRANT (no such grant, or it does not cover the block).
    """
    compartment = entry.block[0]
    match entry.basis:
        case Basis.AUTHOR:
            if reader.id != setting.author:
                raise Invalid(Check.BASIS, "a block is given to an agency as author that did not write it")
        case Basis.PARTY:
            _check_party(entry, reader, setting)
        case Basis.GRANT:
            grant = grants.get(entry.grant) if entry.grant is not None else None
            if (
                grant is None
                or accepted_at > grant.until
                or not covers(grant, agency=reader.id, block=entry.block, event=setting.event_id, addressed=True)
            ):
                raise Invalid(Check.GRANT, "the grant cited does not give this block", compartment=compartment.label)
        case Basis.ROLE:
            _check_role(entry, reader, roles, given, setting, decide, accepted_at=accepted_at, table=table)


def _check_role(
    entry: Entry,
    reader: Agency,
    roles: Sequence[Held],
    given: Collection[Given],
    setting: Setting,
    decide: Decide,
    *,
    accepted_at: Millis,
    table: Table,
) -> None:
    person = entry.block[1]
    mine = [held for held in roles if held.role is entry.role and (person is None or held.person in (None, person))]
    if not any(rules.proves(held, agency=reader, given=given, at=accepted_at, table=table) for held in mine):
        raise Invalid(Check.ROLE, "a block is given for a role that the reader does not hold", role=entry.role.label)
    check_rule(entry, mine, reader, setting, decide)


def check_rule(entry: Entry, roles: Sequence[Held], reader: Agency, setting: Setting, decide: Decide) -> None:
    """That policy gives a block to one of these roles, by the rule that its entry states.

    Raises:
        Invalid: check BASIS.
    """
    found = decisions(entry.block, roles, reader.kind, setting, decide)
    if not any(one.permit and not one.error and one.rule == entry.rule for _, one in found):
        raise Invalid(
            Check.BASIS,
            "policy does not permit a block to the role stated, by the rule stated",
            compartment=entry.block[0].label,
            role=entry.role.label,
            rule=entry.rule,
        )


def _check_party(entry: Entry, reader: Agency, setting: Setting) -> None:
    compartment = entry.block[0]
    is_author = reader.id == setting.author
    allowed = (
        compartment is Compartment.MANDATE
        or (compartment is Compartment.DISCLOSURE and setting.control in GIVING)
        or (compartment is Compartment.LEDGER and (is_author or reader.kind is AgencyKind.AUDITOR))
        or (
            compartment is Compartment.ACCESS
            and bool(setting.control)
            and reader.kind is not AgencyKind.HUB
            and (setting.control != "cancel" or is_author or reader.kind is AgencyKind.AUDITOR)
        )
    )
    if not allowed:
        raise Invalid(Check.BASIS, "a block is given to a party that is none", compartment=compartment.label)
