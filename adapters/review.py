"""The auditor's look at what arrives: ledgers against envelopes, rules and roles (``broker.review``).

Every event is compared once, when it has arrived; what was found is durable in the inbox and never hides the event.
Killed in between, or with the stream out of reach, an adapter goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from adapters.casefiles import CaseFiles
from adapters.home import Home, Rules
from adapters.inbox_file import Slice
from adapters.kept import Kept, recall
from broker.audit.knowledge import Known
from broker.checks import Check
from broker.errors import Invalid, KeyUnavailable
from broker.names import CaseRef, Digest
from broker.receive import recall_fact
from broker.review import Finding, Review, review_parts, review_rows, told
from broker.seal.envelope import Envelope, decode_envelope
from broker.seal.ground import Ground
from broker.seal.seal import LEDGER_LABEL
from broker.stream.opening import open_stream
from broker.stream.protocol import Stream
from broker.stream.topics import EVENTS, auditor

_ONE: Final = 1
"""Bytes to read: a stream gives the first message whatever its size, and then no more."""


@dataclass(slots=True)
class Reviewer:
    """What an auditor's adapter makes of the ledgers that it is given."""

    home: Home
    rules: Rules
    ground: Ground
    files: CaseFiles

    @property
    def at_work(self) -> bool:
        """Whether this agency is an auditor now; all others review nothing."""
        return self.home.agency in self.ground.auditors(self.home.clock.now())

    async def review(self) -> None:
        """Compares what was not compared yet, case by case, in the order of the stream.

        What cannot be opened any more, since its key was erased, is left.

        Raises:
            StreamError: the events are out of reach; nothing is lost, call again.
            StoreError: the disk refused; likewise.
        """
        if not self.at_work:
            return
        events: Stream | None = None
        try:
            for case in self.home.inbox.findings.cases():
                new = {one.arrival.root: one for one in self.home.inbox.findings.unreviewed(case)}
                views = self._kept(case, new)
                if not any(view.slice.root in new for view in views):
                    continue
                events = events or await self._open()
                await self._case(Known(case, self.rules.table, self.ground), views, new, events)
        finally:
            if events is not None:
                await events.close()

    async def again(self, seen: Callable[[], None] = lambda: None) -> list[tuple[Kept, list[Finding]]]:
        """Compares everything that is here anew, whatever was found before, and notes nothing; events with findings.

        Args:
            seen: called when an event was compared.

        Raises:
            StreamError: the events are out of reach.
        """
        found: list[tuple[Kept, list[Finding]]] = []
        events = await self._open()
        try:
            for case in self.home.inbox.cases():
                known = Known(case, self.rules.table, self.ground)
                for view in self._kept(case, {}):
                    with suppress(KeyUnavailable):
                        found.append((view, await self._compare(view, known, events, new=True)))
                    seen()
        finally:
            await events.close()
        return [one for one in found if one[1]]

    async def _open(self) -> Stream:
        path = self.home.config.path(self.home.folder, self.home.config.stream)
        return await open_stream(path, principal=auditor(self.home.agency), clock=self.home.clock)

    async def _case(self, known: Known, views: Iterable[Kept], new: Mapping[bytes, Slice], events: Stream) -> None:
        for view in views:
            root = view.slice.root
            try:
                found = await self._compare(view, known, events, new=root in new)
            except KeyUnavailable:
                continue
            if root in new:
                self.home.inbox.findings.reviewed(new[root], found)

    async def _compare(self, view: Kept, known: Known, events: Stream, *, new: bool) -> list[Finding]:
        """Takes an event in, and compares it where it is new."""
        if not _has_ledger(view):
            return []
        found = self._rows(view, known, new=new)
        return [*found, *await _parts(view, events)] if new else found

    def _kept(self, case: CaseRef, new: Mapping[bytes, Slice]) -> list[Kept]:
        """What is here of a case, in the order of the stream; a second envelope with the id of an event too."""
        found = {one.slice.root: one for one in self.files.get(case).all_kept()}
        memos = self.home.inbox.casebook.memos(case)
        for root, one in new.items():
            place = one.arrival.accepted
            memo = None if place is None else memos.get((one.arrival.event_id, place.offset))
            if memo is not None and root not in found:
                with suppress(KeyUnavailable):
                    found[Digest(root)] = recall(one.arrival.slice, memo, self.home.keystore)
        return sorted(found.values(), key=lambda view: view.acceptance.statement.offset)

    def _rows(self, view: Kept, known: Known, *, new: bool) -> list[Finding]:
        event = told(view, recall_fact(view, self.home.agency, self.ground))
        known.add(event)
        review = Review(self.rules.catalogue, self.rules.policy.decide, known)
        return review_rows(view, event, review) if new else []


async def _parts(view: Kept, events: Stream) -> list[Finding]:
    """Checks 50 and 51, with the envelope as it stands in the stream."""
    envelope = await envelope_of(view, events)
    if envelope is None:
        author = view.slice.header.agency
        return [Finding(Check.LEDGER_ROWS, author, "the envelope does not stand where it was accepted")]
    return review_parts(view, envelope)


def _has_ledger(view: Kept) -> bool:
    return any(entry.label == LEDGER_LABEL for entry in view.row.entries)


async def envelope_of(view: Kept, stream: Stream) -> Envelope | None:
    """The envelope at the place that the acceptance of a slice names; None where another stands there.

    Raises:
        Refused: the stream was opened for somebody who may not read the events.
        StreamError: out of reach.
    """
    statement = view.acceptance.statement
    place = {statement.partition: statement.offset}
    stored = await stream.read(EVENTS, place, partitions=[statement.partition], limit_bytes=_ONE)
    if not stored or stored[0].offset != statement.offset:
        return None
    try:
        envelope = decode_envelope(stored[0].message.value)
    except Invalid:
        return None
    return envelope if envelope.root == view.slice.root else None
