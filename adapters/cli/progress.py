"""A bar for what takes over a second: on standard error, on a terminal only, and only once it has taken a while."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import click

PATIENCE: Final = 0.7
"""Seconds of silence before the bar appears."""


@dataclass(slots=True)
class Progress:
    """Call it with how many are done since the last call; with 0 to say that it still goes on."""

    length: int
    label: str
    began: float
    done: int = 0
    bar: Any = None

    def __call__(self, done: int = 1) -> None:
        """Shows it, once there is something to show."""
        self.done += done
        if self.bar is not None:
            self.bar.update(done)
            self.bar.render_progress()
        elif time.monotonic() - self.began > PATIENCE and sys.stderr.isatty():
            self.bar = click.progressbar(length=self.length, label=self.label, file=sys.stderr)
            self.bar.__enter__()
            self.bar.update(self.done)


@contextlib.contextmanager
def progress(length: int, label: str) -> Iterator[Progress]:
    """A bar that appears if the work takes long; call what it yields for each that is done."""
    shown = Progress(length, label, time.monotonic())
    try:
        yield shown
    finally:
        if shown.bar is not None:
            shown.bar.__exit__(*sys.exc_info())
