"""A second reader of envelopes and slices, written from the specification alone.

It was written by somebody who had read ``docs/spec/envelope.md``, ``keys.md``, ``schemas.md``, ``directory.md`` and the
schemas, and not the program: so it shows that the text is enough. It imports nothing of the program; a test keeps it so. It
is for tests: neither fast nor complete. It makes every check that needs bytes, keys, the directory and what its reader
received before; those that need policy or the authority table (``POLICY``) it leaves out.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.vectors import reader_blocks as blocks
from tests.vectors.reader_blocks import (
    ACCESS,
    BY_RELATION,
    C_DISCLOSURE,
    C_LEDGER,
    C_MANDATE,
    NOBODY,
    NONE,
    OPENER,
    Credentials,
    Mandate,
    Row,
    Slot,
    SlotBytes,
)
from tests.vectors.reader_wire import (
    BLOCK,
    CREDENTIALS,
    HASH,
    LEAF_COUNTS,
    LEDGER,
    NOTICE,
    NOTICE_SCHEMA,
    SLOT,
    Acceptance,
    Cursor,
    Header,
    Opened,
    Part,
    Refused,
    Signature,
    avro_decode,
    avro_encode,
    must,
    open_header,
    parse_envelope,
    parse_slice,
    root_name,
    root_of,
    sha256,
    unframe,
    verify,
)

POLICY = frozenset({30, 32, 33, 34, 37, 38})
"""Checks that need policy or the authority table: not made here."""
DAY = 86_400_000
STANDING = {"AS": 16, "NR": 13, "NC": 14, "LS": 10, "WD": 11, "CM": 12, "HB": 17, "AU": 18}


class Waits(Exception):
    """The row cites a mandate that has not arrived yet: the event is pending."""


@dataclass(slots=True)
class World:
    """The trust bundle of the vectors (directory.md)."""

    agencies: Mapping[str, Mapping[str, Any]]
    prekeys: Mapping[str, Sequence[Mapping[str, Any]]]
    since: int
    bundle: bytes
    ahead: int
    behind: int
    grace: int

    @classmethod
    def load(cls, document: Mapping[str, Any]) -> "World":
        """From the directory's text and what the vectors say of the bundle. Raises: Refused with 6."""
        directory, said = json.loads(document["directory"]), document["bundle"]
        signed = b"casebridge/1/directory" + _canonical(directory["signed"])
        must(document["directory"].encode() == _canonical(directory) + b"\n", 6, "the directory is not canonical")
        signature = directory["signatures"][0]
        must(signature["key"] == _base64(bytes.fromhex(document["registrar"])), 6, "another registrar")
        verify(base64.b64decode(signature["key"]), base64.b64decode(signature["signature"]), signed, 6)
        times = b"".join(value.to_bytes(8, "big") for value in said["parameters"])
        named = sha256(signed) + bytes.fromhex(said["policy"]) + bytes.fromhex(said["catalogue"]) + sha256(times)
        agencies = {one["id"]: one for one in directory["signed"]["agencies"]}
        _, ahead, behind, grace, _ = said["parameters"]
        digest = sha256(b"casebridge/1/bundle" + named)
        return cls(agencies, directory["prekeys"], said["since"], digest, ahead, behind, grace)

    def enrolled(self, agency: str, at: int) -> bool:
        """Whether the agency takes part at that time."""
        history = self.agencies[agency]["history"] if agency in self.agencies else []
        return [what for since, what in history if since <= at][-1:] == ["enrolled"]

    def of_kind(self, kind: str, at: int) -> set[str]:
        """The enrolled agencies of a kind."""
        return {one for one, said in self.agencies.items() if said["kind"] == kind and self.enrolled(one, at)}

    def signing_key(self, agency: str, key_id: bytes, at: int) -> bytes:
        """Raises: Refused with 6, 7 or 8."""
        must(at >= self.since, 6, "no bundle was in force")
        must(self.enrolled(agency, at), 7, "the signer is not enrolled")
        for one in self.agencies[agency]["keys"]:
            if one["id"] == key_id.hex() and one["notBefore"] <= at <= one["notAfter"]:
                return base64.b64decode(one["key"])
        raise Refused(8, "no such signing key")

    def judge_prekey(self, reader: str, key_id: bytes, at: int) -> None:
        """Raises: Refused with 12 or 13."""
        must(self.enrolled(reader, at), 12, "a reader that is not enrolled")
        for one in self.prekeys.get(reader, ()):
            if one["id"] == key_id.hex() and one["notBefore"] <= at <= one["notAfter"] + self.grace:
                return
        raise Refused(13, "no such prekey")


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


@dataclass(slots=True)
class Memory:
    """What one reader has received before: counters and places by envelope, mandates by digest."""

    counters: dict[tuple[str, bytes, int, int], bytes] = field(default_factory=dict)
    accepted: dict[bytes, Acceptance] = field(default_factory=dict)
    mandates: dict[bytes, Mandate] = field(default_factory=dict)


# --- checks 5 to 14 and 20 -------------------------------------------------------------------------------------------


def judge_header(header: Header, world: World, accepted_at: int) -> None:
    """Checks 5, 6, 7 and 14."""
    f = header.fields
    schema = blocks.catalogue().get(f["schema_id"])
    must(schema is not None, 5, "no such schema")
    assert schema is not None
    amended = f["type"] == "amend" and not schema["control"]
    must(amended or schema["type"] == f["type"], 5, "type and schema do not belong together")
    declared = blocks.record_schema(schema["amend"] if amended else f["schema_id"])
    must(f["variant"] in declared["variants"], 5, "no such variant")
    must(accepted_at >= world.since and f["bundle"] == world.bundle, 6, "the bundle may not be cited")
    must(world.enrolled(f["agency"], accepted_at), 7, "the publisher is not enrolled")
    must(int.from_bytes(f["event_id"][:6], "big") == f["sealed_at"], 14, "event_id has another time")
    must(f["event_id"][6] >> 4 == 7, 14, "event_id is not a UUIDv7")
    must(f["sealed_at"] <= accepted_at + world.ahead, 14, "sealed after it was accepted")
    must(f["act_at"] <= f["sealed_at"] + world.ahead, 14, "the act lies in the future")
    must(f["sealed_at"] >= accepted_at - world.behind, 14, "sealed long before it was accepted")


def judge_signature(header: Header, signature: Signature, root: bytes, world: World, accepted_at: int) -> None:
    """Checks 8 and 10."""
    key = world.signing_key(header.agency, signature.key_id, accepted_at)
    signature.judge("casebridge/1/batch", header.agency, root, key, 10)


def judge_acceptance(acceptance: Acceptance, root: bytes, world: World) -> None:
    """Check 20, and 7 and 8 of the broker."""
    must(acceptance.root == root, 20, "the acceptance is of another envelope")
    key = _broker_key(world, acceptance.broker, acceptance.signature.key_id, acceptance.at)
    acceptance.signature.judge("casebridge/1/acceptance", acceptance.broker, acceptance.statement, key, 20)


def _broker_key(world: World, broker: str, key_id: bytes, at: int) -> bytes:
    must(at >= world.since, 6, "no bundle was in force")
    must(world.enrolled(broker, at), 7, "the broker is not enrolled")
    must(broker in world.of_kind("hub", at), 8, "not a broker")
    return world.signing_key(broker, key_id, at)


def read_envelope(data: bytes, world: World, accepted_at: int, key: bytes | None = None) -> Opened:
    """A whole envelope by the checks 1 to 15; ``key`` is that of the message on the stream.

    Raises: Refused with the number of the check.
    """
    opened = parse_envelope(data)
    judge_header(opened.header, world, accepted_at)
    judge_signature(opened.header, opened.signature, opened.root, world, accepted_at)
    must(len(opened.of_kind(CREDENTIALS)) == len(opened.of_kind(LEDGER)) == 1, 11, "one credentials part, one ledger")
    slots = [SlotBytes.read(p.body) for p in opened.of_kind(SLOT)]
    holders = {opened.header.agency} | world.of_kind("auditor", accepted_at)
    must(len({s.reader for s in slots}) == len(slots), 11, "one slot a reader")
    must(holders <= {s.reader for s in slots}, 11, "no slot for the author or an auditor")
    must(len(slots) <= 400, 1, "too many readers")
    may = {p.index for p in opened.of_kind(BLOCK)}
    ledger = {p.index for p in opened.of_kind(LEDGER)}
    for slot in slots:
        asked = set(slot.parts) - may
        must(asked == (ledger if slot.reader in holders else set()), 12, "a part that its reader cannot have")
        judge_slot(slot, opened.header, world)
    must(key is None or key == opened.header.fields["case_ref"], 15, "the key is not the case reference")
    return opened


def judge_slot(slot: SlotBytes, header: Header, world: World) -> None:
    """Check 13."""
    sealed_at = header.fields["sealed_at"]
    must(slot.day == sealed_at // DAY, 13, "another day")
    world.judge_prekey(slot.reader, slot.prekey_id, sealed_at)


# --- a reader's whole work -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Disclosed:
    """One block of one accepted envelope, proved (§8)."""

    header: Header
    label: tuple[int, int, bytes]
    content: bytes


@dataclass(slots=True)
class Read:
    """What a slice told its reader."""

    opened: Opened
    slot: Slot
    credentials: Credentials
    contents: dict[tuple[int, int, bytes], bytes]
    """What could be decrypted, by label."""
    broken: dict[tuple[int, int, bytes], int] = field(default_factory=dict)
    """Checks by label: blocks that do not open although the event is valid."""
    fields: dict[tuple[int, int, bytes], dict[str, Any]] = field(default_factory=dict)
    mandates: list[Mandate] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    disclosed: list[Disclosed] = field(default_factory=list)


def read_slice(data: bytes, reader: str, world: World, seeds: Mapping[bytes, bytes], memory: Memory) -> Read:
    """Everything that a slice tells its reader, checked; ``memory`` learns it.

    Raises: Refused with the number of the check; Waits.
    """
    opened = parse_slice(data)
    acceptance = opened.acceptance
    assert acceptance is not None
    judge_acceptance(acceptance, opened.root, world)
    judge_header(opened.header, world, acceptance.at)
    judge_signature(opened.header, opened.signature, opened.root, world, acceptance.at)
    shown = _own_slot(opened, reader)
    judge_slot(shown, opened.header, world)
    slot = blocks.open_slot(shown, opened.header, seeds)
    _judge_parts(opened, slot)
    body = opened.parts[1].body
    said = blocks.open_block(opened.header, body, slot.credentials_seed, blocks.C_CREDENTIALS, 0, NOBODY)
    read = Read(opened, slot, Credentials.read(said), {})
    _open_blocks(read)
    _judge_claims(read, world, memory)
    _remember(read, memory)
    return read


def _own_slot(opened: Opened, reader: str) -> SlotBytes:
    """Check 21."""
    slots, first = opened.of_kind(SLOT), opened.parts.get(1)
    must(len(slots) == 1 and first is not None and first.kind == CREDENTIALS, 21, "one slot and the credentials")
    shown = SlotBytes.read(slots[0].body)
    must(shown.reader == reader, 21, "another's slice")
    must({0, 1, slots[0].index, *shown.parts} == set(opened.parts), 21, "other parts than the slot names")
    return shown


def _judge_parts(opened: Opened, slot: Slot) -> None:
    """Checks 23 and 25: what the row names is of its kind, and each seed is that of its part."""
    for entry, seed in zip(slot.row.entries, slot.seeds, strict=True):
        part = opened.parts[entry.part]
        ledger = entry.label == (C_LEDGER, 0, NOBODY)
        must(part.kind == (LEDGER if ledger else BLOCK), 23, "a part of another kind")
        blocks.judge_commitment(opened.header, part.body, seed, entry.label)


def _open_blocks(read: Read) -> None:
    """Checks 26 and 27: of the envelope's own blocks and a control's ``access`` at once; of the others, noted."""
    header = read.opened.header
    control = blocks.catalogue()[header.fields["schema_id"]]["control"] or header.fields["type"] == "amend"
    for entry, seed in zip(read.slot.row.entries, read.slot.seeds, strict=True):
        label, body = entry.label, read.opened.parts[entry.part].body
        try:
            content = blocks.open_block(header, body, seed, *label)
            if label[0] <= ACCESS:
                read.fields[label] = blocks.decode_content(header, label[0], content)
            read.contents[label] = content
        except Refused as refused:
            if label[0] > ACCESS or (label[0] == ACCESS and control):
                raise
            read.broken[label] = refused.check


def _judge_claims(read: Read, world: World, memory: Memory) -> None:
    """Checks 28, 29, 31 and 36, as far as no policy is asked."""
    header, said, acceptance = read.opened.header, read.credentials, read.opened.acceptance
    assert acceptance is not None
    f, persons = header.fields, {claim[0] for claim in said.claims}
    must({e.person for e in read.slot.row.entries} <= {NOBODY, *persons}, 28, "a block of a person not claimed for")
    chain = _mandates(said.chain, read, world)
    for _, role, digest, _ in said.claims:
        if role == OPENER:
            opens = digest == NONE and blocks.case_reference(header.agency, said.case_salt) == f["case_ref"]
            must(opens, 36, "the sender did not open the case")
        elif role != BY_RELATION and digest == NONE:
            standing = {STANDING[one] for one in world.agencies[header.agency]["standing"]}
            must(role in standing, 29, "a role that nothing proves")
        elif role != BY_RELATION:
            must(digest in chain, 29, "a mandate that is not in the chain")
            must(chain[digest].not_after >= acceptance.at, 31, "the sender's mandate had ended")
    roster = _mandates(read.slot.roster, read, world)
    read.mandates = _given_here(read)
    known = {**memory.mandates, **chain, **roster, **{m.digest: m for m in read.mandates}}
    for mandate in (*chain.values(), *roster.values(), *read.mandates):
        _judge_link(mandate, known)
    for _, _, digest in read.slot.row.roles:
        if digest != NONE:
            if digest not in known:
                raise Waits
            must(known[digest].not_after >= acceptance.at, 31, "a mandate relied on had ended")
    read.rows = _ledger(read)
    read.disclosed = [disclose(one, world) for one in carried(read)]
    memory.mandates.update(known)


def _judge_link(mandate: Mandate, known: Mapping[bytes, Mandate]) -> None:
    """Checks 29 and 36 of one mandate."""
    must(mandate.under_mandate == NONE or mandate.under_mandate in known, 29, "a link is missing")
    if mandate.under == OPENER:
        opens = mandate.under_mandate == NONE
        must(opens and blocks.case_reference(mandate.giver, mandate.case_salt) == mandate.case, 36, "not the opener")


def _mandates(links: Sequence[bytes], read: Read, world: World) -> dict[bytes, Mandate]:
    """The mandates that disclosures show, by digest."""
    found: dict[bytes, Mandate] = {}
    for link in links:
        one = disclose(link, world)
        must(one.label[0] == C_MANDATE, 29, "a chain cites something that is not a mandate")
        mandate = Mandate.read(one.content)
        mandate.stands_in(one.header, one.label[2])
        must(mandate.case == read.opened.header.fields["case_ref"], 29, "a mandate of another case")
        found[mandate.digest] = mandate
    return found


def _given_here(read: Read) -> list[Mandate]:
    """The mandates of this event that its reader is told."""
    found = []
    for (compartment, _, person), content in read.contents.items():
        if compartment == C_MANDATE:
            found.append(Mandate.read(content))
            found[-1].stands_in(read.opened.header, person)
    return found


def _ledger(read: Read) -> list[Row]:
    rows: list[Row] = []
    for (compartment, _, _), content in read.contents.items():
        if compartment == C_LEDGER:
            c = Cursor(content, 50)
            rows += [(c.take(16), Row.read(c.bytes16()))[1] for _ in range(c.u16())]
            c.end()
    return rows


def carried(read: Read) -> list[bytes]:
    """The disclosures of old blocks that the event brings (compartment 103)."""
    found: list[bytes] = []
    for (compartment, _, _), content in read.contents.items():
        if compartment == C_DISCLOSURE:
            c = Cursor(content, 37)
            found += [c.bytes32() for _ in range(c.u16())]
            c.end()
    return found


def _remember(read: Read, memory: Memory) -> None:
    """Checks 24 and 39, which need what came before."""
    f, acceptance, root = read.opened.header.fields, read.opened.acceptance, read.opened.root
    assert acceptance is not None
    before = memory.accepted.get(root)
    if before is not None:
        must(before.partition == acceptance.partition, 39, "accepted in another partition before")
        must(before.offset <= acceptance.offset, 39, "accepted at a later place before")
        must(before.offset < acceptance.offset or before.at == acceptance.at, 39, "accepted at another time before")
        return
    name = (f["agency"], f["instance"], f["incarnation"], read.slot.counter)
    must(memory.counters.setdefault(name, root) == root, 24, "the counter of another envelope")
    memory.accepted[root] = acceptance


def disclose(data: bytes, world: World) -> Disclosed:
    """A disclosure, checked. Raises: Refused with the number of the check that fails in it."""
    c = Cursor(data, 29)
    raw, signature, size, index = c.bytes16(), Signature.read(c), c.u16(), c.u16()
    proof = [c.take(32) for _ in range(c.u8())]
    body, label, seed = c.bytes32(), (c.u8(), c.u8(), c.take(16)), c.take(32)
    accepted = c.bytes16()
    c.end()
    must(label[0] in blocks.NUMBERS, 29, "an unknown compartment")
    header, end = open_header(raw)
    must(end == len(raw) and size in LEAF_COUNTS, 29, "bytes follow the header, or no size")
    must(index > 0, 9, "the header is no block")
    root = root_name(size, root_of({index: Part(index, BLOCK, body).hash}, size, proof, 9))
    acceptance = Acceptance.read(accepted)
    judge_acceptance(acceptance, root, world)
    judge_header(header, world, acceptance.at)
    judge_signature(header, signature, root, world, acceptance.at)
    return Disclosed(header, label, blocks.open_block(header, body, seed, *label))


def read_kept(data: bytes, world: World) -> Opened:
    """A kept slice (§3.3): whole, signed and accepted; its slot is a hash. Raises: Refused."""
    opened = parse_slice(data)
    assert opened.acceptance is not None
    judge_acceptance(opened.acceptance, opened.root, world)
    judge_header(opened.header, world, opened.acceptance.at)
    judge_signature(opened.header, opened.signature, opened.root, world, opened.acceptance.at)
    must(len(opened.of_kind(HASH)) == 1 and not opened.of_kind(SLOT), 21, "its slot is not a hash")
    return opened


def read_notice(data: bytes, world: World) -> dict[str, Any]:
    """A notice whose signature holds (§10). Raises: Refused."""
    data = unframe(data, NOTICE)
    notice, end = avro_decode(NOTICE_SCHEMA, data, 2)
    must(avro_encode(NOTICE_SCHEMA, notice) == data[:end], 3, "the notice is not canonical")
    must(end == len(data), 2, "bytes follow")
    unsigned = avro_encode(NOTICE_SCHEMA, {**notice, "signature": b""})
    key = _broker_key(world, notice["broker"], notice["key_id"], notice["at"])
    verify(key, notice["signature"], b"casebridge/1/notice\x01" + unsigned, 10)
    return dict(notice)


def says(read: Read) -> dict[str, Any]:
    """What the slice says, in the form of the vectors."""
    claims = [[person.hex(), role, phase] for person, role, _, phase in read.credentials.claims]
    return {
        "counter": read.slot.counter,
        "claims": claims,
        "roles": [role for role, _, _ in read.slot.row.roles],
        "aliases": {person.hex(): alias for person, alias in read.slot.aliases.items()},
        "blocks": [
            {
                "part": e.part,
                "compartment": e.compartment,
                "person": e.person.hex() if e.person != NOBODY else None,
                "content": _plain(read.fields[e.label]),
            }
            for e in read.slot.row.entries
            if e.compartment <= ACCESS
        ],
        "mandates": sorted([m.role, m.agency] for m in read.mandates),
        "chain": len(read.credentials.chain),
        "roster": len(read.slot.roster),
        "disclosed": [one.label[0] for one in read.disclosed],
        "ledger": [row.reader for row in read.rows],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
