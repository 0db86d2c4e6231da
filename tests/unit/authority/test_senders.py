"""Who may send what: what a sender claims, against the table and its proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from broker.authority.model import Claim, Given
from broker.authority.senders import BY_RELATION, check_sender
from broker.authority.values import case_ref
from broker.checks import Check
from broker.errors import Invalid
from broker.names import AgencyId, CaseRef, Compartment, Digest, Millis, PersonRef, Phase, Role, Status
from tests.unit.authority import made
from tests.unit.authority.made import CH, CJ, DP, HP, IA, SH, TP, at
from tests.unit.authority.world import demo_directory, table

LATER = at(20)


@dataclass
class Sent:
    """What a sender puts forward; every row below changes one thing."""

    type: str
    author: AgencyId
    role: Role
    phase: Phase
    proof: Given | None = None
    variant: str = "-"
    status: Status = Status.ACTUAL
    salt: bytes | None = None
    chain: Sequence[Given] | None = None
    at: Millis = LATER
    blocks: frozenset[Compartment] = field(default_factory=frozenset)
    persons: Sequence[PersonRef] = (made.GIRL,)
    case: bytes = made.CASE

    def check(self) -> None:
        chain = self.chain if self.chain is not None else [self.proof] if self.proof else []
        mandate = self.proof.digest if self.proof is not None else None
        check_sender(
            type=self.type,
            variant=self.variant,
            status=self.status,
            author=demo_directory().agency(self.author),
            claims=[Claim(one, self.role, mandate, self.phase) for one in self.persons],
            chain=chain,
            case=CaseRef(self.case),
            case_salt=self.salt,
            accepted_at=self.at,
            compartments=self.blocks,
            table=table(),
        )


HONEST: dict[str, Sent] = {
    "a desk opens a case": Sent("missing.alert", made.MANDLA, Role.OPENER, Phase.NEW, variant="child", salt=made.SALT),
    "the national cell opens a drill": Sent(
        "missing.alert", made.NCRB, Role.OPENER, Phase.NEW, variant="child", status=Status.EXERCISE,
        salt=made.SALT, case=case_ref(made.NCRB, made.SALT),
    ),
    "home police alerts the route": Sent("transit.alert", made.MANDLA, Role.HP, Phase.MISSING, HP),
    "transit police reports a sighting": Sent("sighting.report", made.RPF, Role.TP, Phase.MISSING, TP),
    "any State reports a sighting": Sent("sighting.report", made.TELANGANA, Role.AS, Phase.MISSING),
    "rescue police tells of two persons under a role of the case": Sent(
        "rescue.notice", made.ERNAKULAM, Role.DP, Phase.MISSING, DP, persons=(made.GIRL, made.WOMAN)
    ),
    "the committee orders": Sent("cwc.order", made.CWC_RESCUE, Role.CJ, Phase.RESCUED, CJ),
    "a stranger asks for disclosure": Sent("disclosure.request", made.GRP, BY_RELATION, Phase.MISSING, variant="routine"),
    "an addressee receipts": Sent("ack", made.NGO, BY_RELATION, Phase.PLACED, variant="opened"),
    "the home committee counter-signs": Sent("ack", made.CWC_HOME, Role.CH, Phase.PLACED, CH, variant="counter-signed"),
    "legal aid by the directory": Sent("legalaid.compensation", made.LEGAL_AID, Role.LS, Phase.RESTORED),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_sender_is_accepted(name: str) -> None:
    """A sender whose kind, role, variant, phase and status match an entry, and who proves the role, is accepted."""
    HONEST[name].check()


ATTACKS: dict[str, tuple[Check, Sent]] = {
    "a type that does not exist": (Check.SENDER, Sent("no.such", made.MANDLA, Role.HP, Phase.MISSING, HP)),
    "a variant that the role may not send": (
        Check.SENDER, Sent("verify.request", made.CWC_RESCUE, Role.CJ, Phase.RESCUED, CJ, variant="nationality"),
    ),
    "a role that may not send the type": (Check.SENDER, Sent("rescue.notice", made.CWC_HOME, Role.CH, Phase.MISSING, CH)),
    "a kind that may not": (Check.SENDER, Sent("cwc.order", made.SHELTER, Role.CJ, Phase.RESCUED, CJ)),
    "a phase in which the type cannot be sent": (
        Check.SENDER, Sent("transit.alert", made.MANDLA, Role.HP, Phase.RESCUED, HP),
    ),
    "all States tell of a rescue": (Check.SENDER, Sent("rescue.notice", made.TELANGANA, Role.AS, Phase.MISSING)),
    "a stranger tells of a rescue in somebody's case": (
        Check.CASE_OPENER, Sent("rescue.notice", made.GRP, Role.OPENER, Phase.NEW, salt=made.SALT),
    ),
    "a stranger opens with no salt": (Check.CASE_OPENER, Sent("rescue.notice", made.GRP, Role.OPENER, Phase.NEW)),
    "the opener cites a mandate": (
        Check.CASE_OPENER, Sent("missing.alert", made.MANDLA, Role.OPENER, Phase.NEW, HP, variant="child", salt=made.SALT),
    ),
    "a committee opens a case": (
        Check.SENDER, Sent("missing.alert", made.CWC_HOME, Role.OPENER, Phase.NEW, variant="child", salt=made.SALT),
    ),
    "the national cell opens a real case": (
        Check.SENDER,
        Sent(
            "missing.alert", made.NCRB, Role.OPENER, Phase.NEW, variant="child", salt=made.SALT,
            case=case_ref(made.NCRB, made.SALT),
        ),
    ),
    "a mandated role with no mandate": (Check.CHAIN, Sent("transit.alert", made.MANDLA, Role.HP, Phase.MISSING)),
    "a mandate that is not in the chain": (
        Check.CHAIN, Sent("transit.alert", made.MANDLA, Role.HP, Phase.MISSING, HP, chain=[IA]),
    ),
    "a mandate of another agency": (Check.SENDER, Sent("transit.alert", made.ERNAKULAM, Role.HP, Phase.MISSING, HP)),
    "a mandate for another role": (Check.SENDER, Sent("transit.alert", made.MANDLA, Role.HP, Phase.MISSING, IA)),
    "a mandate for another person": (
        Check.SENDER, Sent("cwc.order", made.CWC_RESCUE, Role.CJ, Phase.RESCUED, CJ, persons=(made.WOMAN,)),
    ),
    "a second person that the mandate does not cover": (
        Check.SENDER, Sent("cwc.order", made.CWC_RESCUE, Role.CJ, Phase.RESCUED, CJ, persons=(made.GIRL, made.WOMAN)),
    ),
    "a mandate past its end": (
        Check.MANDATE_ENDED,
        Sent("transit.alert", made.MANDLA, Role.HP, Phase.MISSING, HP, at=Millis(HP.mandate.not_after + 1)),
    ),
    "no person": (Check.SENDER, Sent("transit.alert", made.MANDLA, Role.HP, Phase.MISSING, HP, persons=())),
    "the national cell writes source in its drill": (
        Check.MAY_NOT_WRITE,
        Sent(
            "missing.alert", made.NCRB, Role.OPENER, Phase.NEW, variant="child", status=Status.EXERCISE,
            salt=made.SALT, case=case_ref(made.NCRB, made.SALT), blocks=frozenset({Compartment.SOURCE}),
        ),
    ),
    "a shelter writes suspect": (
        Check.MAY_NOT_WRITE,
        Sent("sighting.report", made.SHELTER, Role.SH, Phase.MISSING, SH, blocks=frozenset({Compartment.SUSPECT})),
    ),
    "the shelter of a movement signs for the escort": (
        Check.SENDER, Sent("handover.record", made.SHELTER, Role.SH, Phase.PLACED, SH),
    ),
    "police counter-signs": (Check.SENDER, Sent("ack", made.ERNAKULAM, Role.DP, Phase.PLACED, DP, variant="counter-signed")),
    "the exchange operator sends": (
        Check.SENDER, Sent("ack", AgencyId("in.exchange.hub"), Role.HB, Phase.MISSING, variant="opened"),
    ),
    "the auditor asks for content": (
        Check.SENDER, Sent("disclosure.request", AgencyId("in.exchange.auditor"), BY_RELATION, Phase.MISSING, variant="routine"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_sender_without_the_right_is_refused(name: str) -> None:
    """What matches no entry, or proves nothing, is refused with the number of its check."""
    check, sent = ATTACKS[name]
    with pytest.raises(Invalid) as refused:
        sent.check()
    assert refused.value.check == check, str(refused.value)


def test_one_event_cannot_open_and_continue() -> None:
    """The opener's claim is for every person of the event, or for none."""
    with pytest.raises(Invalid) as refused:
        check_sender(
            type="missing.alert", variant="child", status=Status.ACTUAL, author=demo_directory().agency(made.MANDLA),
            claims=[
                Claim(made.GIRL, Role.OPENER, None, Phase.NEW),
                Claim(made.WOMAN, Role.IA, Digest(IA.digest), Phase.MISSING),
            ],
            chain=[IA], case=made.CASE, case_salt=made.SALT, accepted_at=at(0), compartments=(), table=table(),
        )  # fmt: skip
    assert refused.value.check == Check.SENDER
