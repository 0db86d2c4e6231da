"""What an auditor concludes from the disclosure ledger of an event (``docs/spec/envelope.md`` §12, checks 50 to 54).

A finding is no verdict: an accepted envelope stays valid, its blocks stay with those who have them. It names the
agency to be asked. ``review_rows`` needs what an auditor receives of every event; ``review_parts`` needs the envelope
too, to see that the ledger tells the truth about it. Whatever an author wrote into its ledger ends in findings, never
in an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from broker.audit.knowledge import Known, Told
from broker.authority import basis
from broker.authority import roles as rules
from broker.authority.basis import Decide, Setting
from broker.authority.model import Entry, Fact, Held
from broker.checks import Check
from broker.errors import InputError, Invalid
from broker.event.catalogue import Catalogue
from broker.names import AgencyId, Basis, Compartment
from broker.receive import entry_of, setting_of
from broker.seal.envelope import Envelope
from broker.seal.ledger import ledger
from broker.seal.open import View
from broker.seal.parts import PartKind
from broker.seal.seal import LEDGER_LABEL
from broker.seal.slot import Row, SlotForm, read_slot
from broker.trust.directory import Agency

"""Controls that carry old blocks to whom they grant them."""


class Finding(NamedTuple):
    """One thing that does not fit: the number of the check, the agency that it is about (the author where none is
    named), and why, in one plain sentence."""

    check: Check
    agency: AgencyId
    reason: str


@dataclass(frozen=True, slots=True)
class Review:
    """What an auditor judges by: the rules, and the case up to and with the event at hand."""

    catalogue: Catalogue
    decide: Decide
    known: Known


def told(view: View, fact: Fact) -> Told:
    """An event as its ledger shows it; without rows where the ledger cannot be read.

    Raises:
        KeyUnavailable: the viewer is neither author nor auditor, or erased its key.
    """
    try:
        rows = [row for row, _ in ledger(view)]
    except Invalid:
        rows = []
    header, credentials = view.slice.header, view.credentials
    return Told(fact, header.sealed_at, header.seen, credentials.claims, credentials.case_salt, rows)


def review_rows(view: View, event: Told, review: Review) -> list[Finding]:
    """Checks 52 to 54 from the ledger alone; ``review.known`` has the event already.

    Raises:
        KeyUnavailable: as ``told``.
    """
    author = event.fact.author
    try:
        ledger(view)
    except Invalid as error:
        return [Finding(Check.LEDGER_ROWS, author, f"the ledger cannot be read: {error}")]
    found = list(_labels(event.rows, author))
    known = review.known
    setting = setting_of(view, event.fact, review.catalogue, known.table, known.state)
    for row in event.rows:
        found += _wider(row, setting, event.fact, review)
    has_row = {row.reader for row in event.rows}
    found += [
        Finding(Check.MUST_ADDRESS, agency.id, f"{agency.id} must be addressed as {role.label} and is not")
        for role, agency in known.must_address(event)
        if agency.id not in has_row
    ]
    return found


def review_parts(view: View, envelope: Envelope) -> list[Finding]:
    """Checks 50 and 51: what the ledger says against the envelope that it stands in.

    Raises:
        InputError: the envelope is another one.
        KeyUnavailable: the viewer is neither author nor auditor.
    """
    if envelope.root != view.slice.root:
        raise InputError("the envelope is not the one that this slice was cut from")
    author = envelope.header.agency
    try:
        rows = ledger(view)
    except Invalid as error:
        return [Finding(Check.LEDGER_ROWS, author, str(error))]
    slots = {slot.reader: slot for slot in _slots(envelope)}
    found = list(_differing(rows, slots, author))
    blocks = {index for index, part in enumerate(envelope.parts, 1) if part.kind == PartKind.BLOCK}
    listed = {entry.part for row, _ in rows for entry in row.entries if entry.label != LEDGER_LABEL}
    if blocks - listed:
        found.append(Finding(Check.LEDGER_BLOCKS, author, f"{len(blocks - listed)} blocks stand in no row"))
    if listed - blocks:
        found.append(Finding(Check.LEDGER_BLOCKS, author, f"{len(listed - blocks)} parts of the rows are no blocks"))
    return found


def _slots(envelope: Envelope) -> list[SlotForm]:
    return [read_slot(part.body) for part in envelope.parts if part.kind == PartKind.SLOT]


def _differing(
    rows: Sequence[tuple[Row, bytes]], slots: Mapping[AgencyId, SlotForm], author: AgencyId
) -> list[Finding]:
    named = [row.reader for row, _ in rows]
    found = [
        Finding(Check.LEDGER_ROWS, author, f"{reader} has a slot and no row")
        for reader in sorted(slots.keys() - set(named))
    ]
    found += [
        Finding(Check.LEDGER_ROWS, author, f"{reader} has more than one row")
        for reader in sorted(slots)
        if named.count(reader) > 1
    ]
    if named != sorted(named):
        found.append(Finding(Check.LEDGER_ROWS, author, "the rows are not in the order of the readers' ids"))
    for row, digest in rows:
        slot = slots.get(row.reader)
        if slot is None:  # its name is whatever the author wrote, so it is not repeated
            found.append(Finding(Check.LEDGER_ROWS, author, "a row is for a reader that has no slot"))
        elif slot.row_digest != digest:
            found.append(Finding(Check.LEDGER_ROWS, author, f"the slot of {row.reader} shows another row"))
        elif sorted(entry.part for entry in row.entries) != list(slot.parts):
            found.append(Finding(Check.LEDGER_ROWS, author, f"the slot of {row.reader} lists other parts than its row"))
    return found


def _labels(rows: Sequence[Row], author: AgencyId) -> list[Finding]:
    """Check 52: a label is one part for all, and a part one label."""
    pairs = {(entry.label, entry.part) for row in rows for entry in row.entries}
    labels, parts = {label for label, _ in pairs}, {part for _, part in pairs}
    found = []
    if len(labels) != len(pairs):
        found.append(Finding(Check.LEDGER_LABELS, author, "one compartment and person stands in several blocks"))
    if len(parts) != len(pairs):
        found.append(Finding(Check.LEDGER_LABELS, author, "one block stands for several compartments or persons"))
    if any(len({entry.label for entry in row.entries}) != len(row.entries) for row in rows):
        found.append(Finding(Check.LEDGER_LABELS, author, "a row names one block twice"))
    return found


def _wider(row: Row, setting: Setting, fact: Fact, review: Review) -> list[Finding]:
    """Check 54 for one reader: every entry is permitted on the ground that it states.

    A mandate that the row cites may be unknown to the auditor. The reader has verified it; here its digest stands.
    """
    reader = review.known.ground.directory(fact.accepted_at).find(row.reader)
    if reader is None:
        return [Finding(Check.OVER_SHARED, fact.author, "a row is for an agency that the directory does not list")]
    found = []
    for entry in map(entry_of, row.entries):
        try:
            _check_entry(entry, reader, row.roles, setting, fact, review)
        except Invalid as error:
            what = entry.block[0].label
            found.append(Finding(Check.OVER_SHARED, row.reader, f"{what} is given too widely: {error}"))
    return found


def _check_entry(
    entry: Entry, reader: Agency, roles: Sequence[Held], setting: Setting, fact: Fact, review: Review
) -> None:
    known = review.known
    if entry.basis is Basis.ROLE:
        mine = [held for held in roles if _stated(held, entry) and _holds(held, reader, fact, known)]
        if not mine:
            raise Invalid(Check.ROLE, "the reader does not hold the role stated")
        basis.check_rule(entry, mine, reader, setting, review.decide)
        return
    if entry.block[0] is Compartment.DISCLOSURE and reader.id != fact.author:
        grant = known.state.grants.get(fact.event_id)
        if setting.control not in basis.GIVING or (grant is not None and grant.agency != reader.id):
            raise Invalid(Check.GRANT, "old blocks are shown to an agency to which this event grants nothing")
    basis.check_basis(
        entry,
        reader=reader,
        roles=roles,
        given=(),
        setting=setting,
        grants={one.id: one for one in known.state.live_grants(reader.id, fact.accepted_at, fact.position)},
        decide=review.decide,
        accepted_at=fact.accepted_at,
        table=known.table,
    )


def _stated(held: Held, entry: Entry) -> bool:
    person = entry.block[1]
    return held.role is entry.role and (person is None or held.person in (None, person))


def _holds(held: Held, reader: Agency, fact: Fact, known: Known) -> bool:
    if held.mandate is not None and held.mandate not in known.state.given:
        return known.table.permits(held.role, reader.kind)
    given = list(known.state.given.values())
    return rules.proves(held, agency=reader, given=given, at=fact.accepted_at, table=known.table)
