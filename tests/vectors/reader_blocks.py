"""Slots, blocks, credentials, mandates and the content of blocks, written from the specification alone (``reader.py``)."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import fastavro

from tests.vectors.reader_wire import (
    SCHEMAS,
    SIZES,
    Cursor,
    Header,
    avro_decode,
    avro_encode,
    expand,
    extract,
    gcm_open,
    hpke_open,
    must,
    plain,
    prekey_of,
    sha256,
    text,
)

C_CREDENTIALS, C_MANDATE, C_LEDGER, C_DISCLOSURE = 100, 101, 102, 103
OPENER, BY_RELATION = 100, 1
ROLES = {*range(1, 19), OPENER}
NOBODY = bytes(16)
NONE = bytes(32)
COMPARTMENTS = [
    "routing",
    "spotting",
    "case",
    "person-identity",
    "biometrics",
    "location",
    "medical",
    "suspect",
    "operational",
    "contact-reporter",
    "source",
    "legal",
    "aftercare",
    "access",
]
ACCESS = 14
NUMBERS = {*range(1, 15), C_CREDENTIALS, C_MANDATE, C_LEDGER, C_DISCLOSURE}


@dataclass(frozen=True, slots=True)
class SlotBytes:
    """A slot before it is opened."""

    reader: str
    prekey_id: bytes
    day: int
    sealed_secret: bytes
    row_digest: bytes
    parts: tuple[int, ...]
    aad: bytes
    ciphertext: bytes

    @classmethod
    def read(cls, body: bytes) -> "SlotBytes":
        c = Cursor(body, 12)
        reader, prekey_id, day, sealed, digest = c.text(), c.take(8), c.u32(), c.take(1168), c.take(32)
        parts = tuple(c.u16() for _ in range(c.u16()))
        must(all(a < b for a, b in pairwise(parts)), 12, "part numbers are not ascending")
        return cls(reader, prekey_id, day, sealed, digest, parts, body[: c.at], body[c.at :])


@dataclass(frozen=True, slots=True)
class Entry:
    """One block that the reader may open, and on what ground."""

    part: int
    compartment: int
    serial: int
    person: bytes
    basis: int
    role: int
    ground: bytes

    @property
    def label(self) -> tuple[int, int, bytes]:
        return self.compartment, self.serial, self.person


@dataclass(frozen=True, slots=True)
class Row:
    """What one reader holds and may open in an event."""

    reader: str
    roles: tuple[tuple[int, bytes, bytes], ...]
    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, data: bytes) -> "Row":
        c = Cursor(data, 23)
        reader = c.text()
        roles = tuple((c.u8(), c.take(16), c.take(32)) for _ in range(c.u8()))
        entries = tuple(
            Entry(c.u16(), c.u8(), c.u8(), c.take(16), c.u8(), c.u8(), c.take(c.u8())) for _ in range(c.u16())
        )
        c.end()
        must(all(role in ROLES for role, _, _ in roles), 23, "an unknown role")
        must(all(e.compartment in NUMBERS and e.role in ROLES and 1 <= e.basis <= 4 for e in entries), 23, "unknown")
        return cls(reader, roles, entries)


@dataclass(frozen=True, slots=True)
class Slot:
    """What the slot says, opened."""

    counter: int
    credentials_seed: bytes
    salt: bytes
    row: Row
    seeds: tuple[bytes, ...]
    aliases: Mapping[bytes, str]
    roster: tuple[bytes, ...]


def unpad(padded: bytes, check: int) -> bytes:
    """The content of the smallest size class that holds it (§5)."""
    must(len(padded) >= 4, check, "no length")
    size = int.from_bytes(padded[:4], "big")
    fits = next((s for s in SIZES if 4 + size <= s), None)
    must(fits == len(padded) and not any(padded[4 + size :]), check, "padding")
    return padded[4 : 4 + size]


def open_slot(slot: SlotBytes, header: Header, seeds: Mapping[bytes, bytes]) -> Slot:
    """``seeds`` are those of the reader's prekeys, by id. Raises: Refused with 22, 23 or 35."""
    f = header.fields
    must(slot.prekey_id in seeds, 22, "sealed for another prekey")
    info = b"casebridge/1/slot-secret" + text(f["agency"]) + f["instance"] + struct.pack(">I", slot.day)
    secret = hpke_open(seeds[slot.prekey_id], info + text(slot.reader) + slot.prekey_id, slot.sealed_secret, 22)
    prk = extract(b"casebridge/1/slot-secret", secret)
    key = expand(prk, b"casebridge/1/slot" + header.digest + text(slot.reader))
    c = Cursor(unpad(gcm_open(key, slot.aad, slot.ciphertext, 22), 22), 22)
    counter, credentials_seed, salt, row_bytes = c.u64(), c.take(32), c.take(16), c.bytes16()
    row = Row.read(row_bytes)
    block_seeds = tuple(c.take(32) for _ in row.entries)
    aliases = {c.take(16): c.text() for _ in range(c.u8())}
    roster = tuple(c.bytes32() for _ in range(c.u16()))
    c.end()
    must(len(roster) <= 200, 1, "the roster is too long")
    must(sha256(b"casebridge/1/row" + salt + row_bytes) == slot.row_digest, 23, "another row than the digest shows")
    must(row.reader == slot.reader, 23, "the row of another reader")
    must(sorted(e.part for e in row.entries) == list(slot.parts), 23, "other parts than the slot's")
    must(len({e.label for e in row.entries}) == len(row.entries), 35, "a label twice")
    must(all(not e.serial or e.compartment in (101, 103) for e in row.entries), 23, "a serial where none is counted")
    must(all(e.compartment != 100 for e in row.entries), 23, "the credentials are no block")
    named = [e for e in row.entries if e.compartment in (102, 103) and e.person != bytes(16)]
    must(not named, 23, "a person where none is")
    return Slot(counter, credentials_seed, salt, row, block_seeds, aliases, roster)


def seeds_by_id(seeds: tuple[bytes, ...]) -> dict[bytes, bytes]:
    """Seeds of prekeys by the ids of the prekeys."""
    return {sha256(prekey_of(seed))[:8]: seed for seed in seeds}


# --- §5, §6, §8 blocks, credentials, mandates ------------------------------------------------------------------------


Label = tuple[int, int, bytes]


def _prk(header: Header, body: bytes, seed: bytes, label: Label) -> tuple[bytes, bytes]:
    bound = header.digest + bytes(label[:2]) + label[2]
    prk = extract(bytes(32), seed)
    must(expand(prk, b"casebridge/1/block/commitment" + bound) == body[:32], 25, "the commitment is another's")
    return prk, bound


def judge_commitment(header: Header, body: bytes, seed: bytes, label: Label) -> None:
    """Raises: Refused with 25."""
    _prk(header, body, seed, label)


def open_block(header: Header, body: bytes, seed: bytes, compartment: int, serial: int, person: bytes) -> bytes:
    """The content. Raises: Refused with 25, 26 or 27."""
    prk, bound = _prk(header, body, seed, (compartment, serial, person))
    return unpad(gcm_open(expand(prk, b"casebridge/1/block/key" + bound), bound, body[32:], 26), 27)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Under which role the author sends, and the way back to the opener (§6)."""

    claims: tuple[tuple[bytes, int, bytes, int], ...]
    case_salt: bytes
    expired: bool
    movement_ended: bool
    chain: tuple[bytes, ...]

    @classmethod
    def read(cls, data: bytes) -> "Credentials":
        c = Cursor(data, 28)
        claims = tuple((c.take(16), c.u8(), c.take(32), c.u8()) for _ in range(c.u8()))
        salt, flags = c.take(16), c.u8()
        chain = tuple(c.bytes32() for _ in range(c.u16()))
        c.end()
        must(len(chain) <= 16 and len(claims) <= 50, 1, "over a limit")
        must(len({claim[0] for claim in claims}) == len(claims), 28, "two claims for one person")
        must(flags < 4 and all(role in ROLES and phase <= 5 for _, role, _, phase in claims), 28, "unknown")
        return cls(claims, salt, bool(flags & 1), bool(flags & 2), chain)


def case_reference(opener: str, salt: bytes) -> bytes:
    return sha256(b"casebridge/1/case" + text(opener) + salt)[:16]


@dataclass(frozen=True, slots=True)
class Mandate:
    """A role given to an agency by an event (§8)."""

    case: bytes
    event_id: bytes
    type: str
    variant: str
    giver: str
    under: int
    under_mandate: bytes
    case_salt: bytes
    role: int
    agency: str
    person: bytes
    provisional: bool
    not_after: int
    digest: bytes

    @classmethod
    def read(cls, data: bytes) -> "Mandate":
        c = Cursor(data, 30)
        values: list[Any] = [c.take(16), c.take(16), c.text(), c.text(), c.text(), c.u8(), c.take(32), c.take(16)]
        values += [c.u8(), c.text(), c.take(16), c.u8(), c.u64()]
        c.end()
        must(values[11] in (0, 1) and values[5] in ROLES and values[8] in ROLES, 30, "a number that means nothing")
        values[11] = bool(values[11])
        values.append(sha256(b"casebridge/1/mandate" + data))
        return cls(*values)

    def stands_in(self, header: Header, person: bytes) -> None:
        """It speaks of the event in which it stands. Raises: Refused with 29."""
        f = header.fields
        told = (self.event_id, self.case, self.type, self.variant, self.giver, self.person)
        stands = (f["event_id"], f["case_ref"], f["type"], f["variant"], f["agency"], person)
        must(told == stands, 29, "it speaks of another event")


# --- schemas.md §2 the content of a block ----------------------------------------------------------------------------


_CATALOGUE: dict[int, dict[str, Any]] = {}


def catalogue() -> dict[int, dict[str, Any]]:
    """Schema number to its line in the catalogue."""
    if not _CATALOGUE:
        lines = json.loads((SCHEMAS / "catalogue.json").read_text())["schemas"]
        _CATALOGUE.update({line["id"]: line for line in lines})
    return _CATALOGUE


def record_schema(schema_id: int) -> Any:
    return json.loads((SCHEMAS / catalogue()[schema_id]["file"]).read_text())


def block_schema(header: Header, compartment: int) -> tuple[Any, dict[str, str], dict[str, list[str]]]:
    """The schema of a block: of the event type's record the fields of its compartment, in their order.

    Also the name of each field in records, and, by that, the variants in which it exists (none: in all).
    """
    schema_id, name = header.fields["schema_id"], COMPARTMENTS[compartment - 1]
    if header.fields["type"] == "amend" and name == "access":
        schema_id = catalogue()[schema_id]["amend"]
    record = plain(record_schema(schema_id))
    named: dict[str, Any] = {}
    written: set[str] = set()
    fields = [_expand(f, named, None) for f in record["fields"]]
    kept = [f for f in fields if f["compartment"] == name]
    must(kept, 27, "no field of this compartment")
    schema = fastavro.parse_schema({**record, "fields": [_once(f, named, written) for f in kept]}, {})
    variants = {f["field"]: f.get("variants", []) for f in kept}
    return schema, {f["name"]: f["field"] for f in kept}, variants


def _name(schema: Mapping[str, Any], space: str | None) -> str:
    space = schema.get("namespace", space)
    return schema["name"] if "." in schema["name"] or not space else f"{space}.{schema['name']}"


def _expand(schema: Any, named: dict[str, Any], space: str | None) -> Any:
    """Notes every named type; leaves names in their place."""
    if isinstance(schema, list):
        return [_expand(s, named, space) for s in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in ("record", "enum", "fixed"):
        full = _name(schema, space)
        space = full.rpartition(".")[0]
        inner = {k: _expand(v, named, space) if k == "fields" else v for k, v in schema.items()}
        named[full] = {**inner, "name": full}
        return full
    return {k: _expand(v, named, space) if k in ("type", "items", "values") else v for k, v in schema.items()}


def _once(schema: Any, named: Mapping[str, Any], written: set[str]) -> Any:
    """Puts each named type where it is used first: fields that were left out may have defined it."""
    if isinstance(schema, list):
        return [_once(s, named, written) for s in schema]
    if isinstance(schema, str) and schema in named and schema not in written:
        written.add(schema)
        full = named[schema]
        return {k: [_once(f, named, written) for f in v] if k == "fields" else v for k, v in full.items()}
    if isinstance(schema, dict):
        return {k: _once(v, named, written) if k in ("type", "items", "values") else v for k, v in schema.items()}
    return schema


def decode_content(header: Header, compartment: int, content: bytes) -> dict[str, Any]:
    """The fields that are said, by their names in records. Raises: Refused with 27."""
    schema, names, variants = block_schema(header, compartment)
    value, end = avro_decode(schema, content, 27)
    must(end == len(content) and avro_encode(schema, value) == content, 27, "the content is not canonical")
    said = {names[key]: one for key, one in value.items() if one is not None}
    if header.fields["type"] != "amend":
        must(all(header.fields["variant"] in variants[key] for key in said if variants[key]), 27, "not in this variant")
    return said
