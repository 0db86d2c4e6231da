"""One agency's adapter: its home, its rules and its stream, and what can be done with them.

``send`` and ``receive`` serve ``casebridge adapter run`` and single commands alike; everything durable is in the home
folder, so an adapter that is killed starts again where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from adapters.casefiles import CaseFiles
from adapters.home import Home, Rules
from adapters.inbox_file import State
from adapters.opener import Block, Opener
from adapters.outbox_file import Kept
from adapters.publisher import Publisher
from adapters.receiver import NOTICE, Receiver, Taken
from adapters.review import Reviewer
from broker.audit.record import NO_CASE, Chain, Kind, Step
from broker.errors import InputError, KeyUnavailable, Refused
from broker.names import CaseRef, Compartment, Digest, EventId
from broker.receive import Judge
from broker.seal.ground import BundleGround
from broker.seal.secrets import OpeningSecrets, SealingSecrets
from broker.seal.wire import text
from broker.stream.protocol import Message, Stream
from broker.stream.topics import EVENTS, RECORDS, in_topic

BATCH: Final = 64


@dataclass(slots=True)
class Adapter:
    """An opened adapter. ``close`` it when done; one task at a time uses it."""

    home: Home
    rules: Rules
    ground: BundleGround
    stream: Stream
    files: CaseFiles
    publisher: Publisher
    receiver: Receiver
    opener: Opener
    reviewer: Reviewer
    _settled: bool = False
    _compared: bool = False

    @classmethod
    def over(cls, home: Home, stream: Stream, rules: Rules, ground: BundleGround) -> Self:
        """An adapter over an opened home and stream."""
        files = CaseFiles(home, rules, ground)
        sealing = SealingSecrets(home.agency, home.outbox.instance, home.random)
        return cls(
            home,
            rules,
            ground,
            stream,
            files,
            Publisher(home, rules, ground, files, sealing),
            Receiver(
                home,
                ground,
                files,
                OpeningSecrets(home.ring.prekey),
                Judge(home.agency, ground, rules.table, rules.catalogue, rules.policy.decide),
            ),
            Opener(home, rules, ground, files),
            Reviewer(home, rules, ground, files),
        )

    async def send(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Sends what waits in the outbox, and the records that this agency owes; how many envelopes went out.

        Args:
            stop: asked between batches; once it says so the rest waits on.

        Raises:
            StreamError: not known to be sent; the outbox keeps it, call again.
        """
        sent = 0
        while not stop() and (waiting := self.home.outbox.pending(BATCH)):
            positions = await self.stream.publish(
                [Message(EVENTS, kept.draft.case, kept.draft.envelope, kept.draft.headers) for kept in waiting]
            )
            self.home.outbox.mark_sent(zip((kept.id for kept in waiting), positions, strict=True))
            sent += len(waiting)
        await self._send_records()
        return sent

    async def _send_records(self) -> None:
        inbox = self.home.inbox
        while self._write_records():
            pass
        while unsent := inbox.unsent_receipts(BATCH):
            await self.stream.publish([Message(RECORDS, receipt.case, receipt.record) for receipt in unsent])
            inbox.receipts_sent([receipt.id for receipt in unsent])

    def _write_records(self) -> bool:
        """A signed record for openings that stand in none yet, chained to the one before; whether there were any."""
        inbox = self.home.inbox
        with inbox.writing():
            openings = inbox.unreceipted()
            for number, opening in openings:
                arrival = inbox.get(opening.event_id).arrival
                body = b"".join((text(opening.post), text(opening.purpose), bytes((opening.compartment,))))
                step = Step(Kind.OPENED, opening.at, arrival.case, Digest(arrival.root), body)
                self._write_record(step, openings=[number])
        return bool(openings)

    def _write_record(self, step: Step, *, openings: Sequence[int] = ()) -> None:
        home = self.home
        incarnation = home.outbox.incarnation
        sequence, previous = home.inbox.next_receipt(incarnation)
        if incarnation and not sequence and step.kind is not Kind.CHAIN_OPENED:
            before = home.inbox.last_receipt()
            self._write_record(Step(Kind.CHAIN_OPENED, home.clock.now(), NO_CASE, Digest(bytes(32)), before))
            sequence, previous = home.inbox.next_receipt(incarnation)
        chain = Chain(home.agency, home.outbox.instance, incarnation, sequence=sequence, previous=previous)
        key = home.ring.signing
        (record,) = chain.write([step], key_id=key.id, sign=key.sign, random=home.random)
        home.inbox.put_receipt(
            incarnation=incarnation,
            number=sequence,
            case=step.case,
            digest=chain.previous,
            record=record,
            openings=openings,
        )

    async def receive(
        self,
        *,
        wait: float = 0.0,
        seen: Callable[[Taken], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Takes in what stands in this agency's topic, and, as an auditor, compares it; how many messages.

        Args:
            wait: seconds to wait for the first message.
            seen: called with each message when it is stored.
            stop: asked between batches; once it says so the rest is left for the next call.

        Raises:
            StreamError: the stream is out of reach; nothing is lost.
            StoreError: the disk refused; what was not stored is read again.
        """
        topic = in_topic(self.home.agency)
        count = 0
        settled, self._settled = self._settled, False
        if not settled:
            for taken in self.receiver.look_again():
                seen(taken)
        while not stop() and (
            read := await self.stream.read(topic, self.home.inbox.positions(topic), wait=wait if not count else 0.0)
        ):
            for start in range(0, len(read), BATCH):
                batch = read[start : start + BATCH]
                for taken in self.receiver.take(batch, topic):
                    seen(taken)
                count += len(batch)
                await asyncio.sleep(0)  # a signal to stop is heard between batches
                if stop():
                    break
        if not settled:
            self._settle()
        self._settled = True
        self._compared &= not count
        if not self._compared and not stop():
            await self.reviewer.review()
            self._compared = True
        return count

    def _settle(self) -> None:
        """The outbox learns what the inbox knew when this adapter, or a write to the outbox, failed."""
        after = 0
        while waiting := self.home.outbox.unanswered(after=after):
            after = waiting[-1].id
            for kept in waiting:
                self._settle_one(kept)

    def _settle_one(self, kept: Kept) -> None:
        for one in self.home.inbox.slices_of(kept.draft.event_id):
            arrival = one.arrival
            if arrival.root != kept.draft.root:
                continue
            if arrival.state is State.RECEIVED and arrival.accepted is not None:
                self.home.outbox.mark_accepted(kept.draft.event_id, arrival.accepted)
            elif arrival.type == NOTICE and arrival.check is not None:
                self.home.outbox.mark_refused(kept.draft.event_id, arrival.check)

    def open(
        self,
        event: EventId,
        *,
        post: str,
        purpose: str,
        compartments: Sequence[Compartment] = (),
        person: str | None = None,
    ) -> list[Block]:
        """Opens blocks of an event; an attempt that is refused leaves a signed record too.

        Raises:
            InputError, Refused, KeyUnavailable: see ``Opener.open``.
            StoreError: the receipt could not be kept; nothing was opened.
        """
        try:
            blocks = self.opener.open(event, post=post, purpose=purpose, compartments=compartments, person=person)
        except (InputError, Refused, KeyUnavailable):
            self._deny(event, post, purpose, compartments)
            raise
        closed = [block.compartment for block in blocks if block.refused]
        if closed:
            self._deny(event, post, purpose, closed)
        return blocks

    def _deny(self, event: EventId, post: str, purpose: str, compartments: Sequence[Compartment]) -> None:
        found = self.home.inbox.slices_of(event)
        case, root = (found[0].arrival.case, found[0].arrival.root) if found else (NO_CASE, bytes(32))
        body = b"".join((text(post), text(purpose), event, *(bytes((one,)) for one in compartments)))
        with self.home.inbox.writing():
            self._write_record(Step(Kind.DENIED, self.home.clock.now(), case, Digest(root), body))

    def accepted(self, case: CaseRef, root: Digest) -> bool:
        """Whether this agency's own envelope has come back accepted."""
        own = self.home.inbox.by_root(root)
        return own is not None and own.arrival.case == case

    async def close(self) -> None:
        """Let go of stream and home."""
        await self.stream.close()
        self.home.close()
