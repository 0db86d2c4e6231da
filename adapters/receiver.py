"""Receiving: verify, judge, keep. Each message of the stream ends in the inbox exactly once, or in quarantine there.

Keys are durable in the keystore before the transaction ends that stores the slice with its position: killed in
between, the same messages are read and the same keys are put again. The transaction spans the judging, so that two
processes of one home never judge on half of what both know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from adapters.casefiles import CaseFiles
from adapters.home import Home
from adapters.inbox_file import Arrival, Slice, State
from adapters.kept import Kept, recall, to_keep
from broker.checks import Check
from broker.clock import DAY
from broker.errors import Invalid, KeyUnavailable, Pending
from broker.keys.keystore import SeedEntry
from broker.names import AgencyId, CaseRef, Digest, EventId, Millis
from broker.pipeline import receive
from broker.receive import Judge, Judged
from broker.seal.acceptance import decode_acceptance
from broker.seal.envelope import decode_slice
from broker.seal.ground import BundleGround
from broker.seal.notice import Notice, decode_notice
from broker.seal.open import BUNDLE, Received, keep
from broker.seal.secrets import OpeningSecrets
from broker.seal.wire import NOTICE_ID, schema_id
from broker.stream.protocol import Position, Stored
from broker.stream.topics import EVENTS

UNKNOWN_EVENT = EventId(bytes(16))
BUNDLE_WAIT: Final = 7 * DAY
"""How long a slice waits for the directory under which it was accepted, in milliseconds."""
_WAITING: Final = 10_000
NOTICE: Final = "notice"
"""The type under which the inbox keeps a broker's word that it refused something."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of one message: what is stored, and, where it is valid, its memo and keys."""

    arrival: Arrival
    judged: Judged | None = None
    memo: bytes = b""
    seeds: Sequence[SeedEntry] = ()
    notice: Notice | None = None


@dataclass(slots=True)
class Receiver:
    """Takes messages of one's own topic, in the order of each partition."""

    home: Home
    ground: BundleGround
    files: CaseFiles
    secrets: OpeningSecrets
    judge: Judge
    _fresh: dict[bytes, Arrival] = field(default_factory=dict)
    """What is valid in the batch at hand, by root."""

    def take(self, batch: Sequence[Stored], topic: str) -> list[Taken]:
        """Verifies, judges and stores a batch, with the positions after it, in one transaction of the inbox.

        What another process of this agency has stored meanwhile is left out, and known to the judging of the rest.

        Raises:
            StoreError: the disk refused; nothing of the batch counts as read, read it again.
        """
        try:
            taken = self._take(batch, topic)
            self.files.trim()
        except BaseException:
            self.files.forget()
            raise
        return taken

    def _take(self, batch: Sequence[Stored], topic: str) -> list[Taken]:
        home, taken = self.home, list[Taken]()
        self._fresh.clear()
        with home.inbox.writing():
            self.files.refresh()
            positions = home.inbox.positions(topic)
            left = [stored for stored in batch if stored.offset >= positions.get(stored.partition, 0)]
            for stored in left:
                taken.append(self._one(stored.message.value))
                if taken[-1].judged is not None:
                    self._retry(taken[-1].arrival.case, taken)
            self._keep(taken, left, topic)
        for one in taken:
            self._spread(one)
        return taken

    def look_again(self) -> list[Taken]:
        """Judges what waits once more, since a new directory may be here; what waited too long for one is refused.

        Raises:
            StoreError: the disk refused; what waits, waits on.
        """
        taken = list[Taken]()
        if not self.home.inbox.pending(1):
            return taken
        self._fresh.clear()
        try:
            with self.home.inbox.writing():
                self.files.refresh()
                for one in self.home.inbox.pending(_WAITING):
                    self._judge_again(one, taken)
                self._keep(taken, (), "")
            for found in taken:
                self._spread(found)
        except BaseException:
            self.files.forget()
            raise
        return taken

    def _judge_again(self, one: Slice, taken: list[Taken]) -> None:
        if one.arrival.root in self._fresh:
            return
        found = self._one(one.arrival.slice)
        if found.arrival.state is not State.PENDING:
            taken.append(found)
            if found.judged is not None:
                self._retry(found.arrival.case, taken)
        elif found.arrival.needs == BUNDLE and self.home.clock.now() > one.received_at + BUNDLE_WAIT:
            days = BUNDLE_WAIT // DAY
            taken.append(Taken(_quarantined(one.arrival.slice, Check.BUNDLE, f"waited {days} days for {BUNDLE}")))
        elif found.arrival.needs != one.arrival.needs:
            self.home.inbox.waits(one.id, needs=found.arrival.needs)

    def _one(self, value: bytes) -> Taken:
        try:
            if schema_id(value) == NOTICE_ID:
                return self._notice(value)
            judged = receive(value, self.judge, secrets=self.secrets, state=lambda case: self.files.get(case).state)
            known = self._fresh.get(judged.received.slice.root) or self._stored(judged.received.slice.root)
            if known is not None:
                return self._again(judged.received, known)
            self._count(judged.received)
        except Pending as error:
            return Taken(_pending(value, error.needs))
        except Invalid as error:
            return Taken(_quarantined(value, error.check, str(error)))
        except KeyUnavailable as error:
            return Taken(_quarantined(value, Check.SLOT_OPEN, str(error)))
        return self._valid(judged)

    def _valid(self, judged: Judged) -> Taken:
        seeds, memo = to_keep(judged.received)
        self.files.get(judged.fact.case).add(judged.received, judged.fact)
        arrival = self._fresh[judged.received.slice.root] = _arrival(judged.received, keep(judged.received))
        return Taken(arrival, judged, memo, seeds)

    def _stored(self, root: bytes) -> Arrival | None:
        known = self.home.inbox.by_root(root)
        return known.arrival if known is not None and known.arrival.state is State.RECEIVED else None

    def _count(self, received: Received) -> None:
        header = received.slice.header
        other = self.home.inbox.casebook.count(
            header.agency,
            instance=header.instance,
            incarnation=header.incarnation,
            counter=received.content.counter,
            sequence=header.sequence,
            root=received.slice.root,
        )
        if other is not None:
            raise Invalid(Check.COUNTER, "the counter of this slot was used for another envelope")

    def _again(self, received: Received, known: Arrival) -> Taken:
        """An envelope that is here already: again in the stream it is a copy; earlier, or differently, an incident."""
        statement = received.acceptance.statement
        place = Position(EVENTS, statement.partition, statement.offset)
        if known.accepted is None or place.partition != known.accepted.partition or place < known.accepted:
            raise Invalid(Check.ACCEPTANCE_CONFLICT, "the envelope was accepted at another place before")
        if place == known.accepted and statement.appended_at != known.accepted_at:
            raise Invalid(Check.ACCEPTANCE_CONFLICT, "the envelope was accepted at another time before")
        return Taken(_arrival(received, keep(received)))

    def _retry(self, case: CaseRef, taken: list[Taken]) -> None:
        """What of this case waited, in the inbox or in this batch, and can now be judged."""
        waiting = [one.arrival.slice for one in self.home.inbox.pending() if one.arrival.case == case]
        again = True
        while again:
            again = False
            for place, one in enumerate(taken):
                if one.arrival.state is State.PENDING and one.arrival.case == case:
                    taken[place] = self._one(one.arrival.slice)
                    again |= taken[place].judged is not None
            for data in tuple(waiting):
                found = self._one(data)
                if found.arrival.state is not State.PENDING:
                    waiting.remove(data)
                    taken.append(found)
                    again |= found.judged is not None

    def _notice(self, value: bytes) -> Taken:
        notice = decode_notice(value, ground=self.ground)
        arrival = Arrival(
            event_id=notice.event_id or UNKNOWN_EVENT,
            root=notice.root or bytes(32),
            case=notice.case_ref or CaseRef(bytes(16)),
            type=NOTICE,
            variant="-",
            author=notice.agency,
            slice=value,
            accepted=Position(EVENTS, notice.partition, notice.offset),
            accepted_at=notice.at,
            state=State.QUARANTINED,
            check=notice.check,
            reason=f"the broker refused it: {notice.reason}",
        )
        return Taken(arrival, notice=notice)

    def _keep(self, taken: Sequence[Taken], batch: Sequence[Stored], topic: str) -> None:
        home, following = self.home, {}
        for stored in batch:
            following[topic, stored.partition] = stored.offset + 1
        home.keystore.put([seed for one in taken for seed in one.seeds])
        self._settle(taken)
        home.inbox.store([one.arrival for one in taken], following)
        for one in taken:
            if one.judged is not None:
                self._note(one, one.judged)

    def _spread(self, one: Taken) -> None:
        """What is stored now goes into its case file, and the outbox learns what became of its own."""
        home = self.home
        if one.judged is not None:
            header = one.judged.received.slice.header
            self._hold(header.case_ref, recall(one.arrival.slice, one.memo, home.keystore), one.judged)
            if header.agency == home.agency and one.arrival.accepted is not None:
                self._accepted(header.event_id, one.arrival)
        elif one.notice is not None and one.notice.agency == home.agency and one.notice.event_id is not None:
            self._refused(one.notice.event_id, one.notice)

    def _settle(self, taken: Sequence[Taken]) -> None:
        """What waited and now does not, makes room for what it has become."""
        waiting = {one.arrival.root: one.id for one in self.home.inbox.pending()}
        for one in taken:
            number = waiting.get(one.arrival.root)
            if number is None or one.arrival.state is State.PENDING:
                continue
            if one.arrival.state is State.RECEIVED:
                self.home.inbox.received(number, kept=one.arrival.slice)
            elif one.arrival.check is not None:
                self.home.inbox.quarantine(number, check=one.arrival.check, reason=one.arrival.reason)

    def _note(self, one: Taken, judged: Judged) -> None:
        header, casebook = judged.received.slice.header, self.home.inbox.casebook
        casebook.put_fact(header.case_ref, position=judged.fact.position, event_id=header.event_id, fact=one.memo)
        for person, alias in judged.received.content.aliases:
            casebook.put_label(header.case_ref, person, alias)

    def _hold(self, case: CaseRef, kept: Kept, judged: Judged) -> None:
        file = self.files.get(case)
        if file.kept(judged.fact.event_id) is None:
            file.hold(kept)
        file.aliases.update(self.home.inbox.casebook.labels(case))

    def _accepted(self, event: EventId, arrival: Arrival) -> None:
        """Our own came back; another instance of this agency may have sent it, or a life that was restored over."""
        if arrival.accepted is not None and self.home.outbox.holds(arrival.root):
            self.home.outbox.mark_accepted(event, arrival.accepted)

    def _refused(self, event: EventId, notice: Notice) -> None:
        if notice.root is not None and self.home.outbox.holds(notice.root):
            self.home.outbox.mark_refused(event, notice.check)


def _arrival(received: Received, value: bytes) -> Arrival:
    header, statement = received.slice.header, received.acceptance.statement
    return Arrival(
        event_id=header.event_id,
        root=received.slice.root,
        case=header.case_ref,
        type=header.type,
        variant=header.variant,
        author=header.agency,
        slice=value,
        accepted=Position(EVENTS, statement.partition, statement.offset),
        accepted_at=statement.appended_at,
    )


def _pending(value: bytes, needs: str) -> Arrival:
    got = decode_slice(value)
    header, statement = got.header, decode_acceptance(got.acceptance).statement
    return Arrival(
        header.event_id,
        got.root,
        header.case_ref,
        header.type,
        header.variant,
        header.agency,
        value,
        Position(EVENTS, statement.partition, statement.offset),
        statement.appended_at,
        State.PENDING,
        needs,
    )


def _quarantined(value: bytes, check: int, reason: str) -> Arrival:
    event, case, kind, variant, author = UNKNOWN_EVENT, CaseRef(bytes(16)), "", "-", AgencyId("")
    root: bytes = sha256(value).digest()
    accepted_at: Millis | None = None
    try:
        header = decode_slice(value)
        event, case, root = header.header.event_id, header.header.case_ref, Digest(header.root)
        kind, variant, author = header.header.type, header.header.variant, header.header.agency
    except Invalid:
        pass
    return Arrival(
        event, root, case, kind, variant, author, value, None, accepted_at, State.QUARANTINED, "", check, reason
    )
