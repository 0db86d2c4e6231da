"""What changes between two policies: the cells that decide differently, not the lines that were edited."""

from __future__ import annotations

from typing import NamedTuple

from broker.names import AgencyKind
from broker.policy.expected import spell
from broker.policy.matrix import Key, Matrix


class Change(NamedTuple):
    """One cell, or one pair of role and kind, that decides differently. ``wider``: somebody reads or asks more."""

    where: str
    before: str
    after: str
    wider: bool

    def __str__(self) -> str:
        return f"{self.where}: {self.before} -> {self.after}"


_REACH = {"": 0, "x": 1, "q": 2}


def changes(old: Matrix, new: Matrix) -> list[Change]:
    """The changes from one matrix to the other, computed over the same domain."""
    return [*_cells(old, new), *_holders(old, new)]


def _cells(old: Matrix, new: Matrix) -> list[Change]:
    found = []
    for key, cell in new.cells.items():
        before = old.cells[key]
        if before != cell:
            reads_more = any(now and not then for then, now in zip(before.permits, cell.permits, strict=True))
            asks_more = not all(cell.permits) and _REACH[cell.ask] > _REACH[before.ask] and not all(before.permits)
            found.append(Change(str(key), _spell(old, key), _spell(new, key), reads_more or asks_more))
    return found


def _holders(old: Matrix, new: Matrix) -> list[Change]:
    words = {True: "counts", False: "does not count"}
    return [
        Change(f"{role.label} held by {kind.label}", words[kind in before], words[kind in after], kind in after)
        for role, after in new.holders.items()
        for before in (old.holders[role],)
        for kind in AgencyKind
        if (kind in before) != (kind in after)
    ]


def _spell(matrix: Matrix, key: Key) -> str:
    return spell(*matrix.code(key, matrix.cells[key]))
