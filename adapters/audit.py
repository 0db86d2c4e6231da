"""What an auditor reads of the audit topic and of the log, and what it concludes from all of both.

Leaves what a replay finds to ``broker.audit.fsck``, what ledgers show to ``adapters.review``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from adapters.adapter import Adapter
from adapters.inbox_file import State
from adapters.kept import Kept
from broker.audit.fsck import Fsck, Verdict
from broker.audit.notary import entry_of
from broker.clock import MINUTE
from broker.errors import ConfigError, InputError, Refused
from broker.names import AgencyId, Digest
from broker.review import Finding
from broker.seal.wire import NO_DIGEST
from broker.stream.opening import open_stream
from broker.stream.protocol import Stream
from broker.stream.topics import AUDIT, EVENTS, auditor
from broker.tlog.checkpoint import Checkpoint
from broker.tlog.compare import Comparison
from broker.tlog.note import parse_vkey
from broker.tlog.policy import NONE, Policy, parse_policy
from broker.tlog.served import Served, served

_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Believed:
    """A log, and a checkpoint of it that the policy believes; ``cosigners`` are the names of those who signed."""

    log: Served
    checkpoint: Checkpoint
    cosigners: tuple[str, ...]


def read_policy(*, key: str | None, path: Path | None) -> Policy:
    """The policy by which checkpoints are believed: that of a file, or one log's key and nobody else's.

    Raises:
        InputError: neither or both are named, or the key is none.
        ConfigError: the file is not a policy.
    """
    if (key is None) == (path is None):
        raise InputError("--log: name the log's key, --log-key, or a file, --log-policy", field="log")
    if key is not None:
        try:
            return Policy((parse_vkey(key),), {}, {}, NONE)
        except ValueError as error:
            raise InputError(f"--log-key: {error}; copy it whole, as casebridge notary init printed it") from None
    try:
        return parse_policy(Path(path or "").read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {(error.strerror or 'refused').lower()}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not a policy: {error}") from None


def believe(source: str, policy: Policy) -> Believed:
    """The newest checkpoint of the log at an address or in a folder.

    Raises:
        StoreError: it is not served.
        ConfigError: it is not believed, and why.
    """
    log = served(source)
    try:
        checkpoint, seen = policy.check(log.checkpoint())
    except ValueError as error:
        raise ConfigError(f"the log's checkpoint is not believed: {error}; nothing rests on it") from None
    return Believed(log, checkpoint, tuple(sorted({one.name for one in seen})))


@asynccontextmanager
async def audit_stream(adapter: Adapter) -> AsyncIterator[Stream]:
    """The stream, opened as an auditor.

    Raises:
        Refused: this agency is not one.
        StreamError: out of reach.
    """
    if not adapter.reviewer.at_work:
        raise Refused("only an auditor reads the audit topic; run this in the home of an auditor")
    home = adapter.home
    stream = await open_stream(
        home.config.path(home.folder, home.config.stream), principal=auditor(home.agency), clock=home.clock
    )
    try:
        yield stream
    finally:
        await stream.close()


class Outcome(NamedTuple):
    """All that was concluded: from the topic and the tree, and from the ledgers.

    ``behind`` envelopes stand on the stream that the notary has not copied: what is missing may be on its way.
    """

    messages: int
    behind: int
    believed: Believed | None
    verdicts: list[Verdict]
    findings: list[tuple[Kept, list[Finding]]]

    @property
    def clean(self) -> bool:
        """Whether everything fits."""
        return not self.verdicts and not self.findings


Shown = Callable[[int, str], Callable[[int], None]]
"""Begins a stretch of work of this length, of this name; what it gives is called with how much was done."""


async def fsck(adapter: Adapter, believed: Believed | None, *, begin: Shown) -> Outcome:
    """Replays the audit topic, compares it with the tree and with what this auditor received, and all ledgers anew.

    Raises:
        Refused: this agency is no auditor.
        StreamError: out of reach.
    """
    replay = Fsck(adapter.ground)
    tree = Comparison(believed.checkpoint, believed.log.read) if believed is not None else None
    async with audit_stream(adapter) as stream:
        tick = begin((await stream.ends(AUDIT)).get(0, 0), "records")
        following = 0
        while batch := await stream.read(AUDIT, {0: following}):
            for stored in batch:
                replay.take(stored.message.value)
                if tree is not None:
                    tree.take(entry_of(stored.message.value))
            following = batch[-1].offset + 1
            tick(len(batch))
        behind = sum((await stream.ends(EVENTS)).values()) - replay.stood
    verdicts = [*replay.finish(), *_received(adapter, replay)]
    if tree is not None:
        verdicts += [Verdict(one.place, AgencyId(""), Digest(NO_DIGEST), one.reason) for one in tree.finish()]
    compared = begin(len(adapter.home.inbox.slices(state=State.RECEIVED, limit=_BATCH)), "ledgers")
    findings = await adapter.reviewer.again(lambda: compared(1))
    return Outcome(replay.count, behind, believed, sorted(verdicts), findings)


def _received(adapter: Adapter, replay: Fsck) -> list[Verdict]:
    """What was delivered here, against what is recorded of it: a broker may deliver and record nothing."""
    found = []
    after = 0
    while batch := adapter.home.inbox.slices(state=State.RECEIVED, after=after, limit=_BATCH):
        for one in batch:
            after = one.id
            kept = adapter.files.get(one.arrival.case).kept(one.arrival.event_id)
            if kept is None or kept.slice.root != one.arrival.root:
                continue
            if kept.acceptance.statement.appended_at > adapter.home.clock.now() - MINUTE:
                continue  # its record may be on its way
            said, root = kept.acceptance.statement, kept.slice.root
            recorded = replay.statement(root)
            if recorded is None:
                reason = "delivered here, and no acceptance of it is recorded"
            elif recorded != said:
                reason = "accepted for its readers otherwise than in the record"
            else:
                continue
            found.append(Verdict(replay.count, kept.acceptance.broker, root, reason))
    return found
