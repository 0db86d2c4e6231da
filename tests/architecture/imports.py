"""Who may import which third party, and who may ask the machine for time and chance.

Which of our own modules may import which is held by import-linter (``pyproject.toml``).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from tests.architecture.source import Source

OWN: Final = frozenset({"broker", "adapters", "schemas", "policies", "tests"})

FENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "aiokafka": ("broker.stream",),
    "cedarpy": ("broker.policy",),
    "click": ("adapters.cli",),
    "cryptography": ("broker.keys", "broker.seal", "broker.tlog"),
    "fastavro": ("broker.event",),
    "opentelemetry": ("broker.telemetry",),
    "pydantic": ("broker.event", "broker.trust", "broker.service", "adapters"),
    "pydantic_core": ("broker.event", "broker.trust", "broker.service", "adapters"),
    "starlette": ("broker.service", "adapters"),
    "uvicorn": ("broker.service", "adapters"),
    "sqlite3": ("broker.stream", "broker.keys", "broker.tlog", "adapters"),
}
"""Third party (and ``sqlite3``) to the only packages that may import it; what is not here, nobody may."""

MACHINE: Final[Mapping[str, frozenset[str]]] = {
    "time": frozenset({"time", "time_ns", "localtime", "gmtime", "ctime"}),
    "os": frozenset({"urandom", "getrandom"}),
    "uuid": frozenset({"uuid1", "uuid4"}),
    "datetime": frozenset({"now", "utcnow", "today"}),
    "date": frozenset({"today"}),
}
"""What gives time, chance or ids; only ``broker.clock`` calls it, everything else is handed a clock."""

CHANCE: Final = frozenset({"random", "secrets"})
"""Modules that give nothing but chance."""

CLOCK: Final = "broker.clock"


def within(module: str, package: str) -> bool:
    """Whether a module is this package or inside it."""
    return module == package or module.startswith(f"{package}.")


def imported(source: Source) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Every import statement, also inside functions and under ``TYPE_CHECKING``, with each dotted name it takes."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, "." * node.level + (node.module or "")


def foreign(source: Source) -> Iterator[str]:
    """Imports of a third party outside its fence."""
    for node, name in imported(source):
        top = name.split(".")[0]
        if name.startswith("."):
            yield f"{source.at(node)}: relative import; write the whole name"
        elif top in FENCES:
            if not any(within(source.module, package) for package in FENCES[top]):
                yield f"{source.at(node)}: {top} is imported only in {', '.join(FENCES[top])}"
        elif top not in OWN and top not in sys.stdlib_module_names:
            yield f"{source.at(node)}: {top} has no fence; add it with a line in docs/adr/0007-third-parties.md"
        elif top == "tests":
            yield f"{source.at(node)}: the product never imports its tests"


def machine_calls(source: Source) -> Iterator[str]:
    """Calls that ask the machine for time, chance or ids, outside the clock module."""
    if source.module == CLOCK:
        return
    advice = "take a Clock or Random of broker.clock"
    for statement, name in imported(source):
        taken = {alias.name for alias in statement.names} if isinstance(statement, ast.ImportFrom) else set()
        if name in CHANCE or taken & MACHINE.get(name, frozenset()):
            yield f"{source.at(statement)}: {name} gives time or chance; {advice}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if node.attr in MACHINE.get(owner, frozenset()):
                yield f"{source.at(node)}: {owner}.{node.attr} asks the machine; {advice}"
