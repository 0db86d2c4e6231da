"""What a recipient concludes from a slice: who sent it under which right, and what it may read of it and why.

The bytes were verified by ``broker.seal.open``; here the chain of mandates, the sender's right to send, and every
block's ground are judged (``docs/spec/envelope.md`` §12, checks 28 to 38). Pure but for the time that cached
signatures save. Whether the event takes effect in the case is ``broker.authority.state``'s affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.authority.chain import check_chain
from broker.authority.model import Entry, Fact, Given
from broker.authority.senders import check_sender
from broker.authority.table import Table
from broker.checks import Check
from broker.errors import Invalid, Pending
from broker.event.catalogue import Catalogue
from broker.event.codec import decode_block
from broker.names import AgencyId, Basis, Compartment, Digest, EventId, Status
from broker.seal.block import Label
from broker.seal.check import Verified
from broker.seal.disclosure import Disclosed, given_mandate, mandate_in, verify_disclosure
from broker.seal.ground import Ground
from broker.seal.ledger import ledger
from broker.seal.open import Received
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
    """What a recipient judges by. ``own`` gives a mandate that it holds, or None where it was never given."""

    recipient: AgencyId
    ground: Ground
    table: Table
    catalogue: Catalogue
    own: Callable[[Digest], Given | None]
    check_basis: Callable[..., None]
    verified: Verified = field(default_factory=Verified)


def judge_slice(received: Received, judge: Judge) -> Judged:
    """Judges a verified slice.

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
        _check_known(given, known, received, judge)
    fact = Fact(
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
        persons=persons,
        phases={claim.person: claim.phase for claim in credentials.claims},
        sender_roles=tuple(claim.role for claim in credentials.claims),
        mandates=tuple(known.values()),
        control=_control(received, judge),
        to=_addressed(received, judge),
        compartments=frozenset((label.compartment, label.person) for label in _labels(received)),
    )
    _check_row(received, fact, known, judge)
    return Judged(received, fact, {**chain_links, **roster_links}, _granted(received, judge))


def _links(raw: tuple[bytes, ...], received: Received, judge: Judge) -> tuple[list[Given], dict[Digest, bytes]]:
    """The mandates that disclosures show, verified, and the disclosures by digest."""
    givens = [given_mandate(verify_disclosure(link, ground=judge.ground, verified=judge.verified)) for link in raw]
    if any(given.mandate.case != received.slice.header.case_ref for given in givens):
        raise Invalid(Check.CHAIN, "a mandate is of another case")
    return givens, {given.digest: link for given, link in zip(givens, raw, strict=True)}


def _given_here(received: Received) -> list[Given]:
    """The mandates of this event that the recipient is told."""
    header, acceptance = received.slice.header, received.acceptance
    return [
        mandate_in(header, acceptance, entry.label, received.open(entry.label))
        for entry in received.row.entries
        if entry.label.compartment is Compartment.MANDATE
    ]


def _check_known(given: Given, known: Mapping[Digest, Given], received: Received, judge: Judge) -> None:
    """A mandate that came with the slice leads back to the opener through what came with it or is held already."""
    chain = [given]
    while (above := chain[0].mandate.under_mandate) is not None and len(chain) <= len(known) + 64:
        link = known.get(above) or judge.own(above)
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


def _labels(received: Received) -> list[Label]:
    return [entry.label for entry in received.row.entries if entry.label.compartment < CATALOGUED]


def _control(received: Received, judge: Judge) -> dict[str, Any]:
    """The fields of a control: what a machine must read for the act to take effect."""
    header = received.slice.header
    label = Label(Compartment.ACCESS, 0, None)
    if label not in _labels(received):
        return {}
    schema_id = header.schema_id
    return decode_block(schema_id, Compartment.ACCESS, received.open(label), variant=header.variant)


def _addressed(received: Received, judge: Judge) -> tuple[AgencyId, ...]:
    """Whom the author addressed: told to the author and the auditors alone, by the ledger."""
    if received.slice.header.agency != judge.recipient:
        return ()
    outside = judge.ground.auditors(received.acceptance.statement.appended_at) | {judge.recipient}
    return tuple(row.reader for row, _ in ledger(received) if row.reader not in outside)


def _check_row(received: Received, fact: Fact, known: Mapping[Digest, Given], judge: Judge) -> None:
    """Checks 33, 34 and 37 for every block of the row."""
    held = []
    for role in received.row.roles:
        given = None
        if role.mandate is not None:
            given = known.get(role.mandate) or judge.own(role.mandate)
            if given is None:
                raise Pending("a mandate that was given earlier in the case", mandate=role.mandate.hex())
        held.append((role, given))
    for entry in received.row.entries:
        if entry.label.compartment < CATALOGUED and entry.label.compartment is not Compartment.ACCESS:
            judge.check_basis(_entry(entry), held=held, fact=fact, received=received)
        elif entry.basis is not Basis.PARTY and fact.author != judge.recipient:
            raise Invalid(Check.BASIS, "a part of the envelope's own is given on another ground than that of a party")


def _entry(entry: RowEntry) -> Entry:
    label = entry.label
    if entry.basis is Basis.GRANT:
        return Entry((label.compartment, label.person), entry.basis, entry.role, grant=EventId(entry.ground))
    return Entry(
        (label.compartment, label.person), entry.basis, entry.role, rule=entry.ground.decode("utf-8", "replace")
    )


def _granted(received: Received, judge: Judge) -> tuple[Disclosed, ...]:
    """The old blocks that a grant brings, verified."""
    found: list[Disclosed] = []
    for entry in received.row.entries:
        if entry.label.compartment is Compartment.DISCLOSURE:
            cursor = Cursor(received.open(entry.label), Check.GRANT)
            raw = [cursor.bytes32() for _ in range(cursor.u16())]
            cursor.end()
            found += [verify_disclosure(one, ground=judge.ground, verified=judge.verified) for one in raw]
    return tuple(found)
