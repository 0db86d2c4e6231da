"""Controls before they are sealed: may this agency send it, and to whom does it go (domain §5.4).

Relations to a message (author, addressee, owner, grantor, author of a rescue) are judged from what the sender's own
party knows. Grants are in ``broker.authority.granting``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.authority import roles as rules
from broker.authority import values
from broker.authority.basis import Decide
from broker.authority.model import Fact
from broker.authority.state import CaseState, Effect
from broker.authority.table import Table
from broker.errors import InputError, Refused
from broker.event.catalogue import Catalogue
from broker.event.model import Event
from broker.names import PERSON_SCOPED, AgencyId, Compartment, EventId, Millis, PersonRef, Phase, Role
from broker.policy.model import Question
from broker.trust.directory import Agency, Directory

_CUSTODY: Final = (Role.CH, Role.CJ, Role.SH, Role.FP)


@dataclass(frozen=True, slots=True)
class Sending:
    """A control on its way out: who sends it and what its party knows."""

    event: Event
    agency: Agency
    state: CaseState
    directory: Directory
    decide: Decide
    at: Millis

    @property
    def table(self) -> Table:
        """The authority table."""
        return self.state.table

    @property
    def fields(self) -> Mapping[str, Any]:
        """The fields of the compartment ``access``."""
        return self.event.blocks.get((Compartment.ACCESS, None), {})

    def fact(self, event_id: EventId, field: str) -> Fact:
        """The message with this id, which this party holds.

        Raises:
            InputError: it does not; names ``field``.
        """
        found = self.state.facts.get(event_id)
        if found is None:
            raise InputError(
                f"{field}: this message of the case is not known here; name one that was received", field=field
            )
        return found

    def named(self, field: str) -> tuple[Fact, ...]:
        """The messages that a field of the control names."""
        value = self.fields.get(field)
        if not values.known(value):
            return ()
        ids = values.event_ids(value) if isinstance(value, list | tuple) else (values.event_id(value),)
        return tuple(self.fact(one, field) for one in ids)

    def references(self) -> tuple[Fact, ...]:
        """The messages that the header references, at least one.

        Raises:
            InputError: none, or one that is not known here.
        """
        if not self.event.clear.references:
            raise InputError(f"references: a {self.event.type} names the message that it is about", field="references")
        return tuple(self.fact(one, "references") for one in self.event.clear.references)

    def alias(self, person: PersonRef) -> str:
        """How the record calls a person."""
        return self.event.aliases.get(person, "a person")


def exactly(sending: Sending, computed: Iterable[AgencyId], *, more: bool = False) -> tuple[AgencyId, ...]:
    """The addressees that the rules compute, the sender left out; a record that lists others is refused.

    ``more`` admits others that hold a role in the case.

    Raises:
        InputError: the record lists an agency that is none of them.
    """
    found = {one: None for one in computed if one != sending.agency.id}
    for one in sending.event.to:
        if one in found or one == sending.agency.id:
            continue
        if not (more and _has_role(sending, one)):
            raise InputError(f"to: {one} is not addressed by this {sending.event.type}; leave it out", field="to")
        found[one] = None
    return tuple(found)


def _has_role(sending: Sending, agency_id: AgencyId) -> bool:
    agency = sending.directory.agency(agency_id)
    return bool(
        rules.in_message(
            sending.state, agency, variant=sending.event.variant, persons=sending.event.persons, at=sending.at
        )
    )


def ack(sending: Sending) -> tuple[AgencyId, ...]:
    """A receipt goes to the author of the message; a counter-signature also to those whom the message addressed."""
    facts = sending.references()
    for fact in facts:
        if fact.author == sending.agency.id:
            raise Refused("references: a receipt is for a message of somebody else; name one that was received")
    authors = [fact.author for fact in facts]
    if sending.event.variant == "duplicate-of" and any(fact.type not in sending.table.alerts for fact in facts):
        raise InputError("references: only an alert can be answered as a duplicate", field="references")
    if sending.event.variant != "counter-signed":
        return exactly(sending, authors)
    if any(fact.type != "handover.record" for fact in facts):
        raise InputError("references: only a handover.record is counter-signed", field="references")
    return exactly(sending, [*authors, *(() if sending.event.to else _acting(sending))], more=True)


def _acting(sending: Sending) -> list[AgencyId]:
    """Those that act for the persons, as far as known, where the record does not list the addressees itself."""
    acting = (Role.CJ, Role.CH, Role.SH, Role.IA, Role.DP, Role.LS, Role.WD)
    return [
        agency.id
        for role in acting
        for agency in rules.holders(
            role, sending.state, sending.directory, persons=sending.event.persons, at=sending.at
        )
    ]


def amend(sending: Sending) -> tuple[AgencyId, ...]:
    """A new version goes to those whom the old one addressed; only its author may write it."""
    fact = amended(sending)
    if fact.author != sending.agency.id:
        raise Refused("amend.of: only the author of a message amends it")
    if set(fact.persons) != set(sending.event.persons):
        raise InputError("persons: an amend names the persons of the message that it amends", field="persons")
    return exactly(sending, [*fact.to, *sending.event.to])


def amended(sending: Sending) -> Fact:
    """The message that an amend replaces.

    Raises:
        InputError: none is named, or it is not known here.
    """
    named = sending.named("amend.of")
    if not named:
        raise InputError("amend.of: name the message that is amended", field="amend.of")
    return named[0]


def cancel(sending: Sending) -> tuple[AgencyId, ...]:
    """Goes to every holder of a role that reads a live alert of the case for the persons named."""
    if sending.event.variant == "case":
        return _close(sending)
    facts = sending.references()
    if any(fact.type not in sending.table.alerts for fact in facts):
        raise InputError("references: a cancel of alerts names alerts only", field="references")
    mine = all(fact.author == sending.agency.id for fact in facts)
    if not mine and not _rescued_by(sending):
        raise Refused("an alert is cancelled by its author, or by the author of a rescue.notice that names the person")
    return exactly(sending, alert_readers(sending, facts))


def _rescued_by(sending: Sending) -> bool:
    return any(
        fact.type == "rescue.notice"
        and fact.author == sending.agency.id
        and sending.state.effect(fact.event_id) is Effect.EFFECTIVE
        and set(fact.persons) & set(sending.event.persons)
        for fact in sending.state.facts.values()
    )


def _close(sending: Sending) -> tuple[AgencyId, ...]:
    for person in sending.event.persons:
        owner = sending.state.owner(Compartment.PERSON_IDENTITY, person, sending.at)
        if owner != sending.agency.id:
            raise Refused(
                f"only the owner of the compartments of the victim closes {sending.alias(person)}; "
                f"{sending.agency.id} is not"
            )
    alerts = [fact for fact in sending.state.facts.values() if fact.type in sending.table.alerts]
    acting = [
        holder.given.mandate.agency
        for person in sending.event.persons
        for holder in sending.state.holders.values()
        if holder.given.mandate.person in (None, person) and holder.live(sending.at)
    ]
    return exactly(sending, [*acting, *alert_readers(sending, alerts)], more=True)


def alert_readers(sending: Sending, alerts: Iterable[Fact]) -> tuple[AgencyId, ...]:
    """Holders of roles that read a personal block of one of these alerts while it is live, as far as known."""
    reading = {role for fact in alerts for role in _reading(fact, sending.table, sending.decide)}
    found: set[AgencyId] = set()
    for role in reading:
        holders = rules.holders(role, sending.state, sending.directory, persons=sending.event.persons, at=sending.at)
        found.update(agency.id for agency in holders)
    return tuple(sorted(found))


def _reading(fact: Fact, table: Table, decide: Decide) -> Iterable[Role]:
    for role, rule in table.roles.items():
        if role in (Role.OR, Role.HB, Role.AU):
            continue
        kind = min(rule.kinds)
        if any(
            decide(Question(fact.type, fact.variant, one, role, kind, Phase.MISSING, False, False)).permit
            for one in Catalogue.load().compartments(fact.type, fact.variant)
            if one in PERSON_SCOPED
        ):
            yield role


def custody(sending: Sending, person: PersonRef) -> Role | None:
    """The role in which the sender receives a person: CH first, for that restores the person."""
    held = {holder.given.mandate.role for holder in sending.state.roles(sending.agency.id, person, sending.at)}
    return next((role for role in _CUSTODY if role in held), None)


def request(sending: Sending) -> tuple[AgencyId, ...]:
    """A request goes to the owners, whom the asker names."""
    if not sending.event.to:
        raise InputError("to: name the agencies that own what is asked for", field="to")
    return sending.event.to


Control = Callable[[Sending], tuple[AgencyId, ...]]
