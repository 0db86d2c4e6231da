"""No sequence of mandates, honest or not, lets an agency hold a role that does not lead back to opener or directory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.authority import mandate as mandates
from broker.authority.chain import check_chain
from broker.authority.fold import add, fold
from broker.authority.model import Fact, Given, Mandate
from broker.authority.state import CaseState
from broker.authority.values import case_ref, opens
from broker.checks import Check
from broker.errors import Invalid
from broker.names import AgencyId, CaseRef, Digest, EventId, Millis, PersonRef, Phase, Role, Status
from broker.trust.bundle import Parameters
from tests.unit.authority.world import demo_directory, id_of, table

SALT = b"sixteen bytes..."
CODES = ("A1", "A2", "A4", "A5", "A6", "A7", "A10", "A14", "A15")
AGENCIES = [id_of(code) for code in CODES]
OPENER = AGENCIES[0]
CASE = case_ref(OPENER, SALT)
PERSONS = [PersonRef(b"person one......"), PersonRef(b"person two......")]
START = 1_770_000_000_000
ROLES = [Role.OPENER, Role.HP, Role.DP, Role.TP, Role.IA, Role.CJ, Role.CH, Role.SH, Role.ES, Role.FP, Role.WD]
TYPES = sorted({row.type for row in table().assignments})
VARIANTS = ["-", "child", "home", "nationality", "domestic", "cross-border"]


@st.composite
def _sequences(draw: st.DrawFn) -> list[Given]:
    """Mandates of which each cites, in whatever way, something that went before: a search for a hole."""
    made: list[Given] = []
    for step in range(draw(st.integers(1, 8))):
        row = draw(st.sampled_from(table().assignments))
        by_table = draw(st.booleans())
        under = draw(st.sampled_from(row.by if by_table else ROLES))
        cited = draw(st.sampled_from([*made, None])) if made else None
        giver = cited.mandate.agency if cited is not None and draw(st.booleans()) else draw(st.sampled_from(AGENCIES))
        role = row.gives if by_table else draw(st.sampled_from(ROLES[1:]))
        variant = next(iter(row.variants)) if row.variants else "-"
        scoped = table().roles[role].person_scoped if draw(st.booleans()) else draw(st.booleans())
        mandate = Mandate(
            case=CASE if draw(st.integers(0, 9)) else CaseRef(bytes(16)),
            event_id=EventId(bytes([draw(st.integers(0, step))]) * 16),
            type=row.type if by_table else draw(st.sampled_from(TYPES)),
            variant=variant if by_table else draw(st.sampled_from(VARIANTS)),
            giver=OPENER if under is Role.OPENER and draw(st.booleans()) else giver,
            under=under,
            under_mandate=cited.digest if cited is not None and under is not Role.OPENER else None,
            case_salt=SALT if under is Role.OPENER and draw(st.integers(0, 4)) else None,
            role=role,
            agency=draw(st.sampled_from(AGENCIES)),
            person=draw(st.sampled_from(PERSONS)) if scoped else None,
            provisional=row.provisional if by_table else draw(st.booleans()),
            not_after=Millis(START + draw(st.integers(-5, 20))),
        )
        digest = mandates.digest(mandates.encode(mandate))
        made.append(Given(mandate, Digest(digest), draw(st.integers(0, step)), Millis(START + step)))
    return made


def _accepted(chain: list[Given]) -> bool:
    try:
        check_chain(chain, case=CASE, table=table(), directory_at=lambda _: demo_directory(), parameters=Parameters())
    except Invalid as refused:
        return refused.check not in (Check.CHAIN, Check.MANDATE, Check.MANDATE_ENDED, Check.CASE_OPENER)
    return True


def _grounded(given_one: Given, by_digest: dict[Digest, Given], depth: int = 0) -> bool:
    """The rule of architecture §6 written again, without the code under test."""
    mandate = given_one.mandate
    if mandate.case != CASE or depth > 20:
        return False
    rows = [
        row
        for row in table().assignments
        if row.type == mandate.type
        and (row.variants is None or mandate.variant in row.variants)
        and row.gives is mandate.role
        and mandate.under in row.by
    ]
    kind = demo_directory().agency(mandate.agency).kind
    if not any(kind in row.to_kinds for row in rows):
        return False
    if mandate.under is Role.OPENER:
        return mandate.giver == OPENER and opens(CASE, giver=OPENER, salt=mandate.case_salt)
    if mandate.under_mandate is None:
        return mandate.under in demo_directory().agency(mandate.giver).standing
    above = by_digest.get(mandate.under_mandate)
    if above is None or above.mandate.agency != mandate.giver or above.mandate.role is not mandate.under:
        return False
    if above.mandate.person is not None and mandate.person is not None and above.mandate.person != mandate.person:
        return False
    return given_one.accepted_at <= above.mandate.not_after and _grounded(above, by_digest, depth + 1)


@settings(max_examples=200)
@given(_sequences())
def test_an_accepted_chain_ends_at_the_opener_or_a_standing_role(chain: list[Given]) -> None:
    """Whatever is accepted leads, link by link and by rows of the table, to the opener or the directory."""
    for size in range(1, len(chain) + 1):
        if _accepted(chain[:size]):
            by_digest = {one.digest: one for one in chain[:size]}
            assert all(_grounded(one, by_digest) for one in chain[:size])


def _facts(chain: list[Given]) -> list[Fact]:
    """Each mandate as if a party had been told it by an event of its own; what no chain proves comes too."""
    return [
        Fact(
            event_id=EventId(b"told by event %02d" % place),
            type="investigation.request",
            variant="-",
            status=Status.ACTUAL,
            author=AgencyId(one.mandate.giver),
            case=CASE,
            position=100 + place,
            accepted_at=Millis(START + 100),
            act_at=Millis(START),
            expires_at=None,
            references=(),
            persons=(PERSONS[0],),
            phases={PERSONS[0]: Phase.MISSING},
            sender_roles=(Role.OR,),
            mandates=(one,),
        )
        for place, one in enumerate(chain)
    ]


def _check_holders(state: CaseState) -> None:
    by_digest = {digest: holder.given for digest, holder in state.holders.items()}
    for holder in state.holders.values():
        under = holder.given.mandate.under_mandate
        if under is not None:
            assert under in by_digest, "a holder whose giver held nothing"
            assert by_digest[under].position <= holder.given.position


@settings(max_examples=100)
@given(_sequences(), st.randoms(use_true_random=False))
def test_a_state_never_holds_a_link_without_the_one_above(chain: list[Given], chance: object) -> None:
    """In the fold too a role counts only while the role under which it was given did, in any order of arrival."""
    facts = _facts(chain)
    state = fold(CASE, facts, table=table())
    _check_holders(state)
    shuffled = facts[:]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    arrived = fold(CASE, (), table=table())
    for fact in shuffled:
        arrived = add(arrived, fact)
    assert arrived == state


@given(_sequences())
def test_a_mandate_has_one_form(chain: list[Given]) -> None:
    """The bytes of a mandate give it back, and nothing longer or shorter does."""
    for one in chain:
        data = mandates.encode(one.mandate)
        assert mandates.decode(data) == one.mandate
        for damaged in (data[:-1], data + b"\0"):
            with pytest.raises(Invalid) as refused:
                mandates.decode(damaged)
            assert refused.value.check == Check.MANDATE


@settings(max_examples=200)
@given(_sequences())
def test_a_shelter_never_holds_a_police_or_committee_role(chain: list[Given]) -> None:
    """No accepted chain makes a shelter anything but SH or ES (invariant 9 of domain §5.5)."""
    for size in range(1, len(chain) + 1):
        if _accepted(chain[:size]):
            roles = {one.mandate.role for one in chain[:size] if one.mandate.agency == id_of("A6")}
            assert roles <= {Role.SH, Role.ES}
