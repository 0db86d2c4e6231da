"""The expected matrix: what people agreed to, kept beside the policies and compared with what these decide.

``expected-matrix.csv`` has the columns type, variant, compartment, role, code and when. ``*`` stands for every
type, variant or compartment. A cell that no row names is expected to be blank.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from broker.errors import ConfigError
from broker.names import AgencyKind, Compartment, Role
from broker.policy.domain import COMPARTMENTS, Domain
from broker.policy.load import EXPECTED, Files
from broker.policy.matrix import Key, Matrix

_COLUMNS: Final = ["type", "variant", "compartment", "role", "code", "when"]
_ANY: Final = "*"

Expected = Mapping[Key, tuple[str, str]]
"""The code and the condition of each cell that is not blank."""


class Difference(NamedTuple):
    """A cell that is not as expected; codes with their condition in brackets, ``blank`` for none."""

    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, found {self.found}"


def load_expected(files: Files, domain: Domain) -> Expected:
    """The expected cells.

    Raises:
        ConfigError: the file is missing, empty, names what does not exist, or says two things of one cell.
    """
    rows = _rows(files, EXPECTED, _COLUMNS)
    cells: dict[Key, tuple[str, str]] = {}
    for number, row in enumerate(rows, 2):
        try:
            role = Role.of(row["role"])
            keys = list(_keys(domain, row["type"], row["variant"], row["compartment"], role))
        except ValueError as error:
            raise ConfigError(f"{EXPECTED} line {number}: {error}") from error
        value = (row["code"], row["when"])
        for key in keys:
            if cells.setdefault(key, value) != value:
                raise ConfigError(f"{EXPECTED} line {number}: another row says {cells[key][0]!r} of {key}")
        if not keys:
            raise ConfigError(f"{EXPECTED} line {number}: there is no such type or variant")
    return cells


def compare(matrix: Matrix, expected: Expected) -> list[Difference]:
    """The cells in which a matrix is not as expected."""
    found = []
    for key, cell in matrix.cells.items():
        want, have = expected.get(key, ("", "")), matrix.code(key, cell)
        if want != have:
            found.append(Difference(str(key), spell(*want), spell(*have)))
    return found


def compare_holders(matrix: Matrix, kinds: Mapping[str, frozenset[str]]) -> list[Difference]:
    """The pairs of role and kind in which a matrix differs from the kinds that the authority table lists."""
    return [
        Difference(f"{role.label} held by {kind.label}", _counts(listed), _counts(kind in holders))
        for role, holders in matrix.holders.items()
        for kind in AgencyKind
        if (listed := kind.label in kinds.get(role.label, frozenset())) != (kind in holders)
    ]


def spell(code: str, when: str) -> str:
    """A code and its condition as one text."""
    return (code or "blank") + (f" ({when})" if when else "")


def _counts(holds: bool) -> str:
    return "counts" if holds else "does not count"


def _keys(domain: Domain, type_: str, variant: str, compartment: str, role: Role) -> Iterator[Key]:
    which = COMPARTMENTS if compartment == _ANY else (Compartment.of(compartment),)
    for facts in domain.values():
        if type_ in (_ANY, facts.name):
            for known in facts.variants:
                if variant in (_ANY, known):
                    yield from (Key(facts.name, known, each, role) for each in which)


def _rows(files: Files, name: str, columns: list[str]) -> list[dict[str, str]]:
    if name not in files:
        raise ConfigError(f"{name} is missing; without it nothing says what the policies should decide")
    reader = csv.DictReader(io.StringIO(files[name].decode("utf-8")))
    if reader.fieldnames != columns:
        raise ConfigError(f"{name} line 1: the columns must be {','.join(columns)}")
    rows = list(reader)
    if not rows or any(None in row or None in row.values() for row in rows):
        raise ConfigError(f"{name} has no rows, or a row with too few or too many columns")
    return rows
