"""The path from record to opened block, each part of which can be opened anew as after a restart, or over things that fail."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from adapters.adapter import Adapter
from adapters.cli.run import make_broker
from adapters.exchange import KEY_FILE, STREAM_FILE, Exchange
from adapters.home import INBOX_FILE, OUTBOX_FILE, Home, Rules
from adapters.inbox import Inbox
from adapters.inbox_file import State
from adapters.opener import Block
from adapters.outbox import Outbox
from adapters.outbox_file import State as Sent
from adapters.publisher import Published
from broker.audit.record import decode_record, record_digest
from broker.clock import SystemClock, SystemRandom
from broker.dispatch import Broker
from broker.keys.files import KeyFile
from broker.names import AgencyId, Digest
from broker.seal.wire import NO_DIGEST
from broker.service.loop import pass_once
from broker.stream.embedded import EmbeddedStream
from broker.stream.topics import NOTARY, RECORDS, member
from tests.story import small_exchange
from tests.story.small_exchange import AUDITOR, CWC, HOME, HUB, OTHER, alert

READERS: Final = (HOME, OTHER, CWC)
"""Who has a slot in a message of this path, the auditor aside."""
AGENCIES: Final = [one for one in small_exchange.AGENCIES if one["id"] in (*READERS, HUB, AUDITOR)]
PLAIN: Final = sqlite3.Connection
BUSY_MS: Final = 50
RULES: Final = Rules.load()

Factory = type[sqlite3.Connection]


def record(name: str) -> dict[str, Any]:
    """A message that opens a case; its content names it, so that whoever opens it can tell which it is."""
    said = {**alert(clothing=f"called {name}"), "to": [OTHER, CWC]}
    said["personFields"]["P-1"]["person.fullName"] = f"called {name}"
    return said


def _named(blocks: Sequence[Block]) -> set[str]:
    """What the opened blocks call the message."""
    return set(re.findall('called ([^"]+)', json.dumps([dict(block.fields) for block in blocks])))


class Impatient(sqlite3.Connection):
    """A connection that does not wait long for others."""

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        patient = sql.startswith("PRAGMA busy_timeout")
        return super().execute(f"PRAGMA busy_timeout = {BUSY_MS}" if patient else sql, *values)


class FullDisk(sqlite3.Connection):
    """A connection to a disk on which no file can grow."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        super().execute("PRAGMA max_page_count = 1")  # SQLite takes the present size, which is larger


@dataclass(frozen=True)
class Failing:
    """The classes of the connections to the files of a home and to the stream."""

    outbox: Factory = PLAIN
    inbox: Factory = PLAIN
    keystore: Factory = Impatient
    stream: Factory = PLAIN


@dataclass(frozen=True)
class Course:
    """The folder of an exchange whose processes come and go."""

    folder: Path

    @classmethod
    async def create(cls, folder: Path) -> Course:
        """A new exchange of five agencies."""
        made = await Exchange.create(folder, AGENCIES, clock=SystemClock(), random=SystemRandom())
        await made.close()
        return cls(folder)

    def home_folder(self, agency: AgencyId) -> Path:
        """Where an agency's adapter lives."""
        return self.folder / "homes" / agency

    def home(self, agency: AgencyId, failing: Failing = Failing()) -> Home:
        """An agency's home, opened anew."""
        folder, clock, random = self.home_folder(agency), SystemClock(), SystemRandom()
        with patch.object(sqlite3, "connect", partial(sqlite3.connect, factory=failing.keystore)):
            home = Home.open(folder, secret=KeyFile(self.folder / KEY_FILE), clock=clock, random=random)
        home.inbox.close()
        home.outbox.close()
        return replace(
            home,
            inbox=Inbox.open(folder / INBOX_FILE, clock=clock, factory=failing.inbox, busy_ms=BUSY_MS),
            outbox=Outbox.open(
                folder / OUTBOX_FILE, clock=clock, random=random, factory=failing.outbox, busy_ms=BUSY_MS
            ),
        )

    async def adapter(self, agency: AgencyId, failing: Failing = Failing()) -> Adapter:
        """An agency's adapter, started anew."""
        home = self.home(agency, failing)
        stream = await EmbeddedStream.open(
            self.folder / STREAM_FILE,
            principal=member(agency),
            clock=home.clock,
            factory=failing.stream,
            busy_ms=BUSY_MS,
        )
        return Adapter.over(home, stream, RULES, home.ground(RULES))

    async def broker(self) -> tuple[Broker, Home]:
        """The broker, started anew, and the home to close after it."""
        home = self.home(HUB)
        return await make_broker(home, RULES), home

    async def publish(self, name: str) -> Published:
        """One process publishes a message, under a key of its own, and sends it; again does no harm."""
        adapter = await self.adapter(HOME)
        try:
            (published,) = adapter.publisher.publish([record(name)], idempotency_key=name)
            await adapter.send()
            return published
        finally:
            await adapter.close()

    async def dispatch(self) -> None:
        """One process of the broker dispatches what is there."""
        broker, home = await self.broker()
        try:
            await pass_once(broker)
        finally:
            await broker.stream.close()
            home.close()

    async def receive(self, agency: AgencyId) -> None:
        """One process of an agency receives what is there, and sends what it owes."""
        adapter = await self.adapter(agency)
        try:
            await adapter.receive()
            await adapter.send()
        finally:
            await adapter.close()

    async def finish(self) -> None:
        """Everybody runs once more, as after a restart."""
        adapter = await self.adapter(HOME)
        await adapter.send()
        await adapter.close()
        await self.dispatch()
        for agency in READERS:
            await self.receive(agency)

    async def check(self, names: Sequence[str]) -> None:
        """These messages and no others are in each inbox exactly once, accepted, and each reader opens each of them."""
        for agency in READERS:
            adapter = await self.adapter(agency)
            slices = adapter.home.inbox.slices(limit=10_000)
            assert {one.arrival.state for one in slices} <= {State.RECEIVED}, agency
            assert len({one.arrival.root for one in slices}) == len(slices) == len(names), agency
            found: list[str] = []
            for one in slices:
                blocks = adapter.open(one.arrival.event_id, post="duty-officer", purpose="case-work")
                assert not [block.refused for block in blocks if block.refused], agency
                found += _named(blocks)
            assert sorted(found) == sorted(names), agency
            if agency == HOME:
                sent = [adapter.home.outbox.get(one.arrival.event_id) for one in slices]
                assert {kept.state for kept in sent} <= {Sent.ACCEPTED}
                assert adapter.home.outbox.unanswered() == adapter.home.outbox.pending(10) == []
            await adapter.send()
            assert not adapter.home.inbox.unreceipted()
            assert not adapter.home.inbox.unsent_receipts()
            await adapter.close()
        await self.check_records()

    async def check_records(self) -> None:
        """No life of a record author has a gap or a fork."""
        stream = await EmbeddedStream.open(self.folder / STREAM_FILE, principal=NOTARY, clock=SystemClock())
        lives: dict[tuple[Any, ...], dict[int, tuple[Digest, Digest]]] = {}
        for stored in await stream.read(RECORDS, {}, limit_bytes=1 << 30):
            said, body, _ = decode_record(stored.message.value)
            life = lives.setdefault((said.author, said.instance, said.incarnation), {})
            link = (said.previous, record_digest(body))
            assert life.setdefault(said.sequence, link) == link, "a fork"
        await stream.close()
        assert lives
        for life in lives.values():
            assert sorted(life) == list(range(len(life))), "a gap"
            before = Digest(NO_DIGEST)
            for number in range(len(life)):
                assert life[number][0] == before
                before = life[number][1]
