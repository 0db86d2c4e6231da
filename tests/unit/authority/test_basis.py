"""What a reader accepts in its own slot: each ground, and each way in which one can be false."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from broker.authority.basis import Setting, check_basis, how_to_ask, permitted
from broker.authority.fold import fold
from broker.authority.model import Entry, Given, Grant, Held, Reader
from broker.checks import Check
from broker.errors import Invalid
from broker.names import AgencyId, AgencyKind, Basis, Compartment, EventId, Millis, PersonRef, Phase, Role
from broker.policy.model import Decision, Question
from tests.unit.authority import made
from tests.unit.authority.made import CH, CJ, DP, GIRL, WOMAN, at, event_id
from tests.unit.authority.world import World, demo_directory, id_of, played, policy, table

IDENTITY, SUSPECT = (Compartment.PERSON_IDENTITY, GIRL), (Compartment.SUSPECT, None)
SETTING = Setting(
    event_id("rescue"), "rescue.notice", "-", (GIRL, WOMAN), {GIRL: Phase.RESCUED, WOMAN: Phase.RESCUED}, made.ERNAKULAM
)
HOME = (Held(Role.CH, GIRL, CH.digest),)
RULE = permitted(IDENTITY, HOME, AgencyKind.CWC, SETTING, policy().decide)
GRANT = Grant(
    event_id("grant"), made.CWC_HOME, made.NGO, GIRL, frozenset({Compartment.PERSON_IDENTITY}),
    frozenset({SETTING.event_id}), False, at(50),
)  # fmt: skip


@dataclass
class Slot:
    """One entry as a reader finds it; every row below changes one thing."""

    entry: Entry
    reader: AgencyId = made.CWC_HOME
    roles: tuple[Held, ...] = HOME
    given: tuple[Given, ...] = (CH,)
    setting: Setting = SETTING
    grants: tuple[Grant, ...] = ()
    position: int = 6

    def check(self) -> None:
        check_basis(
            self.entry,
            reader=demo_directory().agency(self.reader),
            roles=self.roles,
            given=self.given,
            setting=self.setting,
            grants={one.id: one for one in self.grants},
            decide=policy().decide,
            accepted_at=at(self.position),
            table=table(),
        )


def _by_role(block: tuple[Compartment, PersonRef | None] = IDENTITY, role: Role = Role.CH, rule: str = "") -> Entry:
    assert RULE is not None
    return Entry(block, Basis.ROLE, role, rule=rule or RULE.rule)


def _control(kind: str) -> Setting:
    return replace(SETTING, type=kind, control=kind)


ACCESS = Entry(made.ACCESS, Basis.PARTY, Role.OR)
OLD = Entry((Compartment.DISCLOSURE, None), Basis.PARTY, Role.OR)
BY_GRANT = Entry(IDENTITY, Basis.GRANT, Role.OR, grant=GRANT.id)
GRANTED = Slot(BY_GRANT, made.NGO, (), (), grants=(GRANT,))

HONEST: dict[str, Slot] = {
    "by its role, by the rule stated": Slot(_by_role()),
    "as the author": Slot(Entry(IDENTITY, Basis.AUTHOR, Role.OR), made.ERNAKULAM, ()),
    "by a grant": GRANTED,
    "by a grant for later messages": replace(GRANTED, grants=(replace(GRANT, messages=frozenset(), later=True),)),
    "its own mandate, as party": Slot(Entry((Compartment.MANDATE, None), Basis.PARTY, Role.OR)),
    "what a grant shows of old, as party": replace(Slot(OLD), setting=_control("access.grant")),
    "what a decision shows of old, as party": replace(Slot(OLD), setting=_control("disclosure.decision")),
    "a control, as party": replace(Slot(ACCESS), setting=_control("access.grant")),
    "the auditor the ledger": Slot(Entry((Compartment.LEDGER, None), Basis.PARTY, Role.OR), id_of("AU"), (), ()),
    "the auditor a cancel": replace(Slot(ACCESS, id_of("AU"), (), ()), setting=_control("cancel")),
}

ATTACKS: dict[str, tuple[Check, Slot]] = {
    "as author of what another wrote": (Check.BASIS, Slot(Entry(IDENTITY, Basis.AUTHOR, Role.OR))),
    "by a rule that did not decide": (Check.BASIS, Slot(_by_role(rule="another-rule"))),
    "a compartment that the role does not read": (Check.BASIS, Slot(_by_role((Compartment.MEDICAL, GIRL)))),
    "a block of another person": (Check.ROLE, Slot(_by_role((Compartment.PERSON_IDENTITY, WOMAN)))),
    "a personal compartment without a person": (Check.BASIS, Slot(_by_role((Compartment.PERSON_IDENTITY, None)))),
    "a person of no such message": (
        Check.BASIS, Slot(_by_role((Compartment.PERSON_IDENTITY, GIRL)), setting=replace(SETTING, persons=(WOMAN,))),
    ),
    "for a role that is not in the row": (Check.ROLE, Slot(_by_role(role=Role.CJ))),
    "for a role without its mandate": (Check.ROLE, Slot(_by_role(), given=())),
    "with the mandate of another agency": (
        Check.ROLE, Slot(_by_role(role=Role.CJ), roles=(Held(Role.CJ, GIRL, CJ.digest),), given=(CJ,)),
    ),
    "with a mandate that had ended": (Check.ROLE, Slot(_by_role(), position=24 * 400)),
    "for a standing role that the directory does not give": (
        Check.ROLE, Slot(_by_role(role=Role.WD), roles=(Held(Role.WD, None, None),)),
    ),
    "for a mandated role as if it stood": (Check.ROLE, Slot(_by_role(), roles=(Held(Role.CH, GIRL, None),))),
    "for a role that the kind cannot hold": (
        Check.ROLE,
        Slot(_by_role(), made.SHELTER, (Held(Role.CH, GIRL, made.again(CH, agency=made.SHELTER).digest),),
             (made.again(CH, agency=made.SHELTER),)),
    ),
    "after the rescue what was read while missing": (
        Check.BASIS,
        Slot(_by_role((Compartment.BIOMETRICS, GIRL), Role.AS), made.TELANGANA, (Held(Role.AS, None, None),), (),
             replace(SETTING, type="missing.alert", variant="child")),
    ),
    "a grant that does not exist": (Check.GRANT, replace(GRANTED, grants=())),
    "a grant to another": (Check.GRANT, replace(GRANTED, reader=made.CWC_HOME)),
    "a grant that has ended": (Check.GRANT, replace(GRANTED, position=51)),
    "a grant of another message": (Check.GRANT, replace(GRANTED, setting=replace(SETTING, event_id=event_id("other")))),
    "a grant of another person": (Check.GRANT, replace(GRANTED, entry=replace(BY_GRANT, block=(IDENTITY[0], WOMAN)))),
    "a grant of another compartment": (
        Check.GRANT, replace(GRANTED, entry=replace(BY_GRANT, block=(Compartment.MEDICAL, GIRL))),
    ),
    "a grant of source": (
        Check.GRANT,
        replace(
            GRANTED, entry=replace(BY_GRANT, block=(Compartment.SOURCE, None)),
            grants=(replace(GRANT, compartments=frozenset({Compartment.SOURCE})),),
        ),
    ),
    "content as party": (Check.BASIS, Slot(Entry(IDENTITY, Basis.PARTY, Role.OR))),
    "the ledger to a reader": (Check.BASIS, Slot(Entry((Compartment.LEDGER, None), Basis.PARTY, Role.OR))),
    "a content block named credentials": (Check.BASIS, Slot(Entry((Compartment.CREDENTIALS, None), Basis.PARTY, Role.OR))),
    "old blocks in an event that grants nothing": (Check.BASIS, Slot(OLD)),
    "old blocks in a control that grants nothing": (Check.BASIS, replace(Slot(OLD), setting=_control("ack"))),
    "access of an event that is no control": (Check.BASIS, Slot(ACCESS)),
    "the reason of a cancel to an addressee": (Check.BASIS, replace(Slot(ACCESS), setting=_control("cancel"))),
    "a control to the exchange operator": (
        Check.BASIS, replace(Slot(ACCESS, id_of("HB"), (), ()), setting=_control("access.grant")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_ground_is_accepted(name: str) -> None:
    """A block that is the reader's by role, grant, authorship or as party is accepted."""
    HONEST[name].check()


@pytest.mark.parametrize("name", ATTACKS)
def test_a_false_ground_is_refused(name: str) -> None:
    """What is not permitted to the reader on the ground stated is refused with the number of its check."""
    check, slot = ATTACKS[name]
    with pytest.raises(Invalid) as refused:
        slot.check()
    assert refused.value.check == check, str(refused.value)


def test_an_error_of_policy_denies() -> None:
    """A decision that could not be evaluated gives nothing, even where it says permit."""

    def errs(question: Question) -> Decision:
        return Decision(True, "some-rule", "", "evaluation failed")

    assert permitted(IDENTITY, HOME, AgencyKind.CWC, SETTING, errs) is None


def test_asking_the_owner_is_stronger_than_an_order_number() -> None:
    """Of several roles the strongest way to ask counts: q, then x, then none (domain §5.2.2)."""
    location = (Compartment.LOCATION, GIRL)
    transit, home = Held(Role.TP, None, None), Held(Role.HP, GIRL, None)
    decide, kind = policy().decide, AgencyKind.POLICE_AHTU
    assert how_to_ask(location, (transit,), kind, SETTING, decide) == "x"
    assert how_to_ask(location, (transit, home), kind, SETTING, decide) == "q"
    assert how_to_ask(location, (), kind, SETTING, decide) == ""


@pytest.mark.parametrize("name", sorted(played().messages))
def test_what_is_planned_is_what_its_readers_accept(name: str) -> None:
    """Every entry that a plan gives passes the check of the reader that gets it."""
    world = played()
    message = world.messages[name]
    after = world.everything(message.fact.case)
    base = Setting(
        message.fact.event_id, message.fact.type, message.fact.variant, message.fact.persons,
        {person: _phase_after(world, name, person) for person in message.fact.persons}, message.fact.author,
        control=message.fact.type if message.fact.type in table().controls else "",
    )  # fmt: skip
    known = tuple(world.given.values())
    grants: Mapping[EventId, Grant] = after.grants
    for reader in message.plan.readers:
        for entry in reader.entries:
            _accepts(reader, entry, base, known, grants, message.at)


def _accepts(
    reader: Reader, entry: Entry, setting: Setting, known: tuple[Given, ...], grants: Mapping[EventId, Grant], time: int
) -> None:
    check_basis(
        entry, reader=demo_directory().agency(reader.agency), roles=reader.roles, given=known, setting=setting,
        grants=grants, decide=policy().decide, accepted_at=Millis(time), table=table(),
    )  # fmt: skip


def _phase_after(world: World, name: str, person: PersonRef) -> Phase:
    fact = world.messages[name].fact
    facts = [one for one in world.all[fact.case] if one.position <= fact.position]
    return fold(fact.case, facts, table=table()).phase(person)


def test_a_rescue_police_reads_what_its_role_reads_for_any_person() -> None:
    """A block that is not per person is read if a role gives it for any person of the message."""
    mixed = replace(SETTING, phases={GIRL: Phase.RESCUED, WOMAN: Phase.MISSING})
    roles = (Held(Role.HP, GIRL, None),)
    assert permitted(SUSPECT, roles, AgencyKind.POLICE_AHTU, mixed, policy().decide) is not None
    assert (
        permitted(SUSPECT, (Held(Role.HP, PersonRef(bytes(16)), None),), AgencyKind.POLICE_AHTU, mixed, policy().decide)
        is None
    )
    assert DP.mandate.person is None
