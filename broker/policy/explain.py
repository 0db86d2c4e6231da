"""Why a decision is as it is: the rule that decided, in words and as it is written."""

from __future__ import annotations

from dataclasses import dataclass

from broker.policy.decide import Policy
from broker.policy.model import Decision, Question
from broker.policy.rules import Rule


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with its grounds. Each rule is None where none applied.

    ``counts`` and ``holder``: whether the role counts for this kind of agency, and by which rule.
    ``rule`` permitted or forbade the reading; ``asking`` lets the role ask.
    """

    question: Question
    decision: Decision
    counts: bool
    holder: Rule | None
    rule: Rule | None
    asking: Rule | None


def explain(policy: Policy, question: Question) -> Explanation:
    """The grounds of the decision on this question."""
    decision = policy.decide(question)
    holds = policy.hold(question.role, question.kind)
    asking = None
    if decision.ask:
        _, outcome = policy.ask(
            event_type=question.type,
            variant=question.variant,
            compartment=question.compartment,
            role=question.role,
        )
        asking = policy.rules.get(outcome.rule)
    return Explanation(
        question=question,
        decision=decision,
        counts=holds.permit,
        holder=policy.rules.get(holds.rule),
        rule=policy.rules.get(decision.rule) if holds.permit else None,
        asking=asking,
    )
