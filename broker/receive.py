"""What a recipient concludes from a slice: who sent it under which right, and what it may read of it and why.

The bytes were verified by ``broker.seal.open``; here the chain of mandates, the sender's right to send, and every
block's ground are judged (``docs/spec/envelope.md`` §12, checks 28 to 38). Pure but for the time that cached
signatures save. Whether the event takes effect in the case is ``broker.authority.state``'s affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.authority.basis import Decide, Setting, check_basis
from broker.authority.chain import check_chain
from broker.authority.model import Entry, Fact, Given
from broker.authority.roles import phase_after
from broker.authority.senders import check_sender
from broker.authority.state import CaseState
from broker.authority.table import Table
from broker.checks import Check
from broker.errors import Invalid, Pending
from broker.event.catalogue import Catalogue
from broker.event.codec import decode_block
from broker.names import AgencyId, Basis, Compartment, Digest, EventId, Status
from broker.seal.block import Label
from broker.seal.check import Verified
from broker.seal.credentials import EXPIRED, MOVEMENT_ENDED
from broker.seal.disclosure import Disclosed, given_mandate, mandate_in, recall_mandate, verify_disclosure
from broker.seal.ground import Ground
from broker.seal.ledger import ledger
from broker.seal.open import Received, View
from broker.seal.slot import RowEntry
from broker.seal.wire import Cursor

CATALOGUED = Compartment.CREDENTIALS
"""Compartments below this number are the catalogue's; the others are the envelope's own."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A slice that is valid for its recipient, and the fact that it adds to the case.

    ``links`` has the disclosure of every mandate that came with it, by digest, for those who will cite it;
    ``granted`` are old blocks that it brings under a grant. ``late`` says that it was sealed long before acceptance.
    """

    received: Received
    fact: Fact
    links: Mapping[Digest, bytes]
    granted: tuple[Disclosed, ...]


@dataclass(frozen=True, slots=True)
class Judge:
    """What a recipient judges by."""

    recipient: AgencyId
    ground: Ground
    table: Table
    catalogue: Catalogue
    decide: Decide
    verified: Verified = field(default_factory=Verified)


def judge_slice(received: Received, judge: Judge, state: CaseState) -> Judged:
    """Judges a verified slice; ``state`` is what the recipient knows of the case so far.

    Raises:
        Invalid: checks 27 to 38: the slice goes to quarantine with its number.
        Pending: a mandate that the row cites has not arrived yet.
    """
    header, credentials = received.slice.header, received.credentials
    statement = received.acceptance.statement
    persons = tuple(claim.person for claim in credentials.claims)
    if not {entry.label.person for entry in received.row.entries} <= {None, *persons}:
        raise Invalid(Check.CREDENTIALS, "a block is of a person for whom the sender claims nothing")
    chain, chain_links = _links(credentials.chain, received, judge)
    check_chain(
        chain,
        case=header.case_ref,
        table=judge.table,
        directory_at=judge.ground.directory,
        parameters=judge.ground.parameters(statement.appended_at),
    )
    check_sender(
        type=header.type,
        variant=header.variant,
        status=Status.of(header.status),
        author=judge.ground.directory(statement.appended_at).agency(header.agency),
        claims=credentials.claims,
        chain=chain,
        case=header.case_ref,
        case_salt=credentials.case_salt,
        accepted_at=statement.appended_at,
        compartments={entry.label.compartment for entry in received.row.entries},
        table=judge.table,
    )
    here = _given_here(received)
    roster, roster_links = _links(received.content.roster, received, judge)
    known = {given.digest: given for given in (*chain, *roster, *here)}
    for given in (*roster, *here):
        _check_known(given, known, received, judge, state)
    fact = fact_of(received, known.values(), judge.recipient, judge.ground)
    _check_row(received, fact, known, judge, state)
    return Judged(received, fact, {**chain_links, **roster_links}, _granted(received, judge))


def fact_of(view: View, known: Iterable[Given], recipient: AgencyId, ground: Ground) -> Fact:
    """What a valid slice tells its recipient; ``known`` are the mandates that came with it."""
    header, statement, claims = view.slice.header, view.acceptance.statement, view.credentials.claims
    return Fact(
        event_id=header.event_id,
        type=header.type,
        variant=header.variant,
        status=Status.of(header.status),
        author=header.agency,
        case=header.case_ref,
        position=statement.offset,
        accepted_at=statement.appended_at,
        act_at=header.act_at,
        expires_at=header.expires_at,
        references=tuple(header.references),
        persons=tuple(claim.person for claim in claims),
        phases={claim.person: claim.phase for claim in claims},
        sender_roles=tuple(claim.role for claim in claims),
        mandates=tuple(known),
        control=_control(view),
        to=_addressed(view, recipient, ground),
        compartments=frozenset((label.compartment, label.person) for label in _labels(view)),
    )


def recall_fact(view: View, recipient: AgencyId, ground: Ground) -> Fact:
    """The same of a slice that is kept: it was judged when it came."""
    known = {
        given.digest: given
        for given in (
            *map(recall_mandate, view.credentials.chain),
            *map(recall_mandate, view.content.roster),
            *_given_here(view),
        )
    }
    return fact_of(view, known.values(), recipient, ground)


def _links(raw: tuple[bytes, ...], received: Received, judge: Judge) -> tuple[list[Given], dict[Digest, bytes]]:
    """The mandates that disclosures show, verified, and the disclosures by digest."""
    givens = [given_mandate(verify_disclosure(link, ground=judge.ground, verified=judge.verified)) for link in raw]
    if any(given.mandate.case != received.slice.header.case_ref for given in givens):
        raise Invalid(Check.CHAIN, "a mandate is of another case")
    return givens, {given.digest: link for given, link in zip(givens, raw, strict=True)}


def _given_here(received: View) -> list[Given]:
    """The mandates of this event that the recipient is told."""
    header, acceptance = received.slice.header, received.acceptance
    return [
        mandate_in(header, acceptance, entry.label, received.open(entry.label))
        for entry in received.row.entries
        if entry.label.compartment is Compartment.MANDATE
    ]


def _check_known(
    given: Given, known: Mapping[Digest, Given], received: Received, judge: Judge, state: CaseState
) -> None:
    """A mandate that came with the slice leads back to the opener through what came with it or is held already."""
    chain = [given]
    while (above := chain[0].mandate.under_mandate) is not None and len(chain) <= len(known) + 64:
        link = known.get(above) or state.given.get(above)
        if link is None:
            raise Invalid(Check.CHAIN, "a mandate cites one that did not come with it", mandate=given.digest.hex())
        chain.insert(0, link)
    check_chain(
        chain,
        case=received.slice.header.case_ref,
        table=judge.table,
        directory_at=judge.ground.directory,
        parameters=judge.ground.parameters(received.acceptance.statement.appended_at),
    )


def _labels(received: View) -> list[Label]:
    return [entry.label for entry in received.row.entries if entry.label.compartment < CATALOGUED]


def _control(received: View) -> dict[str, Any]:
    """The fields of a control: what a machine must read for the act to take effect."""
    header = received.slice.header
    label = Label(Compartment.ACCESS, 0, None)
    if label not in _labels(received):
        return {}
    schema_id = header.schema_id
    return decode_block(schema_id, Compartment.ACCESS, received.open(label), variant=header.variant)


def _addressed(received: View, recipient: AgencyId, ground: Ground) -> tuple[AgencyId, ...]:
    """Whom the author addressed: told to the author and the auditors alone, by the ledger."""
    if received.slice.header.agency != recipient:
        return ()
    outside = ground.auditors(received.acceptance.statement.appended_at) | {recipient}
    return tuple(row.reader for row, _ in ledger(received) if row.reader not in outside)


def _check_row(received: Received, fact: Fact, known: Mapping[Digest, Given], judge: Judge, state: CaseState) -> None:
    """Checks 33, 34 and 37 for every block of the row."""
    given: list[Given] = []
    for held in received.row.roles:
        if held.mandate is None:
            continue
        found = known.get(held.mandate) or state.given.get(held.mandate)
        if found is None:
            raise Pending("a mandate that was given earlier in the case", mandate=held.mandate.hex())
        if fact.accepted_at > found.mandate.not_after:
            raise Invalid(Check.MANDATE_ENDED, "the row relies on a mandate that had ended", mandate=held.mandate.hex())
        given.append(found)
    reader = judge.ground.directory(fact.accepted_at).agency(judge.recipient)
    setting = setting_of(received, fact, judge.catalogue, judge.table, state)
    grants = {grant.id: grant for grant in state.live_grants(reader.id, fact.accepted_at, fact.position)}
    for entry in received.row.entries:
        check_basis(
            entry_of(entry),
            reader=reader,
            roles=received.row.roles,
            given=given,
            setting=setting,
            grants=grants,
            decide=judge.decide,
            accepted_at=fact.accepted_at,
            table=judge.table,
        )


def setting_of(view: View, fact: Fact, catalogue: Catalogue, table: Table, state: CaseState) -> Setting:
    """What decisions look at in an event: its type and the phases that it sets; an amend is what it amends."""
    spec = catalogue.type(fact.type)
    event_type, variant = fact.type, fact.variant
    if fact.type == "amend":
        event_type = catalogue.by_schema_id(view.slice.header.schema_id).name
        amended = next((state.facts[one] for one in fact.references if one in state.facts), None)
        variant = amended.variant if amended is not None else variant
    of = [state.facts[one].type for one in fact.references if one in state.facts]
    phases = {
        claim.person: phase_after(
            table, event_type=fact.type, variant=fact.variant, role=claim.role, before=claim.phase, of=of
        )
        for claim in view.credentials.claims
    }
    flags = view.credentials.flags
    return Setting(
        event_id=fact.event_id,
        type=event_type,
        variant=variant,
        persons=fact.persons,
        phases=phases,
        author=fact.author,
        control=fact.type if spec.control else "",
        expired=bool(flags & EXPIRED),
        movement_ended=bool(flags & MOVEMENT_ENDED),
    )


def entry_of(entry: RowEntry) -> Entry:
    """An entry of a row as authority judges it."""
    label = entry.label
    if entry.basis is Basis.GRANT:
        return Entry((label.compartment, label.person), entry.basis, entry.role, grant=EventId(entry.ground))
    return Entry(
        (label.compartment, label.person), entry.basis, entry.role, rule=entry.ground.decode("utf-8", "replace")
    )


def _granted(received: Received, judge: Judge) -> tuple[Disclosed, ...]:
    """The old blocks that a grant brings, verified: of this case, and of one person at most, as a grant is."""
    found = tuple(
        verify_disclosure(one, ground=judge.ground, verified=judge.verified) for one in granted_links(received)
    )
    if any(one.header.case_ref != received.slice.header.case_ref for one in found):
        raise Invalid(Check.GRANT, "a grant shows old blocks of another case")
    if len({one.label.person for one in found} - {None}) > 1:
        raise Invalid(Check.GRANT, "a grant shows old blocks of several persons")
    return found


def granted_links(received: View) -> list[bytes]:
    """The disclosures of old blocks that a grant brings."""
    found: list[bytes] = []
    for entry in received.row.entries:
        if entry.label.compartment is Compartment.DISCLOSURE:
            cursor = Cursor(received.open(entry.label), Check.GRANT)
            found += [cursor.bytes32() for _ in range(cursor.u16())]
            cursor.end()
    return found
