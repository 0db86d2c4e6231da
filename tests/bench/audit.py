"""The audit: entries per second through the notary and through fsck, and a trace out of two million entries."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.adapter import Adapter
from adapters.audit import Believed
from adapters.audit_file import AuditFile, Kept, kept_of
from adapters.tracing import as_values, tell
from broker.audit.fsck import Fsck
from broker.audit.notary import Notary, decode_audit_record, entry_of
from broker.clock import SystemClock
from broker.names import CaseRef, Millis
from broker.stream.protocol import Message, Stored, Stream
from broker.stream.topics import AUDIT, BROKER, NOTARY, RECORDS
from broker.tlog.checkpoint import Checkpoint
from broker.tlog.compare import Comparison
from broker.tlog.log import Log
from broker.tlog.note import NoteSigner
from broker.tlog.served import served
from tests.story.small_exchange import AUDITOR, HOME, OTHER, World, alert, world

EVENTS: Final = 200
COPIED: Final = 20_000
ROUNDS: Final = 5
_FILLERS: Final = 100_000
"""Cases to which the entries beside the traced case belong."""


@dataclass(frozen=True)
class Day:
    """An exchange in which one case has 200 events, each opened by a reader, and what a notary wrote of it."""

    world: World
    case: CaseRef
    folder: Path
    messages: Sequence[bytes]

    @property
    def auditor(self) -> Adapter:
        """The auditor's adapter."""
        return self.world.adapter(AUDITOR)


@asynccontextmanager
async def day(folder: Path, signers: Sequence[NoteSigner]) -> AsyncIterator[Day]:
    """Such an exchange, made for real."""
    async with world(folder) as made:
        first = made.publish(HOME, alert())
        await made.settle()
        more = alert(case=first.case.hex(), mandates=[])
        events = [first, *[made.publish(HOME, more) for _ in range(EVENTS - 1)]]
        await made.settle()
        reader = made.adapter(OTHER)
        for one in events:
            reader.open(one.event_id, post="desk", purpose="case-work")
        await reader.send()
        stream = await made.exchange.open_stream(NOTARY)
        log = Log.open(folder / "log", signers=signers, clock=made.clock)
        log.publish((await Notary(stream, log).settle())[-1])
        messages = [stored.message.value for stored in await _all(stream)]
        log.close()
        await stream.close()
        yield Day(made, first.case, folder, messages)


async def _all(stream: Stream) -> list[Stored]:
    found: list[Stored] = []
    while batch := await stream.read(AUDIT, {0: len(found)}):
        found += batch
    return found


async def notarized(made: Day, signers: Sequence[NoteSigner]) -> list[float]:
    """Entries per second of each of several days through a new notary: read, copied, read back, in the tree."""
    records = [one.body for one in map(decode_audit_record, made.messages) if one.kind == 1]
    records = (records * (COPIED // len(records) + 1))[:COPIED]
    sender = await made.world.exchange.open_stream(BROKER)
    stream = await made.world.exchange.open_stream(NOTARY)
    log = Log.open(made.folder / "second", signers=signers, clock=SystemClock())
    notary = Notary(stream, log)
    await notary.settle()
    found = []
    for start in range(0, COPIED, COPIED // ROUNDS):
        batch = records[start : start + COPIED // ROUNDS]
        await sender.publish([Message(RECORDS, i.to_bytes(16, "big"), one) for i, one in enumerate(batch)])
        began = time.perf_counter()
        await notary.settle()
        found.append(len(batch) / (time.perf_counter() - began))
    log.close()
    await sender.close()
    await stream.close()
    return sorted(found)


def replayed(made: Day) -> list[float]:
    """Entries per second through fsck: every signature, every chain, the tree made anew and compared with its files."""
    log = served(str(made.folder / "log"))
    checkpoint = Checkpoint("", len(made.messages), b"")
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        fsck, compared = Fsck(made.auditor.ground), Comparison(checkpoint, log.read)
        for message in made.messages:
            fsck.take(message)
            compared.take(entry_of(message))
        assert fsck.finish() == []
        compared.finish()
        found.append(len(made.messages) / (time.perf_counter() - began))
    return sorted(found)


def spread(made: Day, size: int) -> dict[int, Kept]:
    """The case's messages, spread over a log of this size."""
    step = size // len(made.messages)
    return {number * step: kept_of(number * step, message) for number, message in enumerate(made.messages)}


def traced(made: Day, own: Mapping[int, Kept], folder: Path, size: int, root: bytes) -> list[float]:
    """Milliseconds of a trace of the case out of that log: case, ledgers, records, signatures and proofs."""
    file = AuditFile.open(made.auditor.home.folder)
    file.put(own.get(place) or _filler(place) for place in range(size))
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        made.auditor.files.forget()
        believed = Believed(served(str(folder)), Checkpoint("log.bench/one", size, root), ())
        told = tell(made.auditor, made.auditor.files.get(made.case), file, believed)
        said = as_values(told, believed)
        found.append((time.perf_counter() - began) * 1e3)
        assert said["sound"]
        assert len(said["lines"]) >= EVENTS * 4
        assert all(line["proof"] == "proved" for line in said["lines"])
    file.close()
    return sorted(found)


def _filler(place: int) -> Kept:
    case = CaseRef((place % _FILLERS).to_bytes(16, "big"))
    return Kept(place, 1, case, b"", place.to_bytes(32, "big"), Millis(0), place.to_bytes(32, "big"), b"")
