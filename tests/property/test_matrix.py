"""Properties of decisions over random questions."""

from __future__ import annotations

import json

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.names import AgencyKind, Phase, Role
from broker.policy.decide import Policy
from broker.policy.domain import COMPARTMENTS, ROLES, Domain, load_domain
from broker.policy.load import SCHEMA, read_files
from broker.policy.matrix import compute
from broker.policy.model import Question

_FILES = read_files()
_DOMAIN = load_domain()
_POLICY = Policy.load(_FILES)
_MATRIX = compute(_POLICY, _DOMAIN).cells
_WHOLE = cedarpy.PolicySet.from_str("\n".join(_FILES[n].decode() for n in sorted(_FILES) if n.endswith(".cedar")))
_SCHEMA = cedarpy.Schema.from_str(_FILES[SCHEMA].decode())

_MESSAGES = st.sampled_from([(facts.name, variant) for facts in _DOMAIN.values() for variant in facts.variants])


@st.composite
def _questions(draw: st.DrawFn) -> Question:
    name, variant = draw(_MESSAGES)
    return Question(
        name,
        variant,
        draw(st.sampled_from(COMPARTMENTS)),
        draw(st.sampled_from(ROLES)),
        draw(st.sampled_from(AgencyKind)),
        draw(st.sampled_from(Phase)),
        draw(st.booleans()),
        draw(st.booleans()),
    )


def _asked_whole(question: Question, action: str) -> tuple[bool, list[str]]:
    """What Cedar says when it is given every policy at once: the decision, and the ids that determined it."""

    def entity(kind: str, name: str) -> dict[str, dict[str, str]]:
        return {"__entity": {"type": kind, "id": name}}

    resource = ("AgencyKind", question.kind) if action == "hold" else ("Compartment", question.compartment)
    message = {
        "eventType": entity("EventType", question.type),
        "variant": entity("Variant", question.variant),
    }
    moment = {
        "phase": entity("Phase", question.phase.label),
        "expired": question.expired,
        "movementEnded": question.movement_ended,
    }
    context = {"hold": {}, "read": message | moment}.get(action, message)
    request = {
        "principal": {"type": "Role", "id": question.role.label},
        "action": {"type": "Action", "id": action},
        "resource": {"type": resource[0], "id": resource[1].label},
        "context": json.dumps(context),
    }
    result = cedarpy.is_authorized(request, _WHOLE, [], _SCHEMA)
    assert result.diagnostics.errors == []
    return result.allowed, sorted(result.diagnostics.id_annotations_by_reason.values())


@given(_questions())
def test_a_decision_is_what_all_policies_together_say(question: Question) -> None:
    """Deciding by slices gives the answer, and the determining rule, of the whole policy set."""
    decision = _POLICY.decide(question)
    holds, _ = _asked_whole(question, "hold")
    reads, rules = _asked_whole(question, "read")
    assert decision.permit == (holds and reads)
    assert decision.error == ""
    if holds:
        assert decision.rule == (rules[0] if rules else "")
        asks = [
            letter
            for action, letter in (("request", "q"), ("requestWithOrder", "x"))
            if _asked_whole(question, action)[0]
        ]
        assert decision.ask == ("" if reads else (asks or [""])[0])


@given(_questions())
def test_a_decision_is_the_same_however_often_and_by_whomever_it_is_asked(question: Question) -> None:
    """A cached decision equals the first one, and that of another instance of the same policy."""
    first = _POLICY.decide(question)
    assert _POLICY.decide(question) == first
    assert Policy.load(_FILES).decide(question) == first


@given(_questions())
def test_a_flag_only_ever_closes(question: Question) -> None:
    """Whoever reads after expiry, or after the movement, also read before."""
    if _POLICY.decide(question._replace(expired=True)).permit:
        assert _POLICY.decide(question._replace(expired=False)).permit
    if _POLICY.decide(question._replace(movement_ended=True)).permit:
        assert _POLICY.decide(question._replace(movement_ended=False)).permit


@given(_questions())
def test_the_kind_of_agency_only_narrows(question: Question) -> None:
    """Whatever the question, kinds for which the role counts get the same answer, and the others none."""
    decisions = {kind: _POLICY.decide(question._replace(kind=kind)) for kind in AgencyKind}
    counting = {kind for kind in AgencyKind if _POLICY.hold(question.role, kind).permit}
    assert counting
    assert len({decisions[kind] for kind in counting}) == 1
    assert not any(decisions[kind].permit or decisions[kind].ask for kind in set(AgencyKind) - counting)


@given(_questions())
def test_the_author_reads_what_it_wrote(question: Question) -> None:
    """OR reads every compartment at every moment, for every kind that may write."""
    as_author = question._replace(role=Role.OR)
    may_write = question.kind not in (AgencyKind.HUB, AgencyKind.AUDITOR)
    assert _POLICY.decide(as_author).permit == may_write


_LETTERS = st.text(st.characters(codec="utf-8"), max_size=40)


@given(_questions(), _LETTERS)
def test_a_word_nobody_declared_is_denied(question: Question, word: str) -> None:
    """Whatever stands in place of a type or variant, it is denied unless the schema declares it."""
    for asked in (question._replace(type=word), question._replace(variant=word)):
        if word not in _DOMAIN and word not in {v for t in _DOMAIN.values() for v in t.variants}:
            decision = _POLICY.decide(asked)
            assert not decision.permit
            assert decision.error


@settings(max_examples=15)
@given(st.sampled_from(sorted(rule.id for rule in _POLICY.rules.values() if rule.types and len(rule.types) == 1)))
def test_every_rule_matters(name: str) -> None:
    """Without any one rule of an event type, some cell of that type decides differently."""
    found = _POLICY.rules[name]
    assert found.types is not None
    (event_type,) = found.types
    part: Domain = {event_type: _DOMAIN[event_type]}
    without = {**_FILES, found.file: _FILES[found.file].replace(found.text.encode(), b"")}
    assert compute(Policy.load(without), part).cells != {k: c for k, c in _MATRIX.items() if k.type == event_type}


def test_the_random_questions_are_not_all_refused() -> None:
    """The domain holds questions that are permitted, so that the properties above say something."""
    permitted = sum(any(cell.permits) for cell in _MATRIX.values())
    assert permitted > 1_000
    with pytest.raises(ValueError, match="not a role"):
        Role.of("XX")
