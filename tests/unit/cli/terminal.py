"""Commands as a person types them, run in this process: quick, where it does not matter that it is another one."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner

from adapters.cli.main import main
from adapters.exchange import KEY_FILE, Exchange
from broker.clock import SystemClock, SystemRandom
from broker.names import AgencyId
from tests.fault.path_step import run as role_once
from tests.story.small_exchange import AGENCIES, HOME, HUB


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line in which it says what is wrong; it printed nothing else, and no traceback."""
        assert self.code != 0
        assert self.out == ""
        assert len(self.err.splitlines()) == 1, self.err
        return self.err.strip()


def typed(*words: object, said: str = "") -> Done:
    """``casebridge`` with these words; ``said`` is what is piped into it."""
    arguments = ["casebridge", *map(str, words)]
    with CliRunner().isolation(input=said) as (out, err, _), patch.object(sys, "argv", arguments):
        code: Any = None
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return Done(code, out.getvalue().decode(), err.getvalue().decode())


@dataclass(frozen=True)
class Desk:
    """The exchange of the stories at the present time, of which nothing runs; commands are given as an agency."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Desk:
        """A new exchange."""

        async def create() -> None:
            made = await Exchange.create(folder, AGENCIES, clock=SystemClock(), random=SystemRandom())
            await made.close()

        asyncio.run(create())
        return cls(folder)

    def home(self, agency: AgencyId) -> Path:
        """An agency's home folder."""
        return self.folder / "homes" / agency

    def types(self, agency: AgencyId, *words: object, said: str = "") -> Done:
        """A command of an agency."""
        return typed("--home", self.home(agency), "--key-file", self.folder / KEY_FILE, *words, said=said)

    def publish(self, record: dict[str, Any], agency: AgencyId = HOME) -> dict[str, Any]:
        """What the command says of a record that it sent, and that the broker then dispatches."""
        done = self.types(agency, "publish", "-", "--wait", "0", "--json", said=json.dumps(record))
        assert done.code == 0, done.err
        asyncio.run(role_once(self.home(HUB), "broker"))
        (said,) = done.json
        return dict(said)
