"""The whole case of the domain, step by step, for stories that need every type of message and seventeen agencies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from adapters.adapter import Adapter
from adapters.demo.play import ROTATION
from adapters.demo.script import Script, Step
from adapters.exchange import Exchange
from adapters.inbox_file import State
from broker.clock import HOUR, SetClock
from broker.dispatch import Accepted, Broker
from broker.errors import InputError
from broker.names import AgencyId, Compartment, Millis
from tests.story.small_exchange import end, new_exchange

HUB: Final = AgencyId("in.exchange.hub")
AUDITOR: Final = AgencyId("in.exchange.auditor")

Change = Callable[[Step, dict[str, Any]], dict[str, Any]]
Views = dict[AgencyId, dict[str, list[str]]]


class Scenario:
    """The exchange while the case is played. ``change`` may alter each native record before it is published."""

    def __init__(self, exchange: Exchange, broker: Broker, script: Script, clock: SetClock, change: Change) -> None:
        """Use ``scenario``."""
        self.exchange, self.broker, self.script, self.clock, self._change = exchange, broker, script, clock, change
        self._rotated = clock.at
        self._left = list(script.steps)

    def adapter(self, agency: AgencyId) -> Adapter:
        """An agency's adapter."""
        return self.exchange.adapters[agency]

    @property
    def members(self) -> dict[AgencyId, Adapter]:
        """All but the exchange's own."""
        return {agency: one for agency, one in self.exchange.adapters.items() if agency not in (HUB, AUDITOR)}

    async def play(self, until: str | None = None) -> None:
        """The steps that are left, up to and with ``until``; everything arrives and nothing is refused."""
        assert until is None or any(step.id == until for step in self._left)
        while self._left:
            step = self._left.pop(0)
            await self._step(step)
            if step.id == until:
                return

    async def _step(self, step: Step) -> None:
        self.clock.at = step.at
        if step.at - self._rotated > ROTATION:
            self.exchange.rotate_prekeys()
            self._rotated = step.at
        record = self._change(step, self.script.record(step))
        (published,) = self.adapter(step.author).publisher.publish([record])
        self.script.played(step, published.event_id, published.case)
        verdicts = [one for batch in await self.exchange.settle(self.broker) for one in batch]
        assert all(isinstance(verdict, Accepted) for verdict in verdicts), step.id
        for agency, adapter in self.exchange.adapters.items():
            for state in (State.QUARANTINED, State.PENDING):
                assert adapter.home.inbox.slices(state=state) == [], (step.id, agency)

    def views(self, step: str) -> Views:
        """Agency to compartment to persons, for every block that decrypts now; agencies without the event are left out."""
        found: Views = {}
        for agency, adapter in self.members.items():
            try:
                blocks = adapter.open(self.script.events[step], post="duty-officer", purpose="case-work")
            except InputError:
                continue
            view = found.setdefault(agency, {})
            for block in blocks:
                if not block.refused and block.fields and block.compartment is not Compartment.ACCESS:
                    view.setdefault(block.compartment.label, []).append(block.alias)
        return found


def _as_it_is(_: Step, record: dict[str, Any]) -> dict[str, Any]:
    return record


@asynccontextmanager
async def scenario(folder: Path, change: Change = _as_it_is) -> AsyncIterator[Scenario]:
    """A new exchange an hour before the case begins."""
    script = Script.load()
    clock = SetClock(Millis(script.steps[0].at - HOUR))
    exchange = await new_exchange(folder / "exchange", script.agencies, clock=clock)
    broker = await exchange.broker(HUB)
    try:
        yield Scenario(exchange, broker, script, clock, change)
    finally:
        await broker.stream.close()
        await end(exchange)
