"""A small exchange for stories: six agencies, a broker and an auditor, all real, with records to send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from adapters import kafka
from adapters.adapter import Adapter
from adapters.exchange import STREAM_FILE, Exchange
from adapters.inbox_file import Slice, State
from adapters.publisher import Published
from broker.clock import HOUR, Clock, SetClock, SystemRandom, parse_time
from broker.dispatch import Accepted, Broker, Quarantined
from broker.names import AgencyId, Millis
from tests import streams

HUB: Final = AgencyId("in.exchange.hub")
AUDITOR: Final = AgencyId("in.exchange.auditor")
HOME: Final = AgencyId("in.mp.police.ahtu.mandla")
OTHER: Final = AgencyId("in.tg.police.ahtu.nodal")
RESCUE: Final = AgencyId("in.kl.police.ahtu.ernakulam")
CWC: Final = AgencyId("in.mp.cwc.mandla")
NCRB: Final = AgencyId("in.ncrb.mp")
SHELTER: Final = AgencyId("in.kl.ngo.marigold-nest")
START: Final = parse_time("2026-02-02T09:00:00+05:30")


def _agency(agency: str, kind: str, state: str, district: int | None, *standing: str) -> dict[str, Any]:
    return {
        "id": agency,
        "kind": kind,
        "name": agency,
        "state": state,
        "district": district,
        "standing": list(standing),
        "subscribed": "AS" in standing,
    }


AGENCIES: Final = [
    _agency(HUB, "hub", "IN-DL", None, "HB"),
    _agency(AUDITOR, "auditor", "IN-DL", None, "AU"),
    _agency(HOME, "police-ahtu", "IN-MP", 414, "AS"),
    _agency(OTHER, "police-ahtu", "IN-TG", None, "AS"),
    _agency(RESCUE, "police-ahtu", "IN-KL", 555, "AS"),
    _agency(CWC, "cwc", "IN-MP", 414),
    _agency(NCRB, "ncrb", "IN-DL", None, "NR"),
    _agency(SHELTER, "shelter", "IN-KL", 555),
]


def alert(case: str = "new", *, clothing: str = "green dress", **changes: Any) -> dict[str, Any]:
    """A missing-person alert that Mandla may send."""
    record = {
        "type": "missing.alert",
        "variant": "child",
        "case": case,
        "langs": ["en-IN"],
        "post": "duty-officer",
        "to": [OTHER, RESCUE, CWC, NCRB],
        "persons": ["P-1"],
        "mandates": [{"role": "CH", "agency": CWC, "person": "P-1"}],
        "fields": {
            "case.firNo": {"ps": "Demo", "district": 414, "no": "00", "year": 2026},
            "risk.level": "high",
            "suspect.list": "unknown",
            "source.kind": "human",
        },
        "personFields": {
            "P-1": {
                "spot.ageBand": "12-14",
                "spot.sex": "F",
                "spot.clothing": clothing,
                "spot.instruction": {"code": "hold-and-call"},
                "seen.lastAt": "2026-02-01T18:00:00+05:30",
                "seen.lastArea": {"state": "IN-MP", "district": 414, "text": "bus stand area"},
                "person.fullName": "Tara Dhurwe",
                "home.address": {"state": "IN-MP", "district": 414, "text": "Kheriya"},
                "reporter.phone": "+910000000001",
            }
        },
    }
    return {**record, **changes}


class World:
    """The exchange, its broker, and a clock that stands where the story sets it."""

    def __init__(self, exchange: Exchange, broker: Broker, clock: SetClock) -> None:
        """Use ``world``."""
        self.exchange, self.broker, self.clock = exchange, broker, clock

    def adapter(self, agency: AgencyId) -> Adapter:
        """An agency's adapter."""
        return self.exchange.adapters[agency]

    def publish(self, agency: AgencyId, record: dict[str, Any]) -> Published:
        """Keeps a record in an agency's outbox, sealed; a minute passes."""
        self.clock.at = Millis(self.clock.at + 60_000)
        (published,) = self.adapter(agency).publisher.publish([record])
        return published

    async def settle(self) -> list[Accepted | Quarantined]:
        """Everything that is on its way arrives."""
        return [one for batch in await self.exchange.settle(self.broker) for one in batch]

    def received(self, agency: AgencyId, state: State = State.RECEIVED) -> list[Slice]:
        """What an agency's inbox has in this state."""
        return self.adapter(agency).home.inbox.slices(state=state, limit=1_000)

    def quarantined(self, agency: AgencyId) -> list[int | None]:
        """The numbers of the checks that failed at an agency."""
        return [one.arrival.check for one in self.received(agency, State.QUARANTINED)]

    async def next_works(self) -> None:
        """A message sent now reaches its readers, whatever happened before."""
        published = self.publish(HOME, alert())
        verdicts = await self.settle()
        assert any(isinstance(one, Accepted) and one.statement.root == published.root for one in verdicts)
        assert self.adapter(OTHER).home.inbox.by_root(published.root) is not None


async def new_exchange(folder: Path, agencies: Sequence[Mapping[str, Any]], *, clock: Clock) -> Exchange:
    """An exchange on the stream that the test at hand runs on (``tests.streams``)."""
    cluster = streams.cluster_for({one["id"] for one in agencies})
    return await Exchange.create(folder, agencies, clock=clock, random=SystemRandom(), cluster=cluster)


async def end(exchange: Exchange) -> None:
    """Closes an exchange; of a cluster, what it had there is removed."""
    await exchange.close()
    if exchange.stream_file != STREAM_FILE:
        await kafka.unsafe_tear_down(exchange.folder / exchange.stream_file, agencies=exchange.agencies)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A new small exchange."""
    clock = SetClock(Millis(START - HOUR))
    exchange = await new_exchange(folder / "exchange", AGENCIES, clock=clock)
    clock.at = START
    broker = await exchange.broker(HUB)
    try:
        yield World(exchange, broker, clock)
    finally:
        await broker.stream.close()
        await end(exchange)
