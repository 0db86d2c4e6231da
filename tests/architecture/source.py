"""The project's own files as the rules see them: text, syntax tree and dotted name."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """One Python file; ``path`` is relative to the repository."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, self.path)

    @property
    def module(self) -> str:
        """Its dotted name: ``broker/event/codec.py`` is ``broker.event.codec``, and a package is its folder."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_package(self) -> bool:
        """Whether it is an ``__init__.py``."""
        return self.path.endswith("__init__.py")

    @property
    def is_test(self) -> bool:
        """Whether it is under ``tests``."""
        return self.path.startswith("tests/")

    def at(self, node: ast.AST) -> str:
        """Where a node is, to print."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


@cache
def files() -> tuple[str, ...]:
    """Every file that is or may be committed: tracked, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    return tuple(sorted({name for name in listed.split("\0") if name and (ROOT / name).is_file()}))


def texts(*suffixes: str) -> Iterator[tuple[str, str]]:
    """Path and text of each file with one of these endings; of all that are text where none is named."""
    for name in files():
        if not suffixes or name.endswith(suffixes):
            try:
                yield name, (ROOT / name).read_text("utf-8")
            except UnicodeDecodeError:
                continue


@cache
def sources(*folders: str) -> tuple[Source, ...]:
    """The Python files under these folders.

    Raises:
        LookupError: there are none, so that a rule over them would hold whatever was written.
    """
    found = tuple(
        Source(name, text) for name, text in texts(".py") if name.startswith(tuple(f"{folder}/" for folder in folders))
    )
    if not found:
        raise LookupError(f"no Python file under {folders}")
    return found
