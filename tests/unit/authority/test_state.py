"""What events do to a case, and when they do nothing: the stories of authority."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.authority.model import Given
from broker.authority.state import CaseState, Effect
from broker.clock import DAY
from broker.names import AgencyId, Compartment, Millis, Phase, Role, Status
from tests.unit.authority import made
from tests.unit.authority.made import (
    ALERT,
    CH,
    CJ,
    CJ_EARLY,
    DP,
    ES,
    GIRL,
    HP,
    IA,
    INTERCEPT,
    ORDER,
    PLACED,
    RESCUE,
    SH,
    STORY,
    TP,
    TRANSFER,
    TRANSIT,
    WOMAN,
    again,
    at,
    event_id,
    fact,
    given,
    holds,
    told,
)

RESCUED = STORY[:4]
ESCORT = ES.mandate.agency


def test_a_stranger_s_rescue_notice_changes_nothing() -> None:
    """A rescue told by one who holds no role in the case neither sets the phase nor closes an alert."""
    forged = fact("forged", 3, "rescue.notice", made.GRP, Role.DP, Phase.MISSING)
    cancel = fact("forged cancel", 4, "cancel", made.GRP, Role.OR, Phase.MISSING, variant="alert", about=("alert",))
    state = told(ALERT, TRANSIT, forged, cancel)
    assert state.effect(event_id("forged")) is Effect.NO_ROLE
    assert state.effect(event_id("forged cancel")) is Effect.RELATION
    assert state.phase(GIRL) is Phase.MISSING
    assert not state.expired(event_id("alert"), GIRL, at(5))


def test_what_a_stranger_gives_is_held_by_nobody() -> None:
    """A mandate whose giver's role is itself not effective gives nothing."""
    alone = given(
        "forged", 3, "rescue.notice", made.GRP, again(DP, agency=made.GRP, giver=made.GRP), Role.CJ, made.CWC_HOME, GIRL
    )
    state = told(ALERT, TRANSIT, fact("forged", 3, "rescue.notice", made.GRP, Role.DP, Phase.MISSING, alone))
    assert holds(state, made.CWC_HOME) == {Role.CH}


def test_a_second_opening_changes_nothing() -> None:
    """A case is opened once: another opening of the same reference, and the roles given in it, have no effect."""
    second_ia = again(IA, position=9, event_id=event_id("second"), agency=made.MANDLA)
    second_ch = again(CH, position=9, event_id=event_id("second"), agency=made.CWC_RESCUE)
    second = fact("second", 9, "missing.alert", made.MANDLA, Role.OPENER, Phase.NEW, second_ia, second_ch)
    state = told(*RESCUED, second)
    assert state.effect(event_id("second")) is Effect.SECOND_OPENER
    assert holds(state, made.MANDLA) == {Role.HP}
    assert Role.CH not in holds(state, made.CWC_RESCUE)
    assert state.phase(GIRL) is Phase.RESCUED


def test_an_opener_gives_as_opener_in_its_first_event_only() -> None:
    """Later the opener acts under the roles that it then holds; its salt gives nothing back that it lost."""
    later = again(IA, position=9, event_id=event_id("later"))
    sent = fact("later", 9, "investigation.request", made.MANDLA, Role.HP, Phase.RESCUED, later)
    assert holds(told(*RESCUED, sent), made.MANDLA) == {Role.HP}


def test_a_party_that_knows_the_opening_by_its_chain_only_sees_through_a_second() -> None:
    """The mandate of the first opening, carried by a later event, is enough to see that a second came after it."""
    carried = fact("transit", 2, "transit.alert", made.MANDLA, Role.IA, Phase.MISSING, IA, TP)
    second = fact("second", 9, "missing.alert", made.MANDLA, Role.OPENER, Phase.NEW)
    assert told(carried, second).effect(event_id("second")) is Effect.SECOND_OPENER


def test_an_event_after_its_sender_s_mandate_ended_is_kept_and_changes_nothing() -> None:
    """It is shown as without authority: the investigation went to another desk."""
    late = fact("late", 9, "prosecution.update", made.MANDLA, Role.IA, Phase.RESCUED, IA)
    state = told(*RESCUED, late)
    assert state.effect(event_id("late")) is Effect.ENDED
    assert event_id("late") in state.facts


def test_a_mandate_given_before_an_ending_lives_on() -> None:
    """Those given before the giver's role ended live to their expiry; those given later do not."""
    moved = again(TP, position=9, event_id=event_id("late"), agency=made.NAGPUR)
    late = fact("late", 9, "transit.alert", made.MANDLA, Role.IA, Phase.MISSING, IA, moved)
    state = told(*RESCUED, late)
    assert Role.TP in holds(state, made.RPF)
    assert Role.TP not in holds(state, made.NAGPUR)


def test_a_rescue_that_the_sender_had_not_heard_of_overtakes_its_alert() -> None:
    """An alert accepted after the rescue assumes what is no longer so: it changes nothing."""
    late = fact("late", 7, "transit.alert", made.MANDLA, Role.HP, Phase.MISSING, HP)
    state = told(*RESCUED, late)
    assert state.effect(event_id("late")) is Effect.OVERTAKEN
    assert state.phase(GIRL) is Phase.RESCUED


def test_a_rescue_counts_for_those_who_were_still_missing() -> None:
    """An event about two persons can be overtaken for one of them and effective for the other."""
    both = fact("both", 7, "rescue.notice", made.ERNAKULAM, Role.DP, Phase.MISSING, persons=(GIRL, WOMAN))
    state = told(*RESCUED, both)
    assert state.effect(event_id("both"), GIRL) is Effect.OVERTAKEN
    assert state.effect(event_id("both"), WOMAN) is Effect.EFFECTIVE
    assert state.effect(event_id("both")) is Effect.EFFECTIVE
    assert state.phase(WOMAN) is Phase.RESCUED


def test_a_drill_is_never_counted_in_a_real_case() -> None:
    """An event with another status than its case has no effect."""
    drill = fact("drill", 5, "rescue.notice", made.ERNAKULAM, Role.DP, Phase.MISSING, status=Status.EXERCISE)
    state = told(ALERT, TRANSIT, drill)
    assert state.effect(event_id("drill")) is Effect.STATUS
    assert state.phase(GIRL) is Phase.MISSING


def test_an_event_of_another_case_is_not_taken_in() -> None:
    """Facts of one case never reach the state of another."""
    other = replace(RESCUE, case=made.OTHER_CASE)
    assert event_id("rescue") not in told(ALERT, TRANSIT, other).facts


def test_of_two_acceptances_the_lowest_position_counts() -> None:
    """An event that was accepted twice is taken at its first place."""
    again_later = replace(ALERT, position=50, accepted_at=at(50))
    state = told(again_later, ALERT, TRANSIT)
    assert state.facts[event_id("alert")].position == 0


def test_a_rescue_ends_a_provisional_committee_that_it_does_not_confirm() -> None:
    """The committee that was only warned loses its role if the rescue names another."""
    other = again(CJ, agency=made.CWC_HOME)
    state = told(ALERT, TRANSIT, INTERCEPT, replace(RESCUE, mandates=(other,)))
    assert Role.CJ not in holds(state, made.CWC_RESCUE)
    assert Role.CJ in holds(state, made.CWC_HOME)


def test_a_confirmed_role_outlives_the_provisional_one() -> None:
    """What the rescue confirms does not end with the window of the interception."""
    short = again(CJ_EARLY, not_after=at(8))
    state = told(ALERT, TRANSIT, replace(INTERCEPT, mandates=(short,)), RESCUE)
    assert Role.CJ in holds(state, made.CWC_RESCUE, position=90)


def test_an_order_without_a_placement_leaves_the_provisional_shelter() -> None:
    """Only an order that names a facility ends the provisional role of another."""
    unplaced = fact("order", 8, "cwc.order", made.CWC_RESCUE, Role.CJ, Phase.RESCUED)
    assert Role.SH in holds(told(*RESCUED, unplaced), made.SHELTER)
    elsewhere = again(SH, agency=made.NGO)
    placed = holds(told(*RESCUED, replace(unplaced, mandates=(elsewhere,))), made.SHELTER)
    assert Role.SH not in placed


def test_a_person_with_a_home_committee_gets_no_second_one() -> None:
    """A row for a person without the role gives nothing where another holds it."""
    second = given("rescue", 6, "rescue.notice", made.ERNAKULAM, DP, Role.CH, made.CWC_RESCUE, GIRL)
    state = told(ALERT, TRANSIT, INTERCEPT, replace(RESCUE, mandates=(CJ, second)))
    assert holds(state, made.CWC_RESCUE) == {Role.CJ}
    assert holds(state, made.CWC_HOME) == {Role.CH}


def test_a_committee_returns_a_person_to_missing() -> None:
    """Missing from care: the alert of CJ or CH sets the phase back, and a second rescue can follow."""
    gone = fact("gone", 14, "missing.alert", made.CWC_RESCUE, Role.CJ, Phase.PLACED, CJ)
    found = fact("found", 16, "rescue.notice", made.ERNAKULAM, Role.DP, Phase.MISSING, DP)
    assert told(*STORY, gone).phase(GIRL) is Phase.MISSING
    state = told(*STORY, gone, found)
    assert state.phase(GIRL) is Phase.RESCUED
    assert not state.persons[GIRL].ordered


def test_police_cannot_return_a_placed_person_to_missing() -> None:
    """HP and IA alert in phase missing only; afterwards their alert is overtaken."""
    again_missing = fact("gone", 14, "missing.alert", made.MANDLA, Role.HP, Phase.MISSING, HP)
    state = told(*STORY, again_missing)
    assert state.effect(event_id("gone")) is Effect.OVERTAKEN
    assert state.phase(GIRL) is Phase.PLACED


@pytest.mark.parametrize(("status", "left"), [("accepted", True), ("discharged", False), ("refused-full", False)])
def test_a_shelter_s_role_ends_thirty_days_after_discharge(status: str, left: bool) -> None:
    """Accepted lasts; discharged, transferred and refused-full end the role P30D later (domain §5.6)."""
    state = told(*RESCUED, ORDER, replace(PLACED, coded={("place.status", GIRL): status}))
    before, after = Millis(at(10) + 30 * DAY - 1), Millis(at(10) + 30 * DAY)
    assert Role.SH in {one.given.mandate.role for one in state.roles(made.SHELTER, GIRL, before)}
    assert (Role.SH in {one.given.mandate.role for one in state.roles(made.SHELTER, GIRL, after)}) is left


def _handed(*, by: AgencyId, role: Role) -> CaseState:
    handed = fact("handed", 14, "handover.record", ESCORT, Role.ES, Phase.PLACED, ES)
    signed = fact("signed", 15, "ack", by, role, Phase.PLACED, CH, SH, variant="counter-signed", about=("handed",))
    return told(*STORY, handed, signed)


def test_the_home_committee_s_counter_signature_restores_the_person() -> None:
    """CH counter-signs: the person is restored, the movement ends a day later, CH owns the victim's compartments."""
    state = _handed(by=made.CWC_HOME, role=Role.CH)
    assert state.phase(GIRL) is Phase.RESTORED
    assert state.owner(Compartment.LOCATION, GIRL, at(16), event_id("transfer")) == made.CWC_HOME
    assert not state.movement_ended(event_id("transfer"), at(38))
    assert state.movement_ended(event_id("transfer"), at(39))
    assert state.movement_ended(event_id("handed"), at(39))


def test_a_handover_to_a_shelter_restores_nobody() -> None:
    """A change of custody that a shelter counter-signs completes the record and leaves the phase."""
    state = _handed(by=made.SHELTER, role=Role.SH)
    assert state.phase(GIRL) is Phase.PLACED
    assert state.movement_ended(event_id("handed"), at(39))


def test_a_counter_signature_by_one_without_custody_changes_nothing() -> None:
    """The counter-signature counts only from a holder of the role that it claims."""
    state = _handed(by=made.NGO, role=Role.CH)
    assert state.effect(event_id("signed")) is Effect.NO_ROLE
    assert state.phase(GIRL) is Phase.PLACED
    assert state.countersigned == {}


def test_a_new_movement_opens_the_escort_s_reading_again() -> None:
    """The end of one movement does not end the next: a later order starts its own."""
    handed = fact("handed", 14, "handover.record", ESCORT, Role.ES, Phase.PLACED, ES)
    signed = fact(
        "signed", 15, "ack", made.SHELTER, Role.SH, Phase.PLACED, SH, variant="counter-signed", about=("handed",)
    )
    second = fact("second", 20, "repatriation.order", made.CWC_RESCUE, Role.CJ, Phase.PLACED, CJ)
    state = told(*STORY, handed, signed, second)
    assert state.movement_ended(event_id("transfer"), at(40))
    assert not state.movement_ended(event_id("second"), at(40))


CLOSERS = [
    ("the committee that owns closes", made.CWC_RESCUE, Role.CJ, CJ, Effect.EFFECTIVE),
    ("home police does not", made.MANDLA, Role.HP, HP, Effect.RELATION),
    ("the home committee does not, before restoration", made.CWC_HOME, Role.CH, CH, Effect.RELATION),
]


@pytest.mark.parametrize(("name", "author", "role", "proof", "effect"), CLOSERS, ids=[one[0] for one in CLOSERS])
def test_only_the_owner_closes_a_person(name: str, author: AgencyId, role: Role, proof: Given, effect: Effect) -> None:
    """cancel(case) closes the person if its author owns the victim's compartments."""
    state = told(*STORY, fact("close", 20, "cancel", author, role, Phase.PLACED, proof, variant="case"))
    assert state.effect(event_id("close")) is effect
    assert (state.phase(GIRL) is Phase.CLOSED) is (effect is Effect.EFFECTIVE)


def test_a_later_phase_is_believed_only_from_those_who_must_know() -> None:
    """A party that saw the alert believes a committee that says placed, and not a route desk that says restored."""
    by_cj = fact("order", 8, "cwc.order", made.CWC_RESCUE, Role.CJ, Phase.PLACED, DP, CJ)
    assert told(ALERT, TRANSIT, by_cj).phase(GIRL) is Phase.PLACED
    by_dp = fact("ask", 8, "investigation.request", made.ERNAKULAM, Role.DP, Phase.RESTORED)
    assert told(ALERT, TRANSIT, by_dp).phase(GIRL) is Phase.MISSING


def test_a_stranger_s_claim_of_a_phase_is_not_believed() -> None:
    """A member that asks for disclosure tells nothing of a person, even to one who knows nothing of her yet."""
    asked = fact("asked", 3, "disclosure.request", made.GRP, Role.OR, Phase.CLOSED, variant="routine")
    assert told(asked).phase(GIRL) is Phase.MISSING
    assert told(ALERT, asked).phase(GIRL) is Phase.MISSING


def test_a_person_named_first_in_an_existing_case_is_missing() -> None:
    """new is for a case reference not used before (domain §5.2.2)."""
    assert told(ALERT).phase(WOMAN) is Phase.MISSING
    assert told().phase(WOMAN) is Phase.NEW


EXPIRIES = [
    ("an alert without an end lasts thirty days", None, 30 * DAY, False),
    ("then its conditional reading ends", None, 30 * DAY + 1, True),
    ("an end in the header comes first", at(5), 6 * 3_600_000, True),
    ("and not before", at(5), 5 * 3_600_000, False),
]


@pytest.mark.parametrize(("name", "end", "after", "expired"), EXPIRIES, ids=[one[0] for one in EXPIRIES])
def test_conditional_reading_expires(name: str, end: Millis | None, after: int, expired: bool) -> None:
    """The flag expired is set after the header's end, or the life that the table gives to the type (domain §5.6)."""
    state = told(replace(ALERT, expires_at=end))
    assert state.expired(event_id("alert"), GIRL, Millis(at(0) + after)) is expired


def _granted(
    control: dict[str, object] | None = None,
    variant: str = "home-visit",
    *,
    by: AgencyId = made.CWC_HOME,
    proof: Given = CH,
) -> CaseState:
    fields: dict[str, object] = {
        "grant.to": made.NGO,
        "grant.person": GIRL,
        "grant.compartments": ["person_identity", "location"],
        "grant.messages": [event_id("order")],
        "grant.until": at(100),
        **(control or {}),
    }
    role = proof.mandate.role
    return told(
        *STORY, fact("granted", 20, "access.grant", by, role, Phase.PLACED, proof, variant=variant, control=fields)
    )


def test_a_grant_never_outlives_its_limit() -> None:
    """Whatever date is written, a home visit ends with the fifteenth day."""
    grants = _granted({"grant.until": Millis(at(20) + 300 * DAY)}).live_grants(made.NGO, at(21))
    assert grants[0].until <= at(20) + 16 * DAY


def test_a_grant_never_gives_source() -> None:
    """source is dropped from a grant, whoever wrote it."""
    state = _granted({"grant.compartments": ["source", "location"]}, "owner", by=made.CWC_RESCUE, proof=CJ)
    assert state.live_grants(made.NGO, at(21))[0].compartments == {Compartment.LOCATION}


def test_a_home_visit_is_granted_by_a_committee_only() -> None:
    """A home-visit grant by another role gives nothing."""
    assert _granted(by=made.ERNAKULAM, proof=DP).grants == {}


WITHDRAWERS = [
    ("the grantor withdraws", made.CWC_HOME, Role.CH, CH, True),
    ("the owner withdraws", made.CWC_RESCUE, Role.CJ, CJ, True),
    ("another police unit does not", made.ERNAKULAM, Role.DP, DP, False),
    ("the grantee does not", made.NGO, Role.OR, None, False),
]


@pytest.mark.parametrize(
    ("name", "author", "role", "proof", "counts"), WITHDRAWERS, ids=[one[0] for one in WITHDRAWERS]
)
def test_a_grant_is_withdrawn_by_those_who_may(
    name: str, author: AgencyId, role: Role, proof: Given | None, counts: bool
) -> None:
    """The grantor, the owner, CJ and CH withdraw; it counts from the message named (domain §5.2.4)."""
    fields = {"withdraw.grant": event_id("granted"), "withdraw.from": event_id("order")}
    withdrawal = fact(
        "withdrawn", 22, "access.withdraw", author, role, Phase.PLACED, *([proof] if proof else []), control=fields
    )
    state = told(*_granted().facts.values(), withdrawal)
    assert bool(state.live_grants(made.NGO, at(23))) is not counts
    assert bool(state.live_grants(made.NGO, at(23), position=9)) is not counts
    assert state.live_grants(made.NGO, at(23), position=7)


def test_a_cancel_by_a_holder_who_may_tell_of_rescues_is_believed_without_the_rescue() -> None:
    """A desk that never gets the rescue notice still closes what it was sent."""
    cancel = fact("cancel", 7, "cancel", made.ERNAKULAM, Role.DP, Phase.RESCUED, DP, variant="alert", about=("alert",))
    state = told(ALERT, TRANSIT, cancel)
    assert state.expired(event_id("alert"), GIRL, at(8))
    assert not state.expired(event_id("alert"), WOMAN, at(8))


def test_an_amend_by_another_changes_nothing() -> None:
    """Only the author of a message amends it."""
    amended = fact(
        "amended", 5, "amend", made.ERNAKULAM, Role.DP, Phase.MISSING, DP, variant="correction",
        about=("transit",), control={"amend.of": event_id("transit")},
    )  # fmt: skip
    assert told(ALERT, TRANSIT, amended).effect(event_id("amended")) is Effect.RELATION


def test_a_chain_is_returned_opener_first() -> None:
    """What proves a mandate comes before it, each link once."""
    state = told(*STORY)
    chain = state.chain([SH.digest, ES.digest])
    assert [one.digest for one in chain] == [HP.digest, DP.digest, CJ.digest, SH.digest, ES.digest]
    with pytest.raises(KeyError):
        told().chain([SH.digest])


def test_the_last_committee_named_owns() -> None:
    """Where a second rescue names another committee, that one owns from its order on."""
    gone = fact("gone", 14, "missing.alert", made.CWC_RESCUE, Role.CJ, Phase.PLACED, CJ)
    new_cj = given("found", 16, "rescue.notice", made.ERNAKULAM, DP, Role.CJ, made.CWC_HOME, GIRL)
    found = fact("found", 16, "rescue.notice", made.ERNAKULAM, Role.DP, Phase.MISSING, DP, new_cj)
    order = fact("order 2", 18, "cwc.order", made.CWC_HOME, Role.CJ, Phase.RESCUED, new_cj)
    state = told(*STORY, gone, found, order)
    assert state.owner(Compartment.MEDICAL, GIRL, at(20), event_id("found")) == made.CWC_HOME


def test_unused_facts_of_the_story_all_take_effect() -> None:
    """The story on which the others build is itself honest."""
    state = told(*STORY)
    assert {state.effect(one.event_id) for one in STORY} == {Effect.EFFECTIVE}
    assert state.phase(GIRL) is Phase.PLACED
    assert TRANSFER.event_id in state.facts
