"""From an event and its plan to a draft that can be sealed: every value gets its label, every reader its keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker.authority import mandate as mandates
from broker.authority.model import Entry, Held, Plan, Reader
from broker.clock import Random
from broker.event.codec import encode_block
from broker.event.model import BlockKey, Event
from broker.names import AgencyId, Basis, CaseRef, Compartment, Digest, EventId, Millis, PersonRef, Role
from broker.seal.block import Label
from broker.seal.credentials import Credentials
from broker.seal.header import SUITE, Header
from broker.seal.seal import Draft, Keyed, SlotDraft
from broker.seal.secrets import ReaderPrekey
from broker.seal.wire import bytes32


@dataclass(frozen=True, slots=True)
class Place:
    """Where an envelope stands in its publisher's chain, and the next counter of each reader."""

    agency: AgencyId
    instance: bytes
    incarnation: int
    sequence: int
    previous: Digest
    counters: Mapping[AgencyId, int]


@dataclass(frozen=True, slots=True)
class Materials:
    """What sealing one event needs beside the event and its plan.

    ``chain`` are the disclosures of the sender's mandates, opener first. ``rosters`` are the disclosures of earlier
    mandates that a reader is told. ``back_reading`` are disclosures of old blocks for the agency that this event grants
    them to. ``auditors`` get the ledger, and of a control its content.
    """

    event_id: EventId
    case: CaseRef
    case_salt: bytes | None
    bundle: Digest
    seen: int
    sealed_at: Millis
    prekeys: Mapping[AgencyId, ReaderPrekey]
    auditors: frozenset[AgencyId]
    chain: Sequence[bytes] = ()
    rosters: Mapping[AgencyId, Sequence[bytes]] = field(default_factory=dict)
    back_reading: Mapping[AgencyId, Sequence[bytes]] = field(default_factory=dict)


def compose(event: Event, plan: Plan, place: Place, materials: Materials, *, random: Random) -> Draft:
    """The draft of an event."""
    blocks: dict[Label, bytes] = {
        label_of(key): encode_block(event.schema_id, key[0], fields) for key, fields in event.blocks.items()
    }
    for serial, mandate in enumerate(plan.mandates):
        blocks[Label(Compartment.MANDATE, serial, mandate.person)] = mandates.encode(mandate)
    granted = {}
    for serial, (agency, disclosures) in enumerate(materials.back_reading.items()):
        granted[agency] = Label(Compartment.DISCLOSURE, serial, None)
        blocks[granted[agency]] = _counted(disclosures)
    credentials = Credentials(plan.claims, materials.case_salt, 0, tuple(materials.chain))
    readers = [
        _slot(reader, event, plan, place, materials, granted, author=reader.agency == place.agency)
        for reader in plan.readers
    ]
    readers += [
        _auditor(agency, event, place, materials)
        for agency in materials.auditors
        if agency not in {reader.agency for reader in plan.readers}
    ]
    readers.sort(key=lambda slot: slot.reader)
    return Draft(_header(event, place, materials, random), blocks, credentials.encode(), readers)


def label_of(key: BlockKey) -> Label:
    """The label of one of the catalogue's blocks."""
    return Label(key[0], 0, key[1])


def _counted(disclosures: Sequence[bytes]) -> bytes:
    return len(disclosures).to_bytes(2, "big") + b"".join(bytes32(disclosure) for disclosure in disclosures)


def _header(event: Event, place: Place, materials: Materials, random: Random) -> Header:
    clear = event.clear
    return Header(
        suite=SUITE,
        event_id=materials.event_id,
        attempt=random.bytes(16),
        type=event.type,
        variant=event.variant,
        schema_id=event.schema_id,
        case_ref=materials.case,
        agency=place.agency,
        instance=place.instance,
        incarnation=place.incarnation,
        sequence=place.sequence,
        previous=place.previous,
        post=clear.post,
        act_at=clear.act_at,
        sealed_at=materials.sealed_at,
        reply_by=clear.reply_by,
        expires_at=clear.expires_at,
        status=clear.status.label,
        msg_type=clear.msg_type,
        urgency=clear.urgency,
        severity=clear.severity,
        certainty=clear.certainty,
        tlp=clear.tlp,
        langs=clear.langs,
        desk_phone=clear.desk_phone,
        references=clear.references,
        supersedes=clear.supersedes,
        bundle=materials.bundle,
        seen=materials.seen,
    )


def _slot(
    reader: Reader,
    event: Event,
    plan: Plan,
    place: Place,
    materials: Materials,
    granted: Mapping[AgencyId, Label],
    *,
    author: bool,
) -> SlotDraft:
    keyed = [Keyed(label_of(entry.block), entry.basis, entry.role, _ground(entry)) for entry in reader.entries]
    told = range(len(plan.mandates)) if author else reader.told
    basis, role = (Basis.AUTHOR, Role.OR) if author else (Basis.PARTY, Role.OR)
    keyed += [Keyed(Label(Compartment.MANDATE, i, plan.mandates[i].person), basis, role) for i in told]
    keyed += [Keyed(label, basis, role) for agency, label in granted.items() if author or agency == reader.agency]
    return SlotDraft(
        reader=reader.agency,
        prekey=materials.prekeys[reader.agency],
        counter=place.counters[reader.agency],
        roles=reader.roles,
        keyed=tuple(keyed),
        aliases=_aliases(event, reader.roles, keyed),
        roster=tuple(materials.rosters.get(reader.agency, ())),
        ledger=author or reader.agency in materials.auditors,
    )


def _ground(entry: Entry) -> bytes:
    return entry.grant if entry.grant is not None else entry.rule.encode()


def _aliases(event: Event, roles: Sequence[Held], keyed: Sequence[Keyed]) -> tuple[tuple[PersonRef, str], ...]:
    """Names of the persons that concern a reader: those of its roles and blocks; of a control, all that it names."""
    concern = {held.person for held in roles} | {item.label.person for item in keyed}
    if any(item.label.compartment in (Compartment.ACCESS, Compartment.DISCLOSURE) for item in keyed):
        concern.update(event.persons)
    return tuple((person, event.aliases[person]) for person in event.persons if person in concern)


def _auditor(agency: AgencyId, event: Event, place: Place, materials: Materials) -> SlotDraft:
    keyed = [Keyed(label_of(key), Basis.PARTY, Role.AU) for key in event.blocks if key[0] is Compartment.ACCESS]
    return SlotDraft(
        reader=agency,
        prekey=materials.prekeys[agency],
        counter=place.counters[agency],
        roles=(Held(Role.AU, None, None),),
        keyed=tuple(keyed),
        ledger=True,
    )
