"""What an auditor knows of a case, event by event: who holds which role, and what an author could know of it.

An auditor is given no mandate. But every row of a ledger cites the mandates of its reader by their digests, and all
that a mandate says stands in the event that gives it, in its ledger and in the tables: so an auditor rebuilds a mandate
and proves it by its digest (``docs/spec/envelope.md`` §12.1). Nothing is taken as given that a digest does not prove.
Leaves what follows for the audience to ``broker.review``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from broker.authority import fold, happenings, mandate
from broker.authority import roles as rules
from broker.authority.model import Claim, Fact, Given, Held, Mandate
from broker.authority.state import CaseState
from broker.authority.table import Assignment, Table
from broker.names import AgencyId, CaseRef, Digest, EventId, Millis, Role
from broker.seal.ground import Ground
from broker.seal.slot import Row
from broker.trust.directory import Agency


class Told(NamedTuple):
    """An event as its ledger shows it: what it tells, what its sender claimed, and one row for each reader.

    ``seen`` is the last position of the case that the sender had processed, ``sealed_at`` the time of sealing.
    """

    fact: Fact
    sealed_at: Millis
    seen: int
    claims: Sequence[Claim]
    case_salt: bytes | None
    rows: Sequence[Row]

    def row(self, agency: AgencyId) -> Row | None:
        """The row of a reader; None where it has none."""
        return next((row for row in self.rows if row.reader == agency), None)


@dataclass(slots=True)
class Known:
    """A case as an auditor knows it. Give it the events in the order of the stream; ask after each.

    ``state`` is the case with all that was added. ``uncertain`` are roles of which somebody holds a mandate that could
    end another's and that could not be proved: nobody is said to hold them.
    """

    case: CaseRef
    table: Table
    ground: Ground
    state: CaseState = field(init=False)
    uncertain: set[Role] = field(default_factory=set)
    _told: dict[EventId, Told] = field(default_factory=dict)
    _given: dict[Digest, Given] = field(default_factory=dict)
    _cited: set[Digest] = field(default_factory=set)

    def __post_init__(self) -> None:
        """A case of which nothing is known."""
        self.state = fold.fold(self.case, (), table=self.table)

    def add(self, event: Told) -> None:
        """Takes in the next event; one whose id was there before changes nothing, as in the fold."""
        if event.fact.event_id in self._told:
            return
        self._told[event.fact.event_id] = event
        self._given.update((given.digest, given) for given in event.fact.mandates if given.digest not in self._given)
        new = [(row.reader, held) for row in event.rows for held in row.roles if held.mandate is not None]
        left = [one for one in new if one[1].mandate not in self._cited | self._given.keys()]
        again = True
        while again and left:  # one that is given under another of the same event is proved after that
            proved = [one for one in left if self._prove(event, *one)]
            left = [one for one in left if one not in proved]
            again = bool(proved)
        self.uncertain |= {held.role for reader, held in left if self._matters(event, reader, held)}
        self._cited |= {held.mandate for _, held in new if held.mandate is not None}
        here = [given for given in self._given.values() if given.mandate.event_id == event.fact.event_id]
        self.state = fold.add(self.state, _with(event.fact, here))

    def must_address(self, event: Told) -> list[tuple[Role, Agency]]:
        """Who must have been addressed by an event that was added: each that its author could not but know of.

        An author knows at least what it wrote, what it was sent up to ``seen`` and which mandates were told to it with
        that; at most everything up to ``seen``, since others may have told it more. Who must be addressed on both
        counts was left out if it has no row.
        """
        fact = event.fact
        before = [
            one for one in self._told.values() if one.fact.position <= event.seen and one.fact.event_id != fact.event_id
        ]
        sent = [one for one in before if one.fact.author == fact.author or one.row(fact.author) is not None]
        least = [_with(one.fact, self._told_to(one, fact.author)) for one in sent]
        most = [_with(one.fact, self._given_in(one)) for one in before]
        this = _with(fact, self._given_in(event))
        musts = [self._musts(event, [*known, this]) for known in (least, most)]
        return [
            (role, agency)
            for (role, _), agency in musts[0].items()
            if (role, agency.id) in musts[1] and self._can_tell(role, agency, event, before)
        ]

    def _musts(self, event: Told, known: Iterable[Fact]) -> dict[tuple[Role, AgencyId], Agency]:
        fact = event.fact
        found = rules.must_address(
            self.table,
            fold.fold(self.case, known, table=self.table),
            self.ground.directory(fact.accepted_at),
            event_type=fact.type,
            variant=fact.variant,
            persons=fact.persons,
            before=list(fact.phases.values()),
            at=fact.accepted_at,
        )
        return {
            (role, agency.id): agency for role, agencies in found for agency in agencies if agency.id != fact.author
        }

    def _can_tell(self, role: Role, agency: Agency, event: Told, before: Iterable[Told]) -> bool:
        """Whether an auditor can say that this agency still had to be addressed: it took part and held the role."""
        at_sealing = self.ground.directory(event.sealed_at).find(agency.id)
        if at_sealing is None or not at_sealing.enrolled_at(event.sealed_at):
            return False
        if not agency.enrolled_at(event.fact.accepted_at):
            return False
        if self.state.standing(role):
            return role in at_sealing.standing
        left = event.fact.accepted_at - happenings.AFTER_DISCHARGE
        discharged = role is Role.SH and any(
            # Whether the person left the shelter is content, which an auditor does not read.
            one.fact.author == agency.id and one.fact.type == "shelter.placement" and one.fact.accepted_at < left
            for one in before
        )
        return role not in self.uncertain and not discharged

    def _given_in(self, event: Told) -> list[Given]:
        return [given for given in self._given.values() if given.mandate.event_id == event.fact.event_id]

    def _told_to(self, event: Told, agency: AgencyId) -> list[Given]:
        """The mandates of an event of which one of its readers was told for certain."""
        row = event.row(agency)
        return [
            given
            for given in self._given_in(event)
            if agency in (event.fact.author, given.mandate.agency)
            or (row is not None and rules.may_be_told(row.roles, given.mandate, self.table))
        ]

    def _rows_for(self, event: Told, reader: AgencyId, role: Role) -> Iterator[Assignment]:
        agency = self.ground.directory(event.fact.accepted_at).find(reader)
        for row in self.table.assigned(event.fact.type, event.fact.variant):
            if agency is not None and row.gives is role and agency.kind in row.to_kinds:
                yield row

    def _prove(self, event: Told, reader: AgencyId, held: Held) -> bool:
        """Rebuilds the mandate that a row cites; whether one has the digest cited."""
        fact = event.fact
        longest = event.sealed_at + self.ground.parameters(fact.accepted_at).mandate_max
        for row in self._rows_for(event, reader, held.role):
            ends = min(longest, event.sealed_at + row.ends.otherwise) if row.ends.at else longest
            for under, above in self._unders(event, row):
                one = Mandate(
                    case=fact.case,
                    event_id=fact.event_id,
                    type=fact.type,
                    variant=fact.variant,
                    giver=fact.author,
                    under=under,
                    under_mandate=above,
                    case_salt=event.case_salt if under is Role.OPENER else None,
                    role=held.role,
                    agency=reader,
                    person=held.person,
                    provisional=row.provisional,
                    not_after=Millis(ends),
                )
                digest = Digest(mandate.digest(mandate.encode(one)))
                if digest == held.mandate:
                    self._given[digest] = Given(one, digest, fact.position, fact.accepted_at)
                    return True
        return False

    def _unders(self, event: Told, row: Assignment) -> Iterator[tuple[Role, Digest | None]]:
        """Under what the author may have given a role: as opener, by a standing role, by a mandate of its own."""
        author = event.fact.author
        for role in row.by:
            if role is Role.OPENER:
                if event.case_salt is not None:
                    yield role, None
            elif self.state.standing(role):
                yield role, None
            else:
                own = event.row(author)
                mine = {held.mandate: held.role for held in own.roles} if own is not None else {}
                mine.update((claim.mandate, claim.role) for claim in event.claims)
                mine.update(
                    (given.digest, given.mandate.role)
                    for given in self._given.values()
                    if given.mandate.agency == author
                )
                for digest, of in mine.items():
                    if of is role and digest is not None:
                        yield role, digest

    def _matters(self, event: Told, reader: AgencyId, held: Held) -> bool:
        """Whether a mandate that was not proved could end another's; one that is provisional or short cannot."""
        rows = list(self._rows_for(event, reader, held.role))
        return not any(row.provisional or row.ends.at for row in rows)


def _with(fact: Fact, given: Iterable[Given]) -> Fact:
    """The fact with these mandates beside those that it carries."""
    known: Mapping[Digest, Given] = {one.digest: one for one in (*fact.mandates, *given)}
    return replace(fact, mandates=tuple(known.values()))
