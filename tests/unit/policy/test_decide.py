"""Single decisions: what the law and the work of the agencies ask for, and denial by default."""

from __future__ import annotations

import timeit

import pytest

from broker.names import AgencyKind, Compartment, Phase, Role
from broker.policy.decide import Policy
from broker.policy.domain import COMPARTMENTS, Domain
from broker.policy.explain import explain
from broker.policy.model import Question

_KIND = {
    Role.OR: AgencyKind.POLICE_STATION,
    Role.HP: AgencyKind.POLICE_AHTU,
    Role.TP: AgencyKind.POLICE_RPF,
    Role.CJ: AgencyKind.CWC,
    Role.CH: AgencyKind.CWC,
    Role.SH: AgencyKind.SHELTER,
    Role.ES: AgencyKind.POLICE_SJPU,
    Role.FP: AgencyKind.FOREIGN_CELL,
    Role.AS: AgencyKind.POLICE_GRP,
    Role.HB: AgencyKind.HUB,
    Role.AU: AgencyKind.AUDITOR,
}


def _ask(
    type_: str,
    compartment: Compartment,
    role: Role,
    variant: str = "-",
    *,
    phase: Phase = Phase.MISSING,
    expired: bool = False,
    movement_ended: bool = False,
) -> Question:
    return Question(type_, variant, compartment, role, _KIND[role], phase, expired, movement_ended)


_CARD = _ask("missing.alert", Compartment.SPOTTING, Role.TP, "child")
_DECIDED = {
    "transit police reads the look-out card while the person is missing": (_CARD, True, "missing.alert.spotting.live", ""),
    "transit police loses the card with the rescue": (
        _CARD._replace(phase=Phase.RESCUED), False, "invariant.4.after-rescue", ""),
    "transit police loses the card when the alert expires": (_CARD._replace(expired=True), False, "", ""),
    "transit police needs an order for the name": (
        _CARD._replace(compartment=Compartment.PERSON_IDENTITY), False, "invariant.12.transit-identity", "x"),
    "home police learns the name from the rescue": (
        _ask("rescue.notice", Compartment.PERSON_IDENTITY, Role.HP, phase=Phase.RESCUED),
        True, "rescue.notice.person-identity.read", ""),
    "home police may ask for the photo after the rescue": (
        _ask("rescue.notice", Compartment.BIOMETRICS, Role.HP, phase=Phase.RESCUED),
        False, "invariant.13.photo-after-rescue", "q"),
    "home police never learns the shelter without an order": (
        _ask("shelter.placement", Compartment.LOCATION, Role.HP, phase=Phase.PLACED), False, "", "x"),
    "the escort knows where to go while the movement lasts": (
        _ask("repatriation.order", Compartment.LOCATION, Role.ES, phase=Phase.PLACED),
        True, "repatriation.order.location.movement", ""),
    "the escort reads no more after the movement": (
        _ask("repatriation.order", Compartment.LOCATION, Role.ES, phase=Phase.RESTORED, movement_ended=True), False, "", ""),
    "a partner cell reads the name to verify a nationality": (
        _ask("verify.request", Compartment.PERSON_IDENTITY, Role.FP, "nationality", phase=Phase.PLACED),
        True, "verify.request.person-identity.nationality", ""),
    "a partner cell reads nothing of a home verification": (
        _ask("verify.request", Compartment.PERSON_IDENTITY, Role.FP, "home", phase=Phase.PLACED),
        False, "invariant.14.abroad", ""),
    "the home committee reads the transfer summary until the person is closed": (
        _ask("repatriation.order", Compartment.MEDICAL, Role.CH, phase=Phase.RESTORED),
        True, "repatriation.order.medical.summary", ""),
    "the transfer summary closes with the person": (
        _ask("repatriation.order", Compartment.MEDICAL, Role.CH, phase=Phase.CLOSED), False, "", ""),
    "an author reads the source that it wrote": (
        _ask("transit.alert", Compartment.SOURCE, Role.OR), True, "author", ""),
    "the operator reads routing": (_ask("ack", Compartment.ROUTING, Role.HB, "opened"), True, "routing", ""),
    "the operator does not read why access was given": (
        _ask("access.grant", Compartment.ACCESS, Role.HB, "owner"), False, "invariant.11.operator.read", ""),
    "an auditor reads who was given what": (
        _ask("rescue.notice", Compartment.ACCESS, Role.AU), True, "access.auditor", ""),
    "an auditor does not read content": (
        _ask("rescue.notice", Compartment.CASE, Role.AU), False, "invariant.11.auditor.read", ""),
    "a party reads a grant": (
        _ask("access.grant", Compartment.ACCESS, Role.SH, "owner"), True, "controls.access.parties", ""),
    "an addressee does not read why an alert was cancelled": (
        _ask("cancel", Compartment.ACCESS, Role.HP, "alert"), False, "", ""),
    "a role does not count for a kind that may not hold it": (_CARD._replace(kind=AgencyKind.SHELTER), False, "", ""),
}  # fmt: skip


@pytest.mark.parametrize(("question", "permit", "rule", "ask"), _DECIDED.values(), ids=_DECIDED.keys())
def test_decision(policy: Policy, question: Question, permit: bool, rule: str, ask: str) -> None:
    """A decision names whether the role reads, the rule that decided, and how it may ask."""
    assert policy.decide(question) == (permit, rule, ask, "")


_UNKNOWN = {
    "a type that is in no schema": _CARD._replace(type="missing.person"),
    "a variant that is in no schema": _CARD._replace(variant="pet"),
    "an opener, which is no reader": _CARD._replace(role=Role.OPENER),
    "a part of the envelope itself": _CARD._replace(compartment=Compartment.LEDGER),
    "a type that would be Cedar text": _CARD._replace(type='missing.alert" || true || "'),
}


@pytest.mark.parametrize("question", _UNKNOWN.values(), ids=_UNKNOWN.keys())
def test_what_the_schema_does_not_know_is_denied_and_said(policy: Policy, question: Question) -> None:
    """A question with an unknown word is denied, with an error, also the second time."""
    for _ in range(2):
        decision = policy.decide(question)
        assert not decision.permit
        assert decision.ask == ""
        assert decision.error.startswith("policy knows no ")


def test_nobody_reads_what_no_rule_names(policy: Policy, domain: Domain) -> None:
    """A compartment for which a type has no rule is closed to every role but the author."""
    named = {compartment for rule in policy.rules.values() for compartment in rule.resources or ()}
    assert named >= {c.label for c in COMPARTMENTS}
    for role, kind in _KIND.items():
        question = Question("missing.alert", "child", Compartment.MEDICAL, role, kind, Phase.MISSING, False, False)
        assert policy.decide(question).permit == (role is Role.OR)
        assert policy.decide(question).ask == ""


def test_a_cached_decision_costs_next_to_nothing(policy: Policy) -> None:
    """A decision asked for again is a look-up, well under the cost of an evaluation."""
    policy.decide(_CARD)
    seconds = min(timeit.repeat(lambda: policy.decide(_CARD), number=10_000, repeat=5)) / 10_000
    assert seconds < 5e-6


def test_an_explanation_shows_the_rule_as_it_is_written(policy: Policy) -> None:
    """The rule that decided is shown with its reason, its file and its own text."""
    found = explain(policy, _CARD)
    assert found.rule is not None
    assert found.rule.file == "missing.alert.cedar"
    assert found.rule.note.startswith("Transit units")
    assert found.rule.text.startswith('@id("missing.alert.spotting.live")')
    assert found.rule.text.endswith('when { context.phase == Phase::"missing" && !context.expired };')


def test_an_explanation_of_a_refusal_says_how_to_ask(policy: Policy) -> None:
    """Where a role may ask, the rule that lets it is named."""
    found = explain(policy, _ask("missing.alert", Compartment.BIOMETRICS, Role.CH, "child"))
    assert found.rule is None
    assert found.asking is not None
    assert found.asking.id == "missing.alert.biometrics.ask"


def test_every_rule_carries_its_own_text(policy: Policy) -> None:
    """Each rule's text is the one statement with its id, from annotation to semicolon."""
    for rule in policy.rules.values():
        assert rule.text.startswith(f'@id("{rule.id}")')
        assert rule.text.endswith(";")
        assert rule.text.count("@id(") == 1


def test_every_rule_is_named_after_its_file(policy: Policy) -> None:
    """The id of a rule about one event type begins with the type, as its file does."""
    for rule in policy.rules.values():
        stem = rule.file.removesuffix(".cedar")
        if stem not in ("common", "controls", "holders", "invariants"):
            assert rule.types == frozenset({stem})
            assert rule.id.startswith(stem + ".")
            assert rule.effect == "permit"
        elif stem == "invariants":
            assert rule.effect == "forbid"
