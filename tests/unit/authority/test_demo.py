"""The demo of domain §6, planned by each agency from its own knowledge, against the tables of the domain."""

from __future__ import annotations

import random

import pytest

from broker.authority.fold import add, fold
from broker.authority.model import Mandate, Reader
from broker.authority.state import CaseState, Effect
from broker.clock import parse_time
from broker.names import Basis, Compartment, Millis, PersonRef, Phase, Role
from tests.unit.authority.expected import READERS, ROLES
from tests.unit.authority.world import World, code_of, id_of, played, scenario, table

MESSAGES = sorted(READERS)
CASE = "C-7Q4K-2M9X"


def _person(world: World, alias: str) -> PersonRef:
    return world.people[world.cases[CASE], alias]


def _state(until: str = "") -> CaseState:
    world = played(until)
    return world.everything(world.cases[CASE])


def _time(text: str) -> Millis:
    return parse_time(f"2026-{text}:00+05:30")


def _shown(world: World, name: str, reader: Reader) -> str:
    """What a reader opens, written as in the table of expected readers."""
    aliases = world.messages[name].event.aliases
    found: dict[str, list[str]] = {}
    for entry in reader.entries:
        compartment, person = entry.block
        found.setdefault(compartment.label, []).extend([aliases[person]] if person is not None else [])
    return " ".join(
        word + (":" + ",".join(sorted(persons)) if persons else "") for word, persons in sorted(found.items())
    )


@pytest.mark.parametrize("name", MESSAGES)
def test_each_addressee_reads_what_the_domain_says(name: str) -> None:
    """The readers of every block are those that the tables of domain §5.3 give to the roles of §6.1.2."""
    world = played()
    readers = world.messages[name].plan.readers
    assert {code_of(one.agency): _shown(world, name, one) for one in readers[1:]} == READERS[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_the_author_reads_everything_that_it_wrote(name: str) -> None:
    """The author is the first reader, and reads each block on the ground that it wrote it."""
    told = played().messages[name]
    author = told.plan.readers[0]
    assert author.agency == told.fact.author
    assert {entry.block for entry in author.entries} == set(told.event.blocks)
    assert {entry.basis for entry in author.entries} == {Basis.AUTHOR}


@pytest.mark.parametrize("name", MESSAGES)
def test_roles_in_force_are_those_of_the_domain(name: str) -> None:
    """In every message each party holds exactly the roles of domain §6.1.2."""
    told = played().messages[name]
    found: dict[str, set[str]] = {}
    for reader in told.plan.readers:
        persons: dict[str, list[str]] = {}
        for held in reader.roles:
            persons.setdefault(held.role.label, []).extend(
                [told.event.aliases[held.person]] if held.person is not None else []
            )
        found[code_of(reader.agency)] = {
            word + (f"({','.join(sorted(named))})" if named else "") for word, named in persons.items()
        }
    assert found == {code: set(words.split()) for code, words in ROLES[name].items()}


GIVEN = {
    "M01": "A1 HP P-1; A1 IA; A7 CH P-1",
    "M02": "A2 TP; A3 TP; A4 DP",
    "M04": "A5 CJ P-1 provisional; A5 CJ P-2 provisional; A6 SH P-1 provisional; A6 SH P-2 provisional",
    "M06": "A4 IA; A5 CJ P-1; A5 CJ P-2",
    "M07": "A6 SH P-1; A6 SH P-2",
    "M10": "A14 FP P-2",
    "M13": "A15 ES P-1; A2 TP",
}


@pytest.mark.parametrize("name", sorted(played().messages))
def test_each_message_gives_the_roles_of_the_domain_and_no_other(name: str) -> None:
    """The mandates of each message are those of domain §6.1.1; a control gives none."""
    world = played()
    told = world.messages[name]
    found = [
        " ".join(
            [code_of(one.agency), one.role.label]
            + ([told.event.aliases[one.person]] if one.person is not None else [])
            + (["provisional"] if one.provisional else [])
        )
        for one in told.plan.mandates
    ]
    wanted = GIVEN.get(name, "A17 HP Q-1; A17 IA; A7 CH Q-1" if name == "K1a" else "")
    assert "; ".join(sorted(found)) == wanted


def test_every_event_of_the_demo_takes_effect() -> None:
    """Nothing in the demo is overtaken, without authority or a second opening, for whoever holds it."""
    world = played()
    for facts in world.facts.values():
        for case, held in facts.items():
            state = fold(case, held, table=table())
            assert {state.effect(one.event_id) for one in held} == {Effect.EFFECTIVE}


PHASES = [
    ("M02", "P-1", Phase.MISSING, "the alert names her"),
    ("M05", "P-2", Phase.MISSING, "she is first named in an existing case"),
    ("M06", "P-1", Phase.MISSING, "an interception that found her is no rescue yet"),
    ("K2", "P-1", Phase.RESCUED, "the rescue notice names her"),
    ("K2", "P-2", Phase.RESCUED, "the rescue notice names her too"),
    ("M08", "P-1", Phase.RESCUED, "an order places nobody by itself"),
    ("M09", "P-1", Phase.PLACED, "the shelter has accepted her"),
    ("K7", "P-1", Phase.PLACED, "a handover is not complete with one signature"),
    ("M15", "P-1", Phase.RESTORED, "the home committee has counter-signed"),
    ("", "P-2", Phase.PLACED, "the nationality report moves nobody"),
]


@pytest.mark.parametrize(
    ("until", "alias", "phase", "why"), PHASES, ids=[f"{one[1]} before {one[0]}: {one[3]}" for one in PHASES]
)
def test_phases_follow_the_domain(until: str, alias: str, phase: Phase, why: str) -> None:
    """Phases change per person and only by the message that sets them (domain §5.2.3)."""
    assert _state(until).phase(_person(played(), alias)) is phase


ENDS = [
    ("A1", Role.IA, "M06", "02-04T06:19", True, "Mandla investigates until the rescue"),
    ("A1", Role.IA, "", "02-04T06:21", False, "Ernakulam registers its FIR and takes over"),
    ("A1", Role.HP, "", "05-20T14:00", True, "Mandla stays the home police"),
    ("A2", Role.TP, "M13", "02-04T11:10", True, "the train may be six hours late"),
    ("A2", Role.TP, "M13", "02-04T11:11", False, "last ETA and six hours have passed"),
    ("A3", Role.TP, "", "02-04T11:11", False, "Nagpur is no transit police any more"),
    ("A2", Role.TP, "", "02-27T11:34", True, "the help on the way lasts a day after the counter-signature"),
    ("A2", Role.TP, "", "02-27T11:35", False, "then it ends"),
    ("A15", Role.ES, "", "02-27T11:34", True, "the escort writes its papers"),
    ("A15", Role.ES, "", "02-27T11:35", False, "the escort's role ends a day after the counter-signature"),
    ("A14", Role.FP, "", "08-18T13:59", True, "the partner cell reads until 90 days after its reply"),
    ("A14", Role.FP, "", "08-18T14:00", False, "then its role ends"),
    ("A5", Role.CJ, "", "05-20T14:00", True, "the committee of the rescue keeps its role"),
]


@pytest.mark.parametrize(
    ("code", "role", "until", "at", "holds", "why"), ENDS, ids=[f"{one[0]} {one[5]}" for one in ENDS]
)
def test_roles_end_when_the_domain_says(code: str, role: Role, until: str, at: str, holds: bool, why: str) -> None:
    """A role ends by its own end, by the event that ends it, or a time after it (domain §5.2.4 and §5.6)."""
    found = _state(until).roles(id_of(code), None, _time(at))
    assert (role in {one.given.mandate.role for one in found}) is holds


OWNERS = [
    ("M02", Compartment.PERSON_IDENTITY, "P-1", "M01", "A1", "while missing, the author of the message"),
    ("M07", Compartment.MEDICAL, "P-1", "M06", "A4", "after rescue the author, until the first order"),
    ("M08", Compartment.MEDICAL, "P-1", "M06", "A5", "from the order on the committee of the rescue"),
    ("K7", Compartment.LOCATION, "P-1", "M13", "A5", "until the counter-signature the committee of the rescue"),
    ("M15", Compartment.LOCATION, "P-1", "M13", "A7", "restored: the home committee"),
    ("", Compartment.LOCATION, "P-2", "M08", "A5", "P-2 is still placed"),
    ("", Compartment.SUSPECT, None, "M05", "A4", "the author of the message, who still has a role"),
    ("", Compartment.CASE, None, "M01", "A4", "case belongs to the investigating agency"),
    ("", Compartment.SOURCE, None, "M02", "A1", "the source stays with its author"),
    ("", Compartment.LEGAL, "P-1", "M14", "A4", "the escort's role has ended: the investigating agency"),
]


@pytest.mark.parametrize(
    ("until", "compartment", "alias", "message", "owner", "why"), OWNERS, ids=[one[5] for one in OWNERS]
)
def test_owners_follow_the_phase(
    until: str, compartment: Compartment, alias: str | None, message: str, owner: str, why: str
) -> None:
    """Who decides on requests depends on the compartment and on where the person stands (domain §5.2.3)."""
    world = played()
    person = _person(world, alias) if alias is not None else None
    found = _state(until).owner(compartment, person, _time("05-21T00:00"), world.events[message])
    assert found == id_of(owner)


def test_the_recall_goes_to_every_reader_of_the_alerts() -> None:
    """K2 is addressed to the holders of AS, NR, HP, TP and CH, and none of them reads more than the header."""
    readers = played().messages["K2"].plan.readers
    assert {code_of(one.agency) for one in readers[1:]} == {"A1", "A2", "A3", "A7", "A12", "A16"}
    assert not any(one.entries for one in readers[1:])


def test_a_recall_sets_the_flag_expired_on_each_alert() -> None:
    """After K2 every holder of an alert finds it expired for the person named, without knowing of the rescue."""
    world = played()
    case, person = world.cases[CASE], _person(world, "P-1")
    other_state = world.state(id_of("A16"), case)
    assert other_state is not None
    assert "M06" not in {name for name, one in world.messages.items() if one.fact.event_id in other_state.facts}
    assert other_state.expired(world.events["M01"], person, _time("02-04T06:21"))
    assert not _state("K2").expired(world.events["M01"], person, _time("02-04T06:19"))


def test_a_grant_lives_until_it_is_withdrawn() -> None:
    """G1 gives A8 two blocks of M09; K3 withdraws it from M09 on."""
    world, at = played(), _time("02-10T12:00")
    grants = _state("K3").live_grants(id_of("A8"), at)
    assert [(one.grantor, one.messages) for one in grants] == [(id_of("A7"), frozenset({world.events["M09"]}))]
    assert grants[0].compartments == {Compartment.PERSON_IDENTITY, Compartment.LOCATION}
    assert _state("").live_grants(id_of("A8"), at) == ()


def test_a_home_visit_ends_a_day_after_the_report() -> None:
    """Without a withdrawal too, the grant ends a day after the verify.report (home) of that person."""
    state = _state("K3")
    assert state.live_grants(id_of("A8"), _time("02-14T16:40"))
    assert not state.live_grants(id_of("A8"), _time("02-14T16:41"))


def test_a_decision_is_a_grant_by_itself() -> None:
    """K5 lets A3 read suspect of M05 and M06 for 90 days; the refusal of A5 grants nothing."""
    world = played()
    grants = _state().live_grants(id_of("A3"), _time("05-18T13:40"))
    assert [(one.id, one.compartments) for one in grants] == [(world.events["K5a"], frozenset({Compartment.SUSPECT}))]
    assert grants[0].messages == {world.events["M05"], world.events["M06"]}
    assert not _state().live_grants(id_of("A3"), _time("05-18T13:41"))


def _told_of(world: World, code: str) -> list[Mandate]:
    """The mandates that an agency was told, without those by which senders prove themselves (a stated limit)."""
    mandates = {one.digest: one.mandate for one in world.given.values()}
    found: list[Mandate] = []
    for message in world.messages.values():
        for reader in message.plan.readers:
            if reader.agency == id_of(code):
                found += [message.plan.mandates[place] for place in reader.told]
                found += [mandates[digest] for digest in reader.roster]
    return found


@pytest.mark.parametrize("code", [one["code"] for one in scenario()["agencies"]])
def test_the_shelter_and_the_escort_are_told_to_their_circle_only(code: str) -> None:
    """SH and ES are told to holders of DP, CJ, CH, SH and ES only, and to the giver."""
    told = [one for one in _told_of(played(), code) if one.role in (Role.SH, Role.ES)]
    circle = {"A4", "A5", "A6", "A7", "A15"}
    assert not told or code in circle or {code_of(one.giver) for one in told} == {code}
    assert told or code not in circle


def test_one_person_s_home_committee_is_not_told_of_the_other() -> None:
    """A mandate for a person is told only to those who act for that person."""
    world = played()
    persons = {one.person for one in _told_of(world, "A7") if one.case == world.cases[CASE]}
    assert persons == {None, _person(world, "P-1")}


def test_a_drill_is_a_case_of_its_own_in_which_no_role_arises() -> None:
    """The exercise opens a case without HP or IA, and its status is the status of that case."""
    world = played()
    state = world.everything(world.cases["DRILL-2026-02"])
    assert state.holders == {}
    assert state.status is world.messages["K6"].fact.status


def test_a_stranger_gains_no_role_by_a_duplicate() -> None:
    """The desk that opened a second case for the same girl holds nothing in the first."""
    world = played()
    assert _state().roles(id_of("A17"), None, _time("02-03T12:00")) == ()
    assert world.facts[id_of("A17")].keys() == {world.cases["C-2H8D-6T1V"]}


def test_the_order_of_arrival_never_shows() -> None:
    """The same facts, in whatever order they come, give the same state."""
    world = played()
    case = world.cases[CASE]
    facts = world.all[case]
    whole = fold(case, facts, table=table())
    for seed in range(5):
        shuffled = facts[:]
        random.Random(seed).shuffle(shuffled)
        state = fold(case, (), table=table())
        for fact in shuffled:
            state = add(state, fact)
        assert state == whole


def test_adding_a_fact_leaves_the_state_before_as_it_was() -> None:
    """A state that was handed out never changes."""
    world = played()
    case = world.cases[CASE]
    facts = world.all[case]
    before = fold(case, facts[:5], table=table())
    again = fold(case, facts[:5], table=table())
    add(before, facts[5])
    assert before == again


def test_what_a_party_knows_never_contradicts_what_is_so() -> None:
    """A party knows less than the whole, and what it takes for held is held."""
    world = played()
    case = world.cases[CASE]
    whole = world.everything(case)
    for facts in world.facts.values():
        if case not in facts:
            continue
        own = fold(case, facts[case], table=table())
        at = max(one.accepted_at for one in facts[case])
        last = max(one.position for one in facts[case])
        live = {digest for digest, one in own.holders.items() if one.live(at, last)}
        ended = {digest for digest, one in whole.holders.items() if not one.live(at, last)}
        missed = {
            digest
            for digest in live & ended
            if whole.holders[digest].ended_by not in own.facts and whole.holders[digest].ended_by is not None
        }
        assert live & ended == missed
