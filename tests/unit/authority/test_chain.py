"""Mandate chains: what is accepted, and each attack on one with the check that refuses it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from broker.authority.chain import check_chain
from broker.authority.model import Given
from broker.checks import Check
from broker.clock import DAY
from broker.errors import Invalid
from broker.names import AgencyId, AgencyKind, CaseRef, Digest, Millis, Role
from broker.trust.bundle import Parameters
from broker.trust.directory import Directory, Standing
from tests.unit.authority import made
from tests.unit.authority.made import CH, CJ, DP, ES, HP, IA, NEW_IA, SH, TP, again, at, given, signed
from tests.unit.authority.world import agency, demo_directory, directory, id_of, table


def _check(chain: Sequence[Given], *, case: CaseRef = made.CASE, by: Directory | None = None) -> None:
    check_chain(
        chain,
        case=case,
        table=table(),
        directory_at=lambda _: by or demo_directory(),
        parameters=Parameters(),
    )


GOOD: dict[str, Sequence[Given]] = {
    "the opener's own role": [HP],
    "what the opener gives another": [CH],
    "two links": [IA, TP],
    "four links, each given under the one before": [HP, DP, CJ, SH],
    "several roles of one sender share their proof": [HP, DP, NEW_IA, CJ],
    "a role under a standing role": [
        given(
            "nationality",
            9,
            "verify.request",
            made.WOMEN,
            Role.WD,
            Role.FP,
            made.FOREIGN,
            made.GIRL,
            variant="nationality",
        )
    ],
    "a role for the whole case under one for a person": [HP, DP],
    "the escort by the committee of the rescue": [HP, DP, CJ, ES],
    "an empty chain, for a sender with standing roles only": [],
}


@pytest.mark.parametrize("name", GOOD)
def test_an_honest_chain_is_accepted(name: str) -> None:
    """A chain from the opener or a standing role, each link by one who may give it, is accepted."""
    _check(GOOD[name])


def _rogue(role: Role, to: str, under: Given, giver: str, event_type: str) -> list[Given]:
    return [HP, IA, DP, under, given("rogue", 20, event_type, id_of(giver), under, role, id_of(to), made.GIRL)]


ATTACKS: dict[str, tuple[Check, Sequence[Given]]] = {
    "a link is missing": (Check.CHAIN, [TP]),
    "a link in the middle is missing": (Check.CHAIN, [HP, CJ, SH]),
    "the links stand in the wrong order": (Check.CHAIN, [TP, IA]),
    "the digest is another's": (Check.MANDATE, [replace(HP, digest=Digest(bytes(32)))]),
    "it cites a later event": (Check.CHAIN, [again(IA, position=5), TP]),
    "it cites another event at its own position": (
        Check.CHAIN,
        [again(IA, position=2), again(TP, under_mandate=again(IA, position=2).digest)],
    ),
    "it is of another case": (Check.MANDATE, [again(HP, case=made.OTHER_CASE)]),
    "the salt is forged": (Check.CASE_OPENER, [again(HP, case_salt=b"another salt....")]),
    "the salt is left out": (Check.CASE_OPENER, [again(HP, case_salt=None)]),
    "a stranger uses the opener's salt": (Check.CASE_OPENER, [again(HP, giver=made.GRP, agency=made.GRP)]),
    "a cwc claims to have opened": (Check.CASE_OPENER, [again(CH, giver=made.CWC_HOME)]),
    "the opener cites a mandate too": (Check.CASE_OPENER, [HP, again(IA, under_mandate=HP.digest)]),
    "two events claim to have opened": (Check.CASE_OPENER, [HP, again(IA, event_id=made.event_id("second"))]),
    "the salt rides in a mandate that is not the opener's": (Check.MANDATE, [IA, again(TP, case_salt=made.SALT)]),
    "under a mandate of somebody else": (
        Check.MANDATE,
        [IA, again(TP, giver=made.NAGPUR)],
    ),
    "under another role than the one cited": (Check.MANDATE, [CH, again(DP, under_mandate=CH.digest)]),
    "a mandated role claimed as if it were standing": (Check.CHAIN, [again(DP, under_mandate=None)]),
    "a standing role that the directory does not give": (
        Check.CHAIN,
        [
            given(
                "nationality",
                9,
                "verify.request",
                made.LEGAL_AID,
                Role.WD,
                Role.FP,
                made.FOREIGN,
                made.GIRL,
                variant="nationality",
            )
        ],
    ),
    "stretched to another person": (
        Check.MANDATE,
        [HP, DP, CJ, again(SH, person=made.WOMAN)],
    ),
    "a role of one person for the whole case": (Check.MANDATE, [again(HP, person=None)]),
    "a role of the case for one person": (Check.MANDATE, [again(IA, person=made.GIRL)]),
    "to a kind that cannot hold it": (Check.MANDATE, [HP, DP, again(CJ, agency=made.SHELTER)]),
    "to an agency that the directory does not know": (Check.MANDATE, [again(CH, agency=AgencyId("in.no.such"))]),
    "a shelter names a CWC": (Check.MANDATE, [HP, DP, CJ, SH, *_rogue(Role.CJ, "A7", SH, "A6", "cwc.order")[-1:]]),
    "a rogue shelter names itself CWC": (
        Check.MANDATE,
        [HP, DP, CJ, SH, given("rogue", 20, "rescue.notice", made.SHELTER, SH, Role.CJ, made.SHELTER, made.GIRL)],
    ),
    "transit police names itself DP": (
        Check.MANDATE,
        [IA, TP, given("rogue", 20, "transit.alert", made.RPF, TP, Role.DP, made.RPF)],
    ),
    "transit police makes another the investigating agency": (
        Check.MANDATE,
        [IA, TP, given("rogue", 20, "rescue.notice", made.RPF, TP, Role.IA, made.NAGPUR)],
    ),
    "in a type that gives no such role": (Check.MANDATE, [IA, again(TP, type="sighting.report")]),
    "in a variant that gives no such role": (Check.MANDATE, [again(CH, variant="adult")]),
    "in a type that does not exist": (Check.CASE_OPENER, [again(HP, type="no.such.type")]),
    "the home committee places a child": (
        Check.MANDATE,
        [CH, given("rogue", 20, "cwc.order", made.CWC_HOME, CH, Role.SH, made.SHELTER, made.GIRL)],
    ),
    "a provisional role is passed off as confirmed": (
        Check.MANDATE,
        [IA, given("rogue", 4, "intercept.request", made.MANDLA, IA, Role.CJ, made.CWC_RESCUE, made.GIRL)],
    ),
    "it lasts longer than any mandate may": (
        Check.MANDATE,
        [again(HP, not_after=Millis(at(0) + Parameters().mandate_max + DAY))],
    ),
    "given after the giver's mandate had ended": (
        Check.MANDATE_ENDED,
        [again(IA, not_after=at(1)), again(TP, under_mandate=again(IA, not_after=at(1)).digest)],
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_dishonest_chain_is_refused(name: str) -> None:
    """Each attack on a chain is refused with the number of its check."""
    check, chain = ATTACKS[name]
    with pytest.raises(Invalid) as refused:
        _check(chain)
    assert refused.value.check == check, str(refused.value)


def test_a_whole_chain_of_another_case_is_refused() -> None:
    """A chain that is honest in its own case proves nothing in another."""
    with pytest.raises(Invalid) as refused:
        _check([HP, DP, CJ], case=made.OTHER_CASE)
    assert refused.value.check == Check.MANDATE


def test_a_giver_that_was_suspended_gives_nothing() -> None:
    """The giver must have been enrolled when its event was accepted; later suspension changes nothing."""
    history = ((Millis(0), Standing.ENROLLED), (at(1), Standing.SUSPENDED))
    suspended = agency(made.MANDLA, AgencyKind.POLICE_AHTU, history=history)
    others = [one for one in demo_directory().agencies.values() if one.id != made.MANDLA]
    _check([HP, IA, CH], by=directory(suspended, *others))
    with pytest.raises(Invalid) as refused:
        _check([IA, TP], by=directory(suspended, *others))
    assert refused.value.check == Check.MANDATE


def test_the_directory_of_each_link_s_own_time_counts() -> None:
    """Each link is judged by the directory in force when its event was accepted."""
    before = demo_directory()
    after = directory(*(one for one in before.agencies.values() if one.id != made.MANDLA))

    def directory_at(time: Millis) -> Directory:
        return before if time <= at(2) else after

    check_chain([IA, TP], case=made.CASE, table=table(), directory_at=directory_at, parameters=Parameters())
    late = [again(IA, position=3)]
    with pytest.raises(Invalid):
        check_chain(late, case=made.CASE, table=table(), directory_at=directory_at, parameters=Parameters())


def test_a_reader_that_knows_the_end_holds_the_giver_to_it() -> None:
    """Where the reader can compute the end that the event allows, a mandate may not last beyond it."""

    def ends_at(mandate: object) -> Millis:
        return at(10)

    short = again(IA, not_after=at(10))
    check_chain(
        [short],
        case=made.CASE,
        table=table(),
        directory_at=lambda _: demo_directory(),
        parameters=Parameters(),
        ends_at=ends_at,
    )
    with pytest.raises(Invalid) as refused:
        check_chain(
            [IA],
            case=made.CASE,
            table=table(),
            directory_at=lambda _: demo_directory(),
            parameters=Parameters(),
            ends_at=ends_at,
        )
    assert refused.value.check == Check.MANDATE


def test_a_chain_has_a_longest_length() -> None:
    """More links than the limit are refused, however honest each is."""
    desks = [made.MANDLA, made.ERNAKULAM]
    chain = [IA]
    for step in range(1, 17):
        chain.append(
            given(
                f"handed {step}",
                step,
                "investigation.request",
                desks[(step + 1) % 2],
                chain[-1],
                Role.IA,
                desks[step % 2],
            )
        )
    _check(chain[:16])
    with pytest.raises(Invalid) as refused:
        _check(chain)
    assert refused.value.check == Check.CHAIN


def test_a_mandate_in_the_same_event_can_be_cited() -> None:
    """A role given by a message counts already in that message."""
    taken = given("found", 3, "rescue.notice", made.RPF, TP, Role.DP, made.RPF)
    named = signed(
        replace(again(CJ, giver=made.RPF, under_mandate=taken.digest).mandate, event_id=taken.mandate.event_id), 3
    )
    _check([IA, TP, taken, named])
