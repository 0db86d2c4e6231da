"""The whole matrix: every type, variant, compartment and role at every moment, by evaluation.

Nothing here reads a policy's text: cells are what ``Policy`` answers, and the printed codes are derived from
those answers (``docs/spec/policy.md`` §4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

from broker.names import AgencyKind, Compartment, Digest, Phase, Role
from broker.policy.decide import Outcome, Policy
from broker.policy.domain import COMPARTMENTS, MOMENTS, ROLES, Domain, Moment

UNKNOWN_CODE: Final = "?"
"""A cell whose reading follows no pattern that has a letter."""


class Key(NamedTuple):
    """Where a cell is."""

    type: str
    variant: str
    compartment: Compartment
    role: Role

    def __str__(self) -> str:
        variant = "" if self.variant == "-" else f"({self.variant})"
        return f"{self.type}{variant} {self.compartment.label} {self.role.label}"


@dataclass(frozen=True, slots=True)
class Cell:
    """What one role may do with one compartment: reading at each of ``MOMENTS``, and asking where it does not."""

    permits: tuple[bool, ...]
    ask: str


class Row(NamedTuple):
    """A cell as people print it. ``when`` says in words at which moments it reads, empty for always or never."""

    type: str
    variant: str
    compartment: str
    role: str
    code: str
    when: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Every cell of a policy. ``unused`` are permits that decide nowhere; ``errors`` what could not be evaluated."""

    digest: Digest
    cells: Mapping[Key, Cell]
    holders: Mapping[Role, frozenset[AgencyKind]]
    unused: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def questions(self) -> int:
        """How many questions the matrix answers: cells x kinds of agency x moments."""
        return len(self.cells) * len(AgencyKind) * len(MOMENTS)

    def rows(self) -> Iterator[Row]:
        """All cells as people print them, blank ones too, in the order of the cells."""
        for key, cell in self.cells.items():
            code, when = self.code(key, cell)
            yield Row(key.type, key.variant, key.compartment.label, key.role.label, code, when)

    def code(self, key: Key, cell: Cell) -> tuple[str, str]:
        """The letters of a cell and the words for its condition; ``n`` where only some variants give the right."""
        letter, when = _PATTERNS.get(cell.permits, (UNKNOWN_CODE, ""))
        if letter == UNKNOWN_CODE:
            when = _spelt(cell.permits)
        elif when == NOT_EXPIRED and self._depends_on_variant(key):
            letter = "n"
        if letter in ("R", ""):
            return letter or cell.ask, when
        return "/".join(filter(None, (letter, cell.ask))), when

    def _depends_on_variant(self, key: Key) -> bool:
        return any(
            other.type == key.type and other.variant != key.variant and not any(cell.permits)
            for other, cell in self._same(key)
        )

    def _same(self, key: Key) -> Iterator[tuple[Key, Cell]]:
        """The cells of the same type, compartment and role, whatever the variant."""
        for (type_, variant, compartment, role), cell in self.cells.items():
            if type_ == key.type and compartment is key.compartment and role is key.role:
                yield Key(type_, variant, compartment, role), cell


NOT_EXPIRED: Final = "not expired"
_FOUND: Final = (Phase.RESCUED, Phase.PLACED, Phase.RESTORED)
_SHAPES: Final[tuple[tuple[str, str, Callable[[Moment], bool]], ...]] = (
    ("R", "", lambda _: True),
    ("", "", lambda _: False),
    ("r", "phase missing, not expired", lambda m: m.phase is Phase.MISSING and not m.expired),
    ("r", NOT_EXPIRED, lambda m: not m.expired),
    ("t", "movement not ended", lambda m: not m.movement_ended),
    ("s", "phase rescued, placed or restored", lambda m: m.phase in _FOUND),
)
_PATTERNS: Final = {tuple(reads(m) for m in MOMENTS): (letter, when) for letter, when, reads in _SHAPES}


def compute(policy: Policy, domain: Domain, *, tick: Callable[[], None] = lambda: None) -> Matrix:
    """The matrix of a policy over a domain. A policy with faults, or that errs, gives cells that deny.

    ``tick`` is called after each type.
    """
    seen: set[str] = set()
    errors: set[str] = {str(fault) for fault in policy.faults}

    def note(outcome: Outcome) -> Outcome:
        seen.update(outcome.rules)
        if outcome.error and not policy.faults:
            errors.add(outcome.error)
        return outcome

    cells: dict[Key, Cell] = {}
    for facts in domain.values():
        alike: dict[tuple[Compartment, Role], Cell] = {}
        for variant, compartment, role in product(facts.variants, COMPARTMENTS, ROLES):
            cell = alike.get((compartment, role))
            if cell is None:
                cell, varies = _cell(policy, facts.name, variant, compartment, role, note)
                if not varies:
                    alike[compartment, role] = cell
            cells[Key(facts.name, variant, compartment, role)] = cell
        tick()
    holders: dict[Role, frozenset[AgencyKind]] = {
        role: frozenset(kind for kind in AgencyKind if note(policy.hold(role, kind)).permit) for role in ROLES
    }
    unused = (r.id for r in policy.rules.values() if r.effect == "permit" and r.id not in seen)
    return Matrix(policy.digest, cells, holders, tuple(sorted(unused)), tuple(sorted(errors)))


def _cell(
    policy: Policy,
    event_type: str,
    variant: str,
    compartment: Compartment,
    role: Role,
    note: Callable[[Outcome], Outcome],
) -> tuple[Cell, bool]:
    """One cell, and whether it can differ in another variant."""
    depends = policy.depends(event_type=event_type, compartment=compartment, role=role)
    permits = _NEVER
    if depends is not None:
        answers: dict[Moment, bool] = {}
        for moment in _DISTINCT[depends & _MOMENT_FACTS]:
            outcome = policy.read(
                event_type=event_type,
                variant=variant,
                compartment=compartment,
                role=role,
                phase=moment.phase,
                expired=moment.expired,
                movement_ended=moment.movement_ended,
            )
            answers[moment] = note(outcome).permit
        permits = tuple(answers[moment] for moment in _STANDS_FOR[depends & _MOMENT_FACTS])
    varies = depends is not None and "variant" in depends
    asks = policy.ask_depends(event_type=event_type, compartment=compartment, role=role)
    if all(permits) or asks is None:
        return Cell(permits, ""), varies
    letter, outcome = policy.ask(event_type=event_type, variant=variant, compartment=compartment, role=role)
    note(outcome)
    return Cell(permits, letter), varies or "variant" in asks


_NEVER: Final = (False,) * len(MOMENTS)
_MOMENT_FACTS: Final = frozenset({"phase", "expired", "movementEnded"})


def _project(moment: Moment, facts: frozenset[str]) -> Moment:
    """The moment that stands for this one where only these facts count."""
    return Moment(
        moment.phase if "phase" in facts else MOMENTS[0].phase,
        moment.expired and "expired" in facts,
        moment.movement_ended and "movementEnded" in facts,
    )


_SUBSETS: Final = [
    frozenset(name for name, taken in zip(sorted(_MOMENT_FACTS), bits, strict=True) if taken)
    for bits in product((False, True), repeat=len(_MOMENT_FACTS))
]
_STANDS_FOR: Final = {facts: tuple(_project(m, facts) for m in MOMENTS) for facts in _SUBSETS}
_DISTINCT: Final = {facts: tuple(dict.fromkeys(stands)) for facts, stands in _STANDS_FOR.items()}


def _spelt(permits: tuple[bool, ...]) -> str:
    """A pattern without a letter, written out."""
    return "; ".join(str(m) for m, permit in zip(MOMENTS, permits, strict=True) if permit)
