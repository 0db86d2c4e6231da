"""A small case made by hand: opener MANDLA, its mandates, and facts for stories."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from broker.authority import mandate as mandates
from broker.authority.fold import fold
from broker.authority.model import Fact, Given, Mandate
from broker.authority.state import CaseState
from broker.authority.values import case_ref
from broker.clock import DAY, HOUR
from broker.names import AgencyId, CaseRef, Compartment, Digest, EventId, Millis, PersonRef, Phase, Role, Status
from tests.unit.authority.world import id_of, table

NOW: Final = Millis(1_770_000_000_000)
SALT: Final = b"salt of the case"
MANDLA, RPF, NAGPUR, ERNAKULAM = id_of("A1"), id_of("A2"), id_of("A3"), id_of("A4")
CWC_RESCUE, SHELTER, CWC_HOME, NGO = id_of("A5"), id_of("A6"), id_of("A7"), id_of("A8")
LEGAL_AID, WOMEN, NCRB, FOREIGN, TELANGANA, GRP = (
    id_of("A9"), id_of("A10"), id_of("A12"), id_of("A14"), id_of("A16"), id_of("A17"),
)  # fmt: skip
CASE: Final = case_ref(MANDLA, SALT)
OTHER_CASE: Final = CaseRef(b"another case....")
GIRL, WOMAN = PersonRef(b"person one......"), PersonRef(b"person two......")


def event_id(name: str) -> EventId:
    """The id of the event of this name."""
    return EventId(sha256(name.encode()).digest()[:16])


def at(position: int) -> Millis:
    """When the event at this position was accepted: one an hour."""
    return Millis(NOW + position * HOUR)


def given(
    name: str,
    position: int,
    event_type: str,
    giver: AgencyId,
    under: Role | Given,
    role: Role,
    agency: AgencyId,
    person: PersonRef | None = None,
    **changes: Any,
) -> Given:
    """A mandate of the event of this name; ``under`` is the opener, a standing role, or the mandate cited."""
    cited = under if isinstance(under, Given) else None
    made = Mandate(
        case=CASE,
        event_id=event_id(name),
        type=event_type,
        variant=changes.pop("variant", "child" if event_type == "missing.alert" else "-"),
        giver=giver,
        under=cited.mandate.role if cited is not None else under if isinstance(under, Role) else Role.OPENER,
        under_mandate=cited.digest if cited is not None else None,
        case_salt=SALT if under is Role.OPENER else None,
        role=role,
        agency=agency,
        person=person,
        provisional=changes.pop("provisional", False),
        not_after=changes.pop("not_after", Millis(NOW + 365 * DAY)),
    )
    return signed(replace(made, **changes), position)


def signed(mandate: Mandate, position: int) -> Given:
    """The mandate as its event was accepted at this position."""
    return Given(mandate, Digest(mandates.digest(mandates.encode(mandate))), position, at(position))


def again(one: Given, *, position: int | None = None, **changes: Any) -> Given:
    """The same mandate with something changed, and its own digest."""
    return signed(replace(one.mandate, **changes), one.position if position is None else position)


HP = given("alert", 0, "missing.alert", MANDLA, Role.OPENER, Role.HP, MANDLA, GIRL)
IA = given("alert", 0, "missing.alert", MANDLA, Role.OPENER, Role.IA, MANDLA)
CH = given("alert", 0, "missing.alert", MANDLA, Role.OPENER, Role.CH, CWC_HOME, GIRL)
TP = given("transit", 2, "transit.alert", MANDLA, IA, Role.TP, RPF)
DP = given("transit", 2, "transit.alert", MANDLA, HP, Role.DP, ERNAKULAM)
CJ_EARLY = given("intercept", 4, "intercept.request", MANDLA, IA, Role.CJ, CWC_RESCUE, GIRL, provisional=True)
SH_EARLY = given("intercept", 4, "intercept.request", MANDLA, IA, Role.SH, SHELTER, GIRL, provisional=True)
NEW_IA = given("rescue", 6, "rescue.notice", ERNAKULAM, DP, Role.IA, ERNAKULAM)
CJ = given("rescue", 6, "rescue.notice", ERNAKULAM, DP, Role.CJ, CWC_RESCUE, GIRL)
SH = given("order", 8, "cwc.order", CWC_RESCUE, CJ, Role.SH, SHELTER, GIRL)
ES = given("transfer", 12, "repatriation.order", CWC_RESCUE, CJ, Role.ES, id_of("A15"), GIRL)


def fact(
    name: str,
    position: int,
    event_type: str,
    author: AgencyId,
    roles: Role | tuple[Role, ...],
    phase: Phase,
    *mandates_given: Given,
    persons: tuple[PersonRef, ...] = (GIRL,),
    **changes: Any,
) -> Fact:
    """An event as a party holds it."""
    return Fact(
        event_id=event_id(name),
        type=event_type,
        variant=changes.pop("variant", "child" if event_type == "missing.alert" else "-"),
        status=changes.pop("status", Status.ACTUAL),
        author=author,
        case=changes.pop("case", CASE),
        position=position,
        accepted_at=changes.pop("accepted_at", at(position)),
        act_at=at(position),
        expires_at=changes.pop("expires_at", None),
        references=tuple(event_id(one) for one in changes.pop("about", ())),
        persons=persons,
        phases=dict.fromkeys(persons, phase),
        sender_roles=roles if isinstance(roles, tuple) else (roles,) * len(persons),
        mandates=mandates_given,
        **changes,
    )


ALERT = fact("alert", 0, "missing.alert", MANDLA, Role.OPENER, Phase.NEW, HP, IA, CH)
TRANSIT = fact("transit", 2, "transit.alert", MANDLA, Role.IA, Phase.MISSING, TP, DP)
INTERCEPT = fact("intercept", 4, "intercept.request", MANDLA, Role.IA, Phase.MISSING, CJ_EARLY, SH_EARLY)
RESCUE = fact("rescue", 6, "rescue.notice", ERNAKULAM, Role.DP, Phase.MISSING, NEW_IA, CJ)
ORDER = fact("order", 8, "cwc.order", CWC_RESCUE, Role.CJ, Phase.RESCUED, SH)
PLACED = fact("placed", 10, "shelter.placement", SHELTER, Role.SH, Phase.RESCUED)
TRANSFER = fact("transfer", 12, "repatriation.order", CWC_RESCUE, Role.CJ, Phase.PLACED, ES)
STORY = (ALERT, TRANSIT, INTERCEPT, RESCUE, ORDER, PLACED, TRANSFER)


def told(*facts: Fact) -> CaseState:
    """What a party knows that holds these facts."""
    return fold(CASE, facts, table=table())


def holds(state: CaseState, agency: AgencyId, person: PersonRef | None = GIRL, position: int = 100) -> set[Role]:
    """The roles by mandate that an agency holds after this position."""
    return {one.given.mandate.role for one in state.roles(agency, person, at(position))}


ACCESS = (Compartment.ACCESS, None)
