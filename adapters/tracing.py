"""A case as the records tell it: who sent, who could read, who opened what and why, what was refused; each line proved.

A line rests on a record of the audit topic: its author's signature is verified, and its place in the tree against a
checkpoint. What does not verify is told beside it. Ledgers say who could read, and on what ground.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from adapters.adapter import Adapter
from adapters.audit import Believed
from adapters.audit_file import ENVELOPE, RECORD, AuditFile, denied
from adapters.audit_file import Kept as Said
from adapters.casefile import CaseFile
from adapters.kept import Kept
from adapters.opener import describe
from broker.audit.fsck import check_record
from broker.audit.record import Kind, Record
from broker.authority.model import Fact
from broker.checks import Check
from broker.clock import MINUTE, ist, rfc3339
from broker.errors import Invalid, KeyUnavailable, StoreError
from broker.names import AgencyId, Compartment, EventId, Millis, PersonRef
from broker.receive import CATALOGUED
from broker.seal.acceptance import decode_statement
from broker.seal.check import Verified
from broker.seal.ledger import ledger
from broker.seal.slot import Row
from broker.seal.wire import Cursor
from broker.stream.protocol import Stream
from broker.stream.topics import AUDIT
from broker.tlog import tree
from broker.tlog.tiles import TileNodes

PROVED: Final = "proved"
UNCHECKED: Final = "no log named"
WAITS: Final = "newer than the checkpoint"
NO_RECORD: Final = "-"
_NO_ANSWERS: Final = frozenset({"ack", "access.grant", "access.withdraw"})
"""They name an event and do not answer it."""
UNPROVED: Final = "the log does not prove this record"


@dataclass(slots=True)
class Line:
    """One line. ``place`` is that of its record in the tree, None where none stands behind it; ``fault`` is what does
    not verify."""

    at: Millis
    what: str
    event: EventId | None
    agency: AgencyId
    words: str = ""
    post: str = ""
    purpose: str = ""
    compartments: tuple[str, ...] = ()
    persons: tuple[str, ...] = ()
    ground: str = ""
    place: int | None = None
    proof: str = NO_RECORD
    fault: str = ""


class Reading(NamedTuple):
    """One block that a reader was given: an entry of the ledger."""

    agency: AgencyId
    compartment: str
    person: str
    ground: str


@dataclass(slots=True)
class Told:
    """What is told of a case: lines in the order of time, and for each event who could read what."""

    lines: list[Line] = field(default_factory=list)
    readings: dict[EventId, list[Reading]] = field(default_factory=dict)
    notarized: bool = True

    def only(self, *, event: EventId | None, compartment: str | None, person: str | None) -> Told:
        """What is left of an event, a compartment or a person; of the latter two, readings and attempts alone."""

        def fits(compartments: Sequence[str], persons: Sequence[str]) -> bool:
            mine = compartment is None or compartment in compartments
            return mine and (person is None or not persons or person in persons)

        chosen = compartment is not None or person is not None
        lines = [
            line
            for line in self.lines
            if event in (None, line.event)
            and (not chosen or (line.compartments and fits(line.compartments, line.persons)))
        ]
        readings = {
            one: [each for each in all_ if fits((each.compartment,), () if each.person == "-" else (each.person,))]
            for one, all_ in self.readings.items()
            if event in (None, one)
        }
        return Told(lines, readings, self.notarized)

    @property
    def faults(self) -> list[Line]:
        """The lines of which something does not verify."""
        return [line for line in self.lines if line.fault]


async def follow(stream: Stream, file: AuditFile, tick: Callable[[int], None] = lambda _: None) -> None:
    """Takes in what is new in the audit topic.

    Raises:
        StreamError: out of reach; what was read is kept.
        StoreError: the disk refused.
    """
    while batch := await stream.read(AUDIT, {0: file.next}):
        file.add(batch)
        tick(len(batch))


def tell(adapter: Adapter, case: CaseFile, said: AuditFile, believed: Believed | None) -> Told:
    """The case from its records, its ledgers and this auditor's slices.

    Raises:
        StoreError: the audit file cannot be read.
    """
    return _Teller(adapter, case, believed).tell(said)


def names(case: CaseFile) -> dict[PersonRef, str]:
    """What persons are called: as this agency was told, else ``P-1``, ``P-2`` … in the order in which the case names
    them first; an auditor is told no names."""
    facts = sorted(case.state.facts.values(), key=lambda fact: fact.position)
    order = dict.fromkeys(person for fact in facts for person in fact.persons)
    return {person: f"P-{number}" for number, person in enumerate(order, 1)} | dict(case.aliases)


class _Teller:
    """One telling."""

    def __init__(self, adapter: Adapter, case: CaseFile, believed: Believed | None) -> None:
        self._adapter, self._case, self._believed = adapter, case, believed
        self._now = adapter.home.clock.now()
        self._verified = Verified()
        self._nodes = TileNodes(believed.checkpoint.size, believed.log.read) if believed is not None else None
        self._kept = {bytes(one.slice.root): one for one in case.all_kept()}
        self._rows: dict[bytes, Sequence[Row]] = {root: _rows(kept) for root, kept in self._kept.items()}
        self._seen: dict[bytes, set[Kind]] = {}
        self._told = Told()
        self._names = names(case)

    def tell(self, said: AuditFile) -> Told:
        told = self._told
        told.notarized = said.count > 0
        for one in said.of_case(self._case.case, self._case.state.facts):
            line = self._line(one)
            if line is not None:
                line.place = one.place
                line.proof, fault = self._proof(one)
                line.fault = line.fault or fault
                told.lines.append(line)
        for fact in self._case.state.facts.values():
            self._event(fact)
        told.lines.sort(key=lambda line: (line.at, line.what != "sent", line.place is None, line.place or 0))
        return told

    def _proof(self, one: Said) -> tuple[str, str]:
        """What is known of a message's place in the tree, and what does not verify of that."""
        if self._believed is None or self._nodes is None:
            return UNCHECKED, ""
        size, root = self._believed.checkpoint.size, self._believed.checkpoint.root
        if one.place >= size:
            return WAITS, ""
        try:
            tree.verify_inclusion(one.leaf, one.place, size, tree.inclusion(one.place, size, self._nodes), root)
        except (ValueError, StoreError):
            return "NOT PROVED", UNPROVED
        return PROVED, ""

    def _line(self, one: Said) -> Line | None:
        if one.kind == ENVELOPE:
            return self._sent(one)
        if one.kind != RECORD:
            return None
        try:
            record, body, signed = one.record
        except (Invalid, ValueError):
            return Line(one.appended_at, "unreadable", None, AgencyId(""), fault="the record cannot be read")
        self._seen.setdefault(record.root, set()).add(record.kind)
        kept = self._kept.get(record.root)
        event = kept.slice.header.event_id if kept is not None else None
        line = Line(record.at, record.kind.name.lower().replace("_", " "), event, record.author)
        try:
            check_record(record, body, signed, ground=self._adapter.ground, at=one.appended_at, verified=self._verified)
            self._meaning(record, line, kept)
        except (Invalid, ValueError) as error:
            line.fault = f"the record does not verify: {error}"
        return line

    def _sent(self, one: Said) -> Line:
        kept = self._kept.get(one.root)
        if kept is None:
            return Line(one.appended_at, "refused", EventId(one.event_id), AgencyId(""), "an envelope not accepted")
        header = kept.slice.header
        self._seen.setdefault(one.root, set()).add(Kind.CHAIN_OPENED)  # stands for the envelope itself
        fact = self._case.state.facts.get(header.event_id)
        roles = "+".join(sorted({role.label for role in fact.sender_roles})) if fact is not None else ""
        kind = header.type if header.variant == "-" else f"{header.type} ({header.variant})"
        words = f"{kind}, as {roles or 'agency'}, under bundle {header.bundle.hex()[:16]}"
        return Line(header.sealed_at, "sent", header.event_id, header.agency, words)

    def _meaning(self, record: Record, line: Line, kept: Kept | None) -> None:
        cursor = Cursor(record.body)
        match record.kind:
            case Kind.ACCEPTED:
                said = decode_statement(record.body)
                line.words = f"partition {said.partition}, offset {said.offset}"
                if kept is not None and kept.acceptance.statement != said:
                    line.fault = "the acceptance in this auditor's slice is another one"
            case Kind.DELIVERED:
                readers = set(_texts(cursor, len(record.body)))
                line.words = "to " + ", ".join(sorted(readers))
                missing = {row.reader for row in self._rows.get(record.root, ())} - readers
                if missing:
                    line.fault = "not delivered to " + ", ".join(sorted(missing))
            case Kind.QUARANTINED:
                line.what, line.words = "refused", f"check {int.from_bytes(record.body, 'big')}"
            case Kind.OPENED:
                line.post, line.purpose = _plain(cursor.text()), _plain(cursor.text())
                self._opened(line, Compartment(cursor.u8()), self._rows.get(record.root, ()))
            case Kind.DENIED:
                line.what = "refused"
                post, purpose, line.event, numbers = denied(record.body)
                line.post, line.purpose = _plain(post), _plain(purpose)
                line.compartments = tuple(Compartment(one).label for one in numbers)
            case _:
                pass

    def _opened(self, line: Line, compartment: Compartment, rows: Sequence[Row]) -> None:
        """Of whom, and on what ground: by the ledger, or by the grant that showed the block."""
        line.compartments = (compartment.label,)
        entries = [
            entry
            for row in rows
            if row.reader == line.agency
            for entry in row.entries
            if entry.label.compartment is compartment
        ]
        if entries:
            line.persons = tuple(sorted({self._name(entry.label.person) for entry in entries}))
            line.ground = "; ".join(sorted({describe(entry) for entry in entries}))
            return
        grant = None if line.event is None else self._case.state.grants.get(line.event)
        if grant is not None and grant.agency == line.agency and compartment in grant.compartments:
            line.persons = (self._name(grant.person),)
            line.ground = f"grant {grant.id.hex()}, of earlier messages"
        else:
            line.fault = "opened what the ledger does not give it"

    def _name(self, person: PersonRef | None) -> str:
        return "-" if person is None else self._names.get(person, "?")

    def _event(self, fact: Fact) -> None:
        """Who could read an event; what is overdue or missing of it."""
        kept = self._case.kept(fact.event_id)
        if kept is None:
            return
        root = bytes(kept.slice.root)
        self._told.readings[fact.event_id] = [
            Reading(row.reader, entry.label.compartment.label, self._name(entry.label.person), describe(entry))
            for row in self._rows[root]
            for entry in row.entries
            if entry.label.compartment < CATALOGUED
        ]
        reply_by = kept.slice.header.reply_by
        answered = any(
            fact.event_id in other.references and other.author != fact.author and other.type not in _NO_ANSWERS
            for other in self._case.state.facts.values()
        )
        if reply_by is not None and reply_by < self._now and not answered:
            words = f"an answer was asked for by {ist(reply_by)}, and none is here"
            self._told.lines.append(Line(reply_by, "overdue", fact.event_id, fact.author, words))
        self._withdrawn(fact)
        if self._told.notarized and fact.accepted_at < self._now - MINUTE:
            self._missing(fact, kept, self._seen.get(root, set()))

    def _withdrawn(self, fact: Fact) -> None:
        """What had been opened on a grant before it was withdrawn: that cannot be taken back."""
        grant = self._case.state.grants.get(EventId(fact.control.get("withdraw.grant", b"")))
        if grant is None:
            return
        opened = [
            f"{line.compartments[0]} of {' or '.join(line.persons)} at {ist(line.at)}"
            for line in self._told.lines
            if line.what == "opened" and grant.id.hex() in line.ground and line.at <= fact.accepted_at
        ]
        before = ", ".join(opened) or "nothing"
        words = f"the grant {grant.id.hex()} of {grant.agency}; opened on it before: {before}"
        self._told.lines.append(Line(fact.accepted_at, "withdrawn", fact.event_id, fact.author, words))

    def _missing(self, fact: Fact, kept: Kept, seen: set[Kind]) -> None:
        for kind, what in (
            (Kind.CHAIN_OPENED, "the envelope was accepted, and the notary never saw it"),
            (Kind.ACCEPTED, "no acceptance of it is recorded"),
            (Kind.DELIVERED, "no delivery of it is recorded"),
        ):
            if kind not in seen:
                line = Line(fact.accepted_at, "missing", fact.event_id, kept.acceptance.broker, fault=what)
                self._told.lines.append(line)


def _rows(kept: Kept) -> Sequence[Row]:
    """The ledger; nothing where it cannot be read, which the review tells."""
    try:
        return [row for row, _ in ledger(kept)]
    except (Invalid, KeyUnavailable):
        return ()


def _texts(cursor: Cursor, end: int) -> Iterator[str]:
    while cursor.at < end:
        yield _plain(cursor.text())


def _plain(text: str) -> str:
    """A text of a record, as it may be shown on a terminal.

    Raises:
        Invalid: check WIRE: it holds what is no text.
    """
    if not text.isprintable():
        raise Invalid(Check.WIRE, "it holds characters that no code and no name has")
    return text


def as_values(told: Told, believed: Believed | None) -> dict[str, Any]:
    """What was told, as JSON values; ``sound`` where everything verifies."""
    checkpoint = believed and believed.checkpoint
    return {
        "sound": not told.faults,
        "notarized": told.notarized,
        "log": checkpoint and {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()},
        "lines": [
            {
                "at": rfc3339(line.at),
                "what": line.what,
                "event": str(UUID(bytes=line.event)) if line.event else None,
                "agency": line.agency or None,
                "words": line.words,
                "post": line.post or None,
                "purpose": line.purpose or None,
                "compartments": list(line.compartments),
                "persons": list(line.persons),
                "ground": line.ground or None,
                "entry": line.place,
                "proof": line.proof,
                "fault": line.fault or None,
            }
            for line in told.lines
        ],
        "couldRead": {
            str(UUID(bytes=event)): [one._asdict() for one in readings] for event, readings in told.readings.items()
        },
    }
