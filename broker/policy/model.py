"""The question that policy answers, its answer, and what can be wrong with a policy folder."""

from __future__ import annotations

from typing import Final, NamedTuple

from broker.names import AgencyKind, Compartment, Phase, Role

ASK_OWNER: Final = "q"
"""Does not read; may ask, and the owner decides."""

ASK_WITH_ORDER: Final = "x"
"""Does not read; may ask only with the number of an order."""


class Question(NamedTuple):
    """May an agency of this kind, holding this one role, read this compartment of such a message?

    ``phase`` is that of the person concerned. ``expired``: the expiry of the message has passed, or a cancel
    names the message and this person. ``movement_ended``: 24 hours have passed since the counter-signature of
    the handover of that movement.
    """

    type: str
    variant: str
    compartment: Compartment
    role: Role
    kind: AgencyKind
    phase: Phase
    expired: bool
    movement_ended: bool


class Decision(NamedTuple):
    """The answer. Denied is a value, not an exception.

    ``rule`` is the id of the Cedar policy that decided: the first permit by id, or the first forbid; empty if
    none applied. ``ask`` is ``q``, ``x`` or empty, and empty wherever ``permit`` is true. ``error`` is empty
    unless something could not be evaluated, which denies.
    """

    permit: bool
    rule: str
    ask: str
    error: str


class Fault(NamedTuple):
    """Why a policy folder denies everything: the file at fault (empty: the folder) and the reason."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}" if self.file else self.reason
