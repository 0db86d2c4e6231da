"""The auditor's look at a case: ledgers against envelopes, rules and roles (``broker.review``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from adapters.casefile import CaseFile
from adapters.home import Rules
from adapters.kept import Kept
from broker.checks import Check
from broker.errors import Invalid, KeyUnavailable
from broker.names import EventId
from broker.review import Finding, Review, readers, review_parts, review_rows
from broker.seal.envelope import Envelope, decode_envelope
from broker.seal.ground import Ground
from broker.seal.seal import LEDGER_LABEL
from broker.stream.protocol import Stream
from broker.stream.topics import EVENTS

Findings = Mapping[EventId, list[Finding]]
_ONE: Final = 1
"""Bytes to read: a stream gives the first message whatever its size, and then no more."""


@dataclass(frozen=True, slots=True)
class Reviewer:
    """What an auditor's adapter, or an author's, finds in the ledgers that it can open."""

    rules: Rules
    ground: Ground

    def ledgers(self, file: CaseFile) -> Findings:
        """Checks 52 to 54 of every event of a case whose ledger is here; the list is empty where all fits."""
        kept = list(_with_ledger(file))
        told = {one.slice.header.event_id: readers(one) for one in kept if _legible(one)}
        review = Review(self.ground, self.rules.table, self.rules.catalogue, self.rules.policy.decide, file.state, told)
        return {
            one.slice.header.event_id: review_rows(one, file.state.facts[one.slice.header.event_id], review)
            for one in kept
        }

    async def envelopes(self, file: CaseFile, stream: Stream) -> Findings:
        """Checks 50 and 51, with the envelopes as they stand in the stream.

        Raises:
            Refused: the stream was opened for somebody who may not read the events.
            StreamError: out of reach.
        """
        found = {}
        for one in _with_ledger(file):
            envelope = await _envelope(one, stream)
            if envelope is None:
                gone = Finding(Check.LEDGER_ROWS, one.slice.header.agency, "the envelope does not stand where it was")
                found[one.slice.header.event_id] = [gone]
            else:
                found[one.slice.header.event_id] = review_parts(one, envelope)
        return found


def _with_ledger(file: CaseFile) -> Iterable[Kept]:
    return [one for one in file.all_kept() if any(entry.label == LEDGER_LABEL for entry in one.row.entries)]


def _legible(one: Kept) -> bool:
    try:
        readers(one)
    except (Invalid, KeyUnavailable):
        return False
    return True


async def _envelope(one: Kept, stream: Stream) -> Envelope | None:
    """The envelope at the place that the acceptance names; None where another stands there."""
    statement = one.acceptance.statement
    place = {statement.partition: statement.offset}
    stored = await stream.read(EVENTS, place, partitions=[statement.partition], limit_bytes=_ONE)
    if not stored or stored[0].offset != statement.offset:
        return None
    try:
        envelope = decode_envelope(stored[0].message.value)
    except Invalid:
        return None
    return envelope if envelope.root == one.slice.root else None
