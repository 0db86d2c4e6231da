"""The check of a policy folder: it loads, decides as expected, uses every rule, and keeps every invariant."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import ConfigError
from broker.names import Digest
from broker.policy.decide import Policy
from broker.policy.domain import Domain
from broker.policy.expected import Difference, compare, compare_holders, load_expected
from broker.policy.load import AUTHORITY, Files
from broker.policy.matrix import Matrix, compute
from broker.policy.model import Fault
from broker.policy.prove import Authority, Proof, prove


@dataclass(frozen=True, slots=True)
class Report:
    """What the check found. ``unused`` are rules that never decide anything: each must be removed or mended."""

    digest: Digest
    rules: int
    faults: tuple[Fault, ...]
    errors: tuple[str, ...]
    cells: int
    questions: int
    differences: tuple[Difference, ...]
    unused: tuple[str, ...]
    proofs: tuple[Proof, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing at all is wrong."""
        wrong = self.faults or self.errors or self.differences or self.unused
        return not wrong and all(proof.holds for proof in self.proofs) and bool(self.proofs)


def check(files: Files, domain: Domain, *, tick: Callable[[], None] = lambda: None) -> Report:
    """Checks the files of a policy folder over a domain; ``tick`` is called after each type.

    Raises:
        ConfigError: the expected matrix or the authority table is missing or damaged.
    """
    authority = load_authority(files)
    expected = load_expected(files, domain)
    policy = Policy.load(files)
    matrix = compute(policy, domain, tick=tick)
    return Report(
        digest=policy.digest,
        rules=len(policy.rules),
        faults=policy.faults,
        errors=matrix.errors if not policy.faults else (),
        cells=len(matrix.cells),
        questions=matrix.questions,
        differences=(*compare(matrix, expected), *compare_holders(matrix, _kinds(authority))),
        unused=matrix.unused,
        proofs=_prove(matrix, domain, authority),
    )


def load_authority(files: Files) -> Authority:
    """The authority table.

    Raises:
        ConfigError: it is missing or no JSON object.
    """
    try:
        table = json.loads(files[AUTHORITY])
    except KeyError:
        raise ConfigError(f"{AUTHORITY} is missing; without it nothing says who may write what") from None
    except ValueError as error:
        raise ConfigError(f"{AUTHORITY} is not JSON: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"{AUTHORITY} is not a JSON object")
    return table


def _kinds(authority: Authority) -> dict[str, frozenset[str]]:
    return {name: frozenset(role["kinds"]) for name, role in authority["roles"].items()}


def _prove(matrix: Matrix, domain: Domain, authority: Authority) -> tuple[Proof, ...]:
    try:
        return prove(matrix, domain, authority)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{AUTHORITY} does not have the shape that the proofs need", reason=repr(error)) from error
