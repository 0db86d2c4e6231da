"""What a party knows of a case: phases, holders of roles, grants, endings, and which events took effect.

``CaseState`` holds what ``broker.authority.fold`` computed from facts; here are the questions that it answers. It
knows only what its party was told. Standing roles are asked of the directory.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field

from broker.authority.model import Fact, Given, Grant
from broker.authority.table import Table
from broker.clock import DAY
from broker.names import AgencyId, CaseRef, Compartment, Digest, EventId, Millis, PersonRef, Phase, Role, Status

FOREIGN_VARIANTS = frozenset({"nationality", "cross-border"})
"""Variants in which the national bureau takes part (domain §5.2)."""


class Effect(enum.StrEnum):
    """Why an event that is valid changes nothing; empty where it does."""

    EFFECTIVE = ""
    STATUS = "it has another status than its case"
    SECOND_OPENER = "the case had been opened already"
    NO_ROLE = "its sender did not hold the role that it claims"
    ENDED = "its sender's mandate had ended"
    OVERTAKEN = "what it assumes had been overtaken"
    RELATION = "its sender is not what this control asks for"


@dataclass(frozen=True, slots=True)
class Holder:
    """A mandate that took effect, and when it ended other than by its own end.

    ``ended_position`` is where the event stands that ended it: it no longer counts in that event. ``ended_at`` is a
    time set by an event, such as a day after the counter-signature.
    """

    given: Given
    ended_position: int | None = None
    ended_at: Millis | None = None
    ended_by: EventId | None = None

    def live(self, at: Millis, position: int | None = None) -> bool:
        """Whether it counts at this time, and for an event at this position (None: after all that is known)."""
        if at > self.given.mandate.not_after or (self.ended_at is not None and at >= self.ended_at):
            return False
        if position is None:
            return self.ended_position is None
        return self.given.position <= position and (self.ended_position is None or position < self.ended_position)


@dataclass(frozen=True, slots=True)
class PersonState:
    """Where a person stands: ``own`` where this party saw it happen, ``author`` and ``event`` of what set the phase.

    ``ordered``: a committee's order came since the rescue. ``restored``: the person was restored since then.
    """

    phase: Phase
    own: bool
    author: AgencyId
    event: EventId
    ordered: bool = False
    restored: bool = False


@dataclass(slots=True)
class CaseState:
    """What one party knows of one case. Never changed once it was handed out; see ``fold`` and ``add``."""

    case: CaseRef
    table: Table
    opener: tuple[AgencyId, EventId] | None = None
    status: Status | None = None
    last: int = -1
    facts: dict[EventId, Fact] = field(default_factory=dict)
    given: dict[Digest, Given] = field(default_factory=dict)
    holders: dict[Digest, Holder] = field(default_factory=dict)
    persons: dict[PersonRef, PersonState] = field(default_factory=dict)
    effects: dict[EventId, Effect] = field(default_factory=dict)
    person_effects: dict[tuple[EventId, PersonRef], Effect] = field(default_factory=dict)
    grants: dict[EventId, Grant] = field(default_factory=dict)
    withdrawn: dict[EventId, int] = field(default_factory=dict)
    cancelled: dict[tuple[EventId, PersonRef], Millis] = field(default_factory=dict)
    countersigned: dict[EventId, Millis] = field(default_factory=dict)
    replies: dict[PersonRef, Millis] = field(default_factory=dict)
    home_reports: dict[PersonRef, Millis] = field(default_factory=dict)

    def phase(self, person: PersonRef) -> Phase:
        """The person's phase now; one first named in an existing case counts as missing (domain §5.2.2)."""
        known = self.persons.get(person)
        if known is not None:
            return known.phase
        return Phase.MISSING if self.facts or self.holders else Phase.NEW

    def effect(self, event: EventId, person: PersonRef | None = None) -> Effect:
        """Whether an event took effect, for all or for one person; unknown events count as effective."""
        if person is not None:
            return self.person_effects.get((event, person), self.effects.get(event, Effect.EFFECTIVE))
        return self.effects.get(event, Effect.EFFECTIVE)

    def roles(
        self, agency: AgencyId, person: PersonRef | None, at: Millis, position: int | None = None
    ) -> tuple[Holder, ...]:
        """The mandates by which an agency acts for a person (None: for any), in the order in which they were given."""
        return tuple(
            holder
            for holder in self.holders.values()
            if holder.given.mandate.agency == agency
            and (person is None or holder.given.mandate.person in (None, person))
            and holder.live(at, position)
        )

    def having(
        self, role: Role, person: PersonRef | None, at: Millis, position: int | None = None
    ) -> tuple[Holder, ...]:
        """The mandates that make agencies hold this role for a person (None: for any), latest last."""
        return tuple(
            holder
            for holder in self.holders.values()
            if holder.given.mandate.role is role
            and (person is None or holder.given.mandate.person in (None, person))
            and holder.live(at, position)
        )

    def chain(self, digests: Iterable[Digest]) -> tuple[Given, ...]:
        """These mandates and all that prove them, opener first, each once.

        Raises:
            KeyError: a link is not known to this party.
        """
        found: dict[Digest, Given] = {}

        def collect(digest: Digest) -> None:
            if digest in found:
                return
            given = self.given[digest]
            if given.mandate.under_mandate is not None:
                collect(given.mandate.under_mandate)
            found[digest] = given

        for digest in digests:
            collect(digest)
        return tuple(found.values())

    def expired(self, event: EventId, person: PersonRef | None, at: Millis) -> bool:
        """The flag ``expired`` of a message for a person: its end has passed, or a cancel names both (domain §5.2.2).

        Without an end in the header, conditional reading lasts as ``life`` of the table says; in foreign variants
        until 90 days after the reply.
        """
        fact = self.facts.get(event)
        if person is not None and (event, person) in self.cancelled:
            return True
        if fact is None:
            return False
        if person is None and fact.persons and all((event, one) in self.cancelled for one in fact.persons):
            return True
        if fact.variant in FOREIGN_VARIANTS:
            replied = [self.replies[one] for one in fact.persons if one in self.replies]
            if replied and at > max(replied) + 90 * DAY:
                return True
        life = self.table.life.get(fact.type)
        end = fact.expires_at if fact.expires_at is not None else (fact.accepted_at + life if life else None)
        return end is not None and at > end

    def movement_ended(self, event: EventId, at: Millis) -> bool:
        """The flag ``movementEnded`` of a transfer order or handover: a day has passed since it was counter-signed."""
        if event in self.countersigned:
            return at >= self.countersigned[event] + DAY
        fact = self.facts.get(event)
        if fact is None or fact.type != "repatriation.order":
            return False
        later = sorted(
            (
                one
                for one in self.facts.values()
                if one.position > fact.position and set(one.persons) & set(fact.persons)
            ),
            key=lambda one: one.position,
        )
        for one in later:
            if one.type == "repatriation.order":
                return False
            if one.event_id in self.countersigned:
                return at >= self.countersigned[one.event_id] + DAY
        return False

    def live_grants(self, agency: AgencyId, at: Millis, position: int | None = None) -> tuple[Grant, ...]:
        """Grants to this agency that are in their time and not withdrawn, for an event at this position."""
        return tuple(
            grant for grant in self.grants.values() if grant.agency == agency and self.grant_live(grant, at, position)
        )

    def grant_live(self, grant: Grant, at: Millis, position: int | None = None) -> bool:
        """Whether a grant counts at this time for an event at this position (None: now)."""
        if at > grant.until:
            return False
        since = self.withdrawn.get(grant.id)
        if since is not None and (position is None or position >= since):
            return False
        fact = self.facts.get(grant.id)
        if fact is not None and fact.variant == "home-visit":
            report = self.home_reports.get(grant.person) if grant.person is not None else None
            rule = self.table.grants["home-visit"]
            if report is not None and report > fact.accepted_at and at > report + rule.after_report:
                return False
        return True

    def owner(
        self, compartment: Compartment, person: PersonRef | None, at: Millis, event: EventId | None = None
    ) -> AgencyId | None:
        """Who decides on requests and grants for a compartment of a message (domain §5.2.3), as far as is known.

        ``event`` is the message; without it its author is taken to be the author of what set the person's phase.
        """
        known = self.persons.get(person) if person is not None else None
        fact = self.facts.get(event) if event is not None else None
        author = fact.author if fact is not None else (known.author if known is not None and event is None else None)
        words = self.table.owners.get(compartment, {})
        phase = known.phase if known is not None else Phase.MISSING
        for word in words.get(phase, ()):
            found = self._owner(word, author, known, person, at, fact)
            if found is not None:
                return found
        return None

    def _owner(
        self,
        word: str,
        author: AgencyId | None,
        known: PersonState | None,
        person: PersonRef | None,
        at: Millis,
        fact: Fact | None,
    ) -> AgencyId | None:
        match word:
            case "author":
                return author
            case "author-until-order":
                return author if known is None or not known.ordered else None
            case "author-in-role":
                return author if author is not None and self._in_role(author, fact, at) else None
            case "CH-if-restored":
                return self._latest(Role.CH, person, at) if known is not None and known.restored else None
            case _:
                return self._latest(Role.of(word), person, at)

    def _in_role(self, author: AgencyId, fact: Fact | None, at: Millis) -> bool:
        """Whether the author of a message still holds a role; a standing role does not end here."""
        if fact is not None and any(self.standing(role) for role in fact.sender_roles):
            return True
        return bool(self.roles(author, None, at))

    def standing(self, role: Role) -> bool:
        """Whether a role comes from the directory."""
        rule = self.table.roles.get(role)
        return rule is not None and rule.source == "standing"

    def _latest(self, role: Role, person: PersonRef | None, at: Millis) -> AgencyId | None:
        found = self.having(role, person, at)
        return found[-1].given.mandate.agency if found else None
