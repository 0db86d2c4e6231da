"""The invariants of the model, proved by trying every case (``docs/spec/policy.md`` §7).

Each proof walks cells that policy decided, or statements of the authority table and the schemas; none reads
the text of a policy. A proof that found nothing to try has failed. Invariants 6, 7 and 8 speak of what the
software does with messages and are tested there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any, Final

from broker.names import Compartment, Phase, Role
from broker.policy import writers
from broker.policy.domain import CONTENT, MOMENTS, ROLES, Domain, Moment
from broker.policy.matrix import Key, Matrix

Case = tuple[bool, object]
"""Whether the statement holds in this case, and what to call the case."""

Authority = Mapping[str, Any]
"""``policies/authority.json`` as read."""

SHOWN: Final = 20
"""Failures that a proof keeps; it counts the rest."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One invariant: how many cases were tried and which of them break it (the first few, and how many in all)."""

    number: int
    text: str
    tried: int
    failed: int
    failures: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether every case holds, and there was one."""
        return self.tried > 0 and not self.failed


def prove(matrix: Matrix, domain: Domain, authority: Authority) -> tuple[Proof, ...]:
    """All invariants of the model, in order."""
    return tuple(_prove(number, text, cases(matrix, domain, authority)) for number, text, cases in _INVARIANTS)


def _prove(number: int, text: str, cases: Iterator[Case]) -> Proof:
    tried, failed, failures = 0, 0, []
    for holds, where in cases:
        tried += 1
        if not holds:
            failed += 1
            if failed <= SHOWN:
                failures.append(_name(where))
    return Proof(number, text, tried, failed, tuple(failures))


def _name(where: object) -> str:
    match where:
        case (Key() as key, Moment() as moment):
            return f"{key} reads: {moment}"
        case (Key() as key, str(said)):
            return f"{key} {said}"
        case _:
            return str(where)


_ABROAD: Final = ("nationality", "cross-border")
_FOUND: Final = frozenset({Phase.RESCUED, Phase.PLACED, Phase.RESTORED, Phase.CLOSED})
_ORDER: Final = (Phase.MISSING, Phase.RESCUED, Phase.PLACED, Phase.RESTORED, Phase.CLOSED)
_AT: Final = {(m.phase, m.expired, m.movement_ended): i for i, m in enumerate(MOMENTS)}
_FLAGS: Final = tuple(product((False, True), (False, True)))
_PERSONAL: Final = frozenset(
    {
        Compartment.SPOTTING,
        Compartment.PERSON_IDENTITY,
        Compartment.BIOMETRICS,
        Compartment.LOCATION,
        Compartment.MEDICAL,
    }
)


def _reads(matrix: Matrix, *roles: Role) -> Iterator[tuple[Key, int, bool]]:
    """Each cell of these roles (of all, if none is given) at each moment: the cell, the moment's index, reads."""
    wanted = roles or ROLES
    for key, cell in matrix.cells.items():
        if key.role in wanted:
            for index, permit in enumerate(cell.permits):
                yield key, index, permit


def _all_states(matrix: Matrix, _: Domain, __: Authority) -> Iterator[Case]:
    card = (Compartment.SPOTTING, Compartment.BIOMETRICS)
    for key, at, reads in _reads(matrix, Role.AS):
        if key.compartment in CONTENT:
            live = key.type == "missing.alert" and key.compartment in card and MOMENTS[at].phase is Phase.MISSING
            yield live or not reads, (key, MOMENTS[at])


def _source_and_medical(matrix: Matrix, _: Domain, __: Authority) -> Iterator[Case]:
    carers = (Role.OR, Role.CJ, Role.CH, Role.SH)
    for key, at, reads in _reads(matrix):
        if key.compartment is Compartment.SOURCE:
            yield key.role is Role.OR or not reads, (key, MOMENTS[at])
        elif key.compartment is Compartment.MEDICAL:
            yield key.role in carers or not reads, (key, MOMENTS[at])
    for key, cell in matrix.cells.items():
        if key.compartment is Compartment.MEDICAL:
            yield key.role in (Role.CJ, Role.CH, Role.SH, Role.LS) or cell.ask != "q", (key, "may be asked for")


_NEVER_READ: Final = (
    (Role.SH, Compartment.SUSPECT),
    (Role.FP, Compartment.SUSPECT),
    (Role.FP, Compartment.MEDICAL),
    (Role.CM, Compartment.PERSON_IDENTITY),
)


def _never(matrix: Matrix, domain: Domain, authority: Authority) -> Iterator[Case]:
    for key, at, reads in _reads(matrix, Role.SH, Role.FP, Role.CM):
        if (key.role, key.compartment) in _NEVER_READ:
            yield not reads, (key, MOMENTS[at])
    yield from writers.never_written(domain, authority, _NEVER_READ)


def _after_rescue(matrix: Matrix, _: Domain, __: Authority) -> Iterator[Case]:
    for key, at, reads in _reads(matrix, Role.TP, Role.AS):
        if key.compartment in _PERSONAL and MOMENTS[at].phase in _FOUND:
            yield not reads, (key, MOMENTS[at])


def _outsiders(matrix: Matrix, domain: Domain, authority: Authority) -> Iterator[Case]:
    allowed = {Role.HB: (Compartment.ROUTING,), Role.AU: (Compartment.ROUTING, Compartment.ACCESS)}
    for key, at, reads in _reads(matrix, Role.HB, Role.AU):
        yield key.compartment in allowed[key.role] or not reads, (key, MOMENTS[at])
    yield from writers.never_senders(domain, authority)


def _transit_identity(matrix: Matrix, _: Domain, __: Authority) -> Iterator[Case]:
    for key, at, reads in _reads(matrix, Role.TP):
        if key.compartment is Compartment.PERSON_IDENTITY:
            yield not reads, (key, MOMENTS[at])


def _photo_after_rescue(matrix: Matrix, _: Domain, __: Authority) -> Iterator[Case]:
    for key, at, reads in _reads(matrix):
        if key.compartment is Compartment.BIOMETRICS and MOMENTS[at].phase in _FOUND:
            keeps = key.role in (Role.OR, Role.IA, Role.DP, Role.CJ)
            abroad = key.role in (Role.NC, Role.FP) and key.variant in _ABROAD
            yield keeps or abroad or not reads, (key, MOMENTS[at])


def _abroad(matrix: Matrix, _: Domain, __: Authority) -> Iterator[Case]:
    partner = (Compartment.CASE, Compartment.PERSON_IDENTITY, Compartment.BIOMETRICS, Compartment.LOCATION)
    for key, at, reads in _reads(matrix, Role.NC, Role.FP):
        if key.compartment in CONTENT:
            fits = key.variant in _ABROAD and (key.role is Role.NC or key.compartment in partner)
            yield fits or not reads, (key, MOMENTS[at])


def _phases(matrix: Matrix, _: Domain, __: Authority) -> Iterator[Case]:
    for key, cell in matrix.cells.items():
        for flags in _FLAGS:
            along = [cell.permits[_AT[phase, *flags]] for phase in _ORDER]
            yield along[1] == along[2], (key, "decides differently when rescued and when placed")
            if key.role in (Role.HP, Role.TP, Role.NR, Role.AS):
                opens = any(later and not earlier for earlier, later in pairwise(along))
                yield not opens, (key, "opens by a later phase")


def _ways_to_exist(matrix: Matrix, _: Domain, authority: Authority) -> Iterator[Case]:
    read = {(key.type, key.role) for key, cell in matrix.cells.items() if any(cell.permits)}
    for type_, role in sorted(read):
        yield writers.can_exist(matrix, authority, role), f"{role.label}, a reader of {type_}, is given by nobody"
    yield from writers.addressed_exist(matrix, authority)


_Prover = Callable[[Matrix, Domain, Authority], Iterator[Case]]

_INVARIANTS: Final[tuple[tuple[int, str, _Prover], ...]] = (
    (1, "AS reads nothing but spotting and biometrics of missing.alert, and only in phase missing", _all_states),
    (2, "source is read by its author alone; medical by CJ, CH, SH and author, asked for by CJ, CH, SH and LS only",
     _source_and_medical),
    (3, "SH and FP neither read nor write suspect, FP medical, CM person-identity", _never),
    (4, "once a person is found, TP and AS read no spotting, person-identity, biometrics, location or medical",
     _after_rescue),
    (5, "every field that tells a fact of one person is sealed per person, or is in an event about one person",
     lambda _, domain, __: writers.facts_of_persons(domain)),
    (9, "a role is held by, and given to, permitted kinds only; shelters and NGOs hold no police or standing role",
     lambda matrix, _, authority: writers.kinds(matrix, authority)),
    (10, "medical, suspect and source are written by the kinds permitted for them only",
     lambda matrix, domain, authority: writers.written(matrix, domain, authority)),
    (11, "HB reads routing only, AU routing and access only; neither writes", _outsiders),
    (12, "TP never reads person-identity", _transit_identity),
    (13, "after rescue biometrics is read by IA, DP, CJ and author only, and by NC and FP in messages abroad",
     _photo_after_rescue),
    (14, "NC and FP read in nationality and cross-border variants only; FP only case, identity, biometrics, location",
     _abroad),
    (15, "rescued and placed decide alike; no cell of HP, TP, NR or AS opens by a later phase", _phases),
    (16, "every role that reads or must be addressed is standing, authorship, or given by somebody", _ways_to_exist),
    (17, "every sender is told, or gives, the mandated roles it must address; SH is told to DP, CJ, CH, SH, ES only",
     lambda _, domain, authority: writers.told(domain, authority)),
)  # fmt: skip
