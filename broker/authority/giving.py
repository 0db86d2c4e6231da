"""The mandates that a message gives: from its header, and from the fields that name an agency (domain §5.2.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from broker.authority import values
from broker.authority.mandate import digest, encode
from broker.authority.model import Given, Mandate
from broker.authority.state import CaseState
from broker.authority.table import Assignment, Table
from broker.errors import InputError, Refused
from broker.event.model import Event
from broker.names import AgencyId, CaseRef, Digest, EventId, Millis, PersonRef, Phase, Role
from broker.trust.bundle import Parameters
from broker.trust.directory import Agency, Directory

_ROUTING = frozenset({"op.preWarned", "move.transitHelp"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A role that the message is to give by one row of the table."""

    row: Assignment
    agency: AgencyId
    person: PersonRef | None


@dataclass(frozen=True, slots=True)
class Giver:
    """Who gives, where and when; ``salt`` is set where the message opens the case."""

    agency: Agency
    event_id: EventId
    case: CaseRef
    salt: bytes | None
    state: CaseState
    directory: Directory
    at: Millis
    parameters: Parameters

    @property
    def table(self) -> Table:
        """The authority table."""
        return self.state.table


def mandates(event: Event, giver: Giver) -> tuple[Mandate, ...]:
    """The mandates that this message gives, in the order of the table, each once.

    Raises:
        InputError: a field names an agency that cannot have the role, or differs from the header.
        Refused: the sender's role may not give it.
    """
    rows = giver.table.assigned(event.type, event.variant)
    wanted = [one for row in rows for one in _from_fields(event, row, giver)]
    wanted += _from_header(event, rows, wanted, giver)
    found: dict[tuple[Role, AgencyId, PersonRef | None], Mandate] = {}
    for one in wanted:
        key = (one.row.gives, one.agency, one.person)
        if key not in found:
            mandate = _mandate(event, one, giver)
            if not _held(mandate, giver):
                found[key] = mandate
    return tuple(found.values())


def as_given(given: Mandate, *, position: int, at: Millis) -> Given:
    """A mandate as if its event had been accepted there."""
    return Given(given, Digest(digest(encode(given))), position, at)


def _scoped(row: Assignment, event: Event, table: Table) -> Iterable[PersonRef | None]:
    return event.persons if table.roles[row.gives].person_scoped else (None,)


def _from_fields(event: Event, row: Assignment, giver: Giver) -> Iterator[Wanted]:
    """What the row's own field asks for; rows of the header are asked for elsewhere."""
    if row.to_author:
        filled = row.field == "sender" or any(values.known(event.value(row.field, one)) for one in event.persons)
        if filled and giver.agency.kind in row.to_kinds and _under(row, None, giver) is not None:
            for person in _scoped(row, event, giver.table):
                yield Wanted(row, giver.agency.id, person)
        return
    if row.field == "mandates":
        return
    for person in _scoped(row, event, giver.table):
        for agency_id in _named(event, row.field, person):
            agency = giver.directory.agency(agency_id, field=row.field)
            if agency.kind in row.to_kinds:
                if not _has_already(row, agency_id, person, giver):
                    yield Wanted(row, agency_id, person)
            elif not _kind_fits_field(event, row, agency, giver.table):
                raise InputError(
                    f"{row.field}: {agency_id} is of kind {agency.kind.label}, which cannot become {row.gives.label}; "
                    f"name an agency of kind {_listed(kind.label for kind in row.to_kinds)}",
                    field=row.field,
                )


def _named(event: Event, field: str, person: PersonRef | None) -> tuple[AgencyId, ...]:
    if field in _ROUTING:
        return event.routing.get(field, ())
    value = event.value(field, person)
    if value is None and person is not None:
        value = event.value(field)
    named = values.agency(value)
    return (named,) if named is not None else ()


def _kind_fits_field(event: Event, row: Assignment, agency: Agency, table: Table) -> bool:
    """Whether another row of the same field gives something to this kind (op.preWarned names CJ and SH)."""
    same = (one for one in table.assigned(event.type, event.variant) if one.field == row.field)
    return any(agency.kind in one.to_kinds for one in same)


def _has_already(row: Assignment, agency: AgencyId, person: PersonRef | None, giver: Giver) -> bool:
    """Whether the row is only for a person without the role, and this very agency holds it: nothing to give.

    Raises:
        InputError: another agency holds it, so the field cannot name this one.
    """
    if row.only != "person-without-role":
        return False
    others = {one.given.mandate.agency for one in giver.state.having(row.gives, person, giver.at)}
    if others and agency not in others:
        raise InputError(
            f"{row.field}: the person already has another {row.gives.label}; name that agency",
            field=row.field,
        )
    return agency in others


def _from_header(
    event: Event, rows: Sequence[Assignment], from_fields: Sequence[Wanted], giver: Giver
) -> Iterator[Wanted]:
    for named in event.mandates:
        agency = giver.directory.agency(named.agency, field="mandates")
        fitting = [row for row in rows if row.gives is named.role and not row.to_author]
        if not fitting:
            raise Refused(
                f"mandates: nobody gives the role {named.role.label} in a {event.type}; "
                f"{_may_give(rows) or 'no role is given in it'}"
            )
        row = next((one for one in fitting if agency.kind in one.to_kinds), None)
        if row is None:
            kinds = _listed(kind.label for one in fitting for kind in one.to_kinds)
            raise InputError(
                f"mandates: {named.agency} is of kind {agency.kind.label}, which cannot become {named.role.label}; "
                f"name an agency of kind {kinds}",
                field="mandates",
            )
        if named.agency == giver.agency.id:
            raise Refused(f"mandates: {named.agency} cannot give the role {named.role.label} to itself")
        scoped = giver.table.roles[named.role].person_scoped
        persons: Iterable[PersonRef | None] = (
            (event.persons if named.person is None else (named.person,)) if scoped else (None,)
        )
        for person in persons:
            if person is not None and person not in event.persons:
                raise InputError(
                    "mandates: a role is given for a person that the record does not name", field="mandates"
                )
            if row.field != "mandates":
                if not any(one.agency == named.agency and one.person == person for one in from_fields):
                    raise InputError(
                        f"mandates: {named.role.label} differs from {row.field}; make them agree", field="mandates"
                    )
                continue
            _check_only(row, agency, person, giver)
            yield Wanted(row, named.agency, person)


def _check_only(row: Assignment, agency: Agency, person: PersonRef | None, giver: Giver) -> None:
    if row.only == "person-without-role" and any(
        one.given.mandate.agency != agency.id for one in giver.state.having(row.gives, person, giver.at)
    ):
        raise Refused(f"mandates: the person already has another {row.gives.label}; leave this entry out")
    if row.only == "agency-without-role" and giver.state.roles(agency.id, None, giver.at):
        raise Refused(f"mandates: {agency.id} already has a role in this case; leave this entry out")


def _held(mandate: Mandate, giver: Giver) -> bool:
    """Whether the agency holds the very role already, as long as this mandate would give it or longer.

    A provisional role counts only against another provisional one: the rest confirms it.
    """
    for one in giver.state.roles(mandate.agency, mandate.person, giver.at):
        held = one.given.mandate
        if held.role is not mandate.role or held.person not in (None, mandate.person):
            continue
        if held.provisional and not mandate.provisional:
            continue
        outlasts = held.not_after >= mandate.not_after
        if outlasts or _open_ended(held, giver.table):
            return True
    return False


def _open_ended(held: Mandate, table: Table) -> bool:
    """Whether a mandate ends by what happens and not at a time, so that giving it again adds nothing."""
    rows = table.assigned(held.type, held.variant)
    return any(row.gives is held.role and row.provisional == held.provisional and not row.ends.at for row in rows)


def _mandate(event: Event, wanted: Wanted, giver: Giver) -> Mandate:
    row = wanted.row
    under = _under(row, wanted.person, giver)
    if under is None:
        raise Refused(
            f"{giver.agency.id} may not give the role {row.gives.label} in a {event.type}; "
            f"that is for {_listed(role.label for role in row.by)}"
        )
    role, proof = under
    return Mandate(
        case=giver.case,
        event_id=giver.event_id,
        type=event.type,
        variant=event.variant,
        giver=giver.agency.id,
        under=role,
        under_mandate=proof,
        case_salt=giver.salt if role is Role.OPENER else None,
        role=row.gives,
        agency=wanted.agency,
        person=wanted.person,
        provisional=row.provisional,
        not_after=_not_after(event, row, giver),
    )


def _under(row: Assignment, person: PersonRef | None, giver: Giver) -> tuple[Role, Digest | None] | None:
    """The role under which the sender gives: as opener, else by its mandates, else by the directory.

    A mandate for the whole case comes before one for this person; of several roles, the first of the row.
    """
    if giver.salt is not None:
        return (Role.OPENER, None) if Role.OPENER in row.by else None
    mine = giver.state.roles(giver.agency.id, person, giver.at)
    for role in row.by:
        found = [one.given for one in mine if one.given.mandate.role is role]
        if found:
            best = min(
                found, key=lambda given: (given.mandate.person is not None, given.mandate.provisional, given.position)
            )
            return role, best.digest
        if giver.state.standing(role) and role in giver.agency.standing:
            return role, None
    return None


def _not_after(event: Event, row: Assignment, giver: Giver) -> Millis:
    ends = row.ends
    longest = giver.at + giver.parameters.mandate_max
    if not ends.at:
        return Millis(longest)
    told = _told_end(event, ends.at)
    return Millis(min(longest, giver.at + ends.otherwise if told is None else told + ends.plus))


def _told_end(event: Event, word: str) -> Millis | None:
    match word:
        case "last-eta":
            return values.millis(event.value("transit.segment"))
        case "window-end":
            return values.millis(event.value("op.window"))
        case "inv-due":
            return values.end_of_day(event.value("inv.dueAt"))
        case _:
            raise ValueError(f"the table names an end that is not known: {word}")


def end_of(event: Event, row: Assignment) -> Millis | None:
    """The end that the event's own fields set for a role given by this row; None where they set none."""
    told = _told_end(event, row.ends.at) if row.ends.at else None
    return None if told is None else Millis(told + row.ends.plus)


def _may_give(rows: Sequence[Assignment]) -> str:
    given = _listed(row.gives.label for row in rows if not row.to_author)
    return f"it can give {given}" if given else ""


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def opening(state: CaseState | None) -> bool:
    """Whether a message that meets this state is the first of its case."""
    return state is None or not (state.facts or state.holders)


def phase_before(state: CaseState, person: PersonRef, *, first: bool) -> Phase:
    """The phase of a person before a message."""
    return Phase.NEW if first else state.phase(person)
