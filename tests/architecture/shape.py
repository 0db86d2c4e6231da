"""Sizes, docstrings, exceptions and silenced checks: the shape of a module."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Final

from tests.architecture.source import Source

MODULE_LINES: Final = 400
TEST_MODULE_LINES: Final = 600
FUNCTION_LINES: Final = 50
INTENDED_ROOT: Final = "CasebridgeError"
OTHER_ERRORS: Final = frozenset({"ValueError", "TypeError", INTENDED_ROOT})
COMMAND_ERRORS: Final = frozenset({"SystemExit", "ClickException", "UsageError", "BadParameter", "Abort", "Exit"})
"""What only the commands may raise, since they end a process."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_SILENCED: Final = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:\s*[A-Z])", re.IGNORECASE)


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function, however deep."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def sizes(source: Source) -> Iterator[str]:
    """Modules and functions that are too long to read at once."""
    lines, limit = source.text.count("\n"), TEST_MODULE_LINES if source.is_test else MODULE_LINES
    if lines > limit:
        yield f"{source.path}: {lines} lines, the limit is {limit}"
    for function in functions(source.tree):
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > FUNCTION_LINES:
            yield f"{source.at(function)}: {function.name}() has {length} lines, the limit is {FUNCTION_LINES}"


def package_bodies(source: Source) -> Iterator[str]:
    """An ``__init__.py`` that is more than its docstring."""
    if source.is_package and (len(source.tree.body) != 1 or ast.get_docstring(source.tree) is None):
        yield f"{source.path}: holds a docstring and nothing else"


def is_public(name: str) -> bool:
    """Whether a name is for others."""
    return not name.startswith("_")


def promised(everything: Iterable[Source]) -> frozenset[str]:
    """Names of the methods whose contract a Protocol of ours states: what fulfils it need not say it again."""
    return frozenset(
        method.name
        for source in everything
        for kind in ast.walk(source.tree)
        if isinstance(kind, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in kind.bases)
        for method in kind.body
        if isinstance(method, Function) and ast.get_docstring(method)
    )


def undocumented(source: Source, stated: frozenset[str]) -> Iterator[str]:
    """Public modules, classes, functions and methods without a docstring."""
    if is_public(source.module.rsplit(".", 1)[-1]) and ast.get_docstring(source.tree) is None:
        yield f"{source.path}: the module says nothing of what it is for"
    yield from _undocumented_in(source, source.tree.body, "", stated)


def _undocumented_in(source: Source, body: list[ast.stmt], owner: str, stated: frozenset[str]) -> Iterator[str]:
    for node in body:
        if not isinstance(node, Definition) or not is_public(node.name):
            continue
        excused = owner and (node.name in stated or any("overload" in ast.unparse(d) for d in node.decorator_list))
        if ast.get_docstring(node) is None and not excused:
            yield f"{source.at(node)}: {owner}{node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from _undocumented_in(source, node.body, f"{node.name}.", stated)


def silenced(source: Source) -> Iterator[str]:
    """Checks switched off without saying which."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if _SILENCED.search(line):
            yield f"{source.path}:{number}: says not which check it silences"


def swallowed(source: Source) -> Iterator[str]:
    """Handlers that catch everything, or catch much and do nothing."""
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else ""
        idle = all(
            isinstance(step, (ast.Pass, ast.Continue))
            or (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant))
            for step in node.body
        )
        if not caught:
            yield f"{source.at(node)}: names nothing that it catches"
        elif idle and {"Exception", "BaseException"} & set(re.findall(r"\w+", caught)):
            yield f"{source.at(node)}: catches everything and does nothing"


def error_names(everything: Iterable[Source]) -> frozenset[str]:
    """The classes that descend from the one root of our errors."""
    bases = {
        node.name: {ast.unparse(base).rsplit(".", 1)[-1] for base in node.bases}
        for source in everything
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
    }
    known = {INTENDED_ROOT}
    while True:
        more = {name for name, above in bases.items() if above & known} - known
        if not more:
            return frozenset(known)
        known |= more


def strange_errors(source: Source, ours: frozenset[str]) -> Iterator[str]:
    """``raise`` of anything but our errors, ValueError and TypeError; a lower-case name is an error passed on."""
    allowed = ours | OTHER_ERRORS | (COMMAND_ERRORS if source.module.startswith("adapters.cli") else frozenset())
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Raise) or node.exc is None:
            continue
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        name = ast.unparse(raised).rsplit(".", 1)[-1]
        if name[:1].isupper() and name not in allowed:
            yield f"{source.at(node)}: raises {name}; errors come from broker.errors"


def unruled_tests(source: Source) -> Iterator[str]:
    """Test functions whose docstring does not state a rule."""
    for function in functions(source.tree):
        if function.name.startswith("test_") and not ast.get_docstring(function):
            yield f"{source.at(function)}: {function.name} states no rule"
