"""Slots: one reader's keys in an envelope, and the row that says what it was given and why (§7)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from hmac import digest
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker import limits
from broker.authority.model import Held
from broker.checks import Check
from broker.errors import Invalid
from broker.names import AgencyId, Basis, Compartment, Digest, KeyId, PersonRef, Role
from broker.seal.block import NONCE, Label, RawSeed, pad, unpad
from broker.seal.wire import NO_DIGEST, NO_PERSON, Cursor, bytes32, text

SEALED_SECRET_BYTES: Final = 1_120 + 32 + 16
_SECRET: Final = b"casebridge/1/slot-secret"
_SLOT: Final = b"casebridge/1/slot"
_ROW: Final = b"casebridge/1/row"
_HELD: Final = struct.Struct(">B16s32s")
"""A role of a row: role, person, mandate."""
_ENTRY: Final = struct.Struct(">HBB16sBBB")
"""An entry of a row, up to its ground: part, compartment, serial, person, basis, role, length of the ground."""
_FIXED: Final = struct.Struct(f">8sI{SEALED_SECRET_BYTES}s32sH")
"""What follows the reader in a slot: prekey, day, sealed secret, digest of the row, number of parts."""
_OPENING: Final = struct.Struct(">Q32s16sH")
"""The front of a slot's content: counter, seed of the credentials, salt, length of the row."""
_COMPARTMENTS: Final = {int(one): one for one in Compartment}
_ROLES: Final = {int(one): one for one in Role}
_BASES: Final = {int(one): one for one in Basis}


class RowEntry(NamedTuple):
    """One part that the reader has, and on what ground."""

    part: int
    label: Label
    basis: Basis
    role: Role
    ground: bytes


class Row(NamedTuple):
    """What one reader was given: an entry of the disclosure ledger."""

    reader: AgencyId
    roles: tuple[Held, ...]
    entries: tuple[RowEntry, ...]

    def encode(self) -> bytes:
        """The row's bytes."""
        return encode_row(self.reader, self.roles, [encode_entry(*entry) for entry in self.entries])


def encode_entry(part: int, label: Label, basis: Basis, role: Role, ground: bytes) -> bytes:
    """One entry of a row."""
    compartment, serial, person = label
    return _ENTRY.pack(part, compartment, serial, person or NO_PERSON, basis, role, len(ground)) + ground


def encode_row(reader: AgencyId, roles: Sequence[Held], entries: Sequence[bytes]) -> bytes:
    """A row from entries that ``encode_entry`` made: the rows of one envelope share most of them."""
    held = [_HELD.pack(held.role, held.person or NO_PERSON, held.mandate or NO_DIGEST) for held in roles]
    return b"".join((text(reader), bytes((len(held),)), *held, len(entries).to_bytes(2, "big"), *entries))


def row_digest(salt: bytes, row: bytes) -> bytes:
    """What the clear part of a slot shows of its row."""
    return sha256(_ROW + salt + row).digest()


def decode_row(data: bytes) -> Row:
    """The row with these bytes.

    Raises:
        Invalid: check ROW: not a row, or not in canonical form.
    """
    cursor = Cursor(data, Check.ROW)
    reader = AgencyId(cursor.text())
    try:
        roles = tuple(
            [
                Held(_ROLES[role], _person(person), _digest(mandate))
                for role, person, mandate in _HELD.iter_unpack(cursor.take(_HELD.size * cursor.u8()))
            ]
        )
        entries, cursor.at = _entries(data, cursor.u16(), cursor.at)
    except (KeyError, struct.error):
        raise Invalid(Check.ROW, "a row names something unknown or is cut short") from None
    cursor.end()
    return Row(reader, roles, entries)


def _entries(data: bytes, count: int, at: int) -> tuple[tuple[RowEntry, ...], int]:
    """The entries that start at this place, and the place behind them; the caller sees to it that it is not too far."""
    entries = []
    for _ in range(count):
        part, compartment, serial, person, basis, role, size = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size + size
        label = Label(_COMPARTMENTS[compartment], serial, _person(person))
        entries.append(RowEntry(part, label, _BASES[basis], _ROLES[role], data[at - size : at]))
    return tuple(entries), at


def _person(value: bytes) -> PersonRef | None:
    return None if value == NO_PERSON else PersonRef(value)


def _digest(value: bytes) -> Digest | None:
    return None if value == NO_DIGEST else Digest(value)


class SlotForm(NamedTuple):
    """The clear part of a slot, which the broker reads, and its ciphertext."""

    reader: AgencyId
    prekey_id: KeyId
    day: int
    sealed_secret: bytes
    row_digest: bytes
    parts: tuple[int, ...]
    body: bytes
    end: int

    @property
    def clear(self) -> bytes:
        """All that stands before the ciphertext."""
        return self.body[: self.end]

    @property
    def ciphertext(self) -> bytes:
        """The sealed content."""
        return self.body[self.end :]


def slot_clear(
    reader: AgencyId, prekey_id: KeyId, day: int, sealed_secret: bytes, row_hash: bytes, parts: Sequence[int]
) -> bytes:
    """The clear part of a slot."""
    return b"".join(
        (
            text(reader),
            _FIXED.pack(prekey_id, day, sealed_secret, row_hash, len(parts)),
            struct.pack(f">{len(parts)}H", *parts),
        )
    )


def read_slot(body: bytes) -> SlotForm:
    """The slot with this body.

    Raises:
        Invalid: check SLOT_FORM.
    """
    try:
        at = 1 + body[0]
        reader = AgencyId(body[1:at].decode())
        prekey_id, day, secret, row_hash, count = _FIXED.unpack_from(body, at)
        at += _FIXED.size
        parts: tuple[int, ...] = struct.unpack_from(f">{count}H", body, at)
    except (IndexError, UnicodeDecodeError, struct.error):
        raise Invalid(Check.SLOT_FORM, "a slot is cut short or names no reader") from None
    if count > 1 and list(parts) != sorted(set(parts)):
        raise Invalid(Check.SLOT_FORM, "a slot's parts are not in ascending order")
    return SlotForm(reader, KeyId(prekey_id), day, secret, row_hash, parts, body, at + 2 * count)


class SlotContent(NamedTuple):
    """What a slot says to its reader."""

    counter: int
    credentials_seed: RawSeed
    salt: bytes
    row: bytes
    seeds: tuple[RawSeed, ...]
    aliases: tuple[tuple[PersonRef, str], ...]
    roster: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The content's bytes."""
        return b"".join(
            (
                _OPENING.pack(self.counter, self.credentials_seed, self.salt, len(self.row)),
                self.row,
                *self.seeds,
                bytes((len(self.aliases),)),
                *[person + text(alias) for person, alias in self.aliases],
                len(self.roster).to_bytes(2, "big"),
                *[bytes32(link) for link in self.roster],
            )
        )


def decode_content(data: bytes) -> tuple[SlotContent, Row]:
    """The content of a slot, and its row.

    Raises:
        Invalid: check SLOT_OPEN or ROW.
    """
    cursor = Cursor(data, Check.SLOT_OPEN)
    counter, credentials, salt, size = _OPENING.unpack(cursor.take(_OPENING.size))
    raw = cursor.take(size)
    row = decode_row(raw)
    seeds = tuple(map(RawSeed, cursor.hashes(len(row.entries))))
    aliases = tuple((PersonRef(cursor.take(16)), cursor.text()) for _ in range(cursor.u8()))
    roster = tuple(cursor.bytes32() for _ in range(cursor.u16()))
    cursor.end()
    if len(roster) > limits.LIST_ITEMS:
        raise Invalid(Check.SIZE, "a slot carries more mandates than it may")
    return SlotContent(counter, RawSeed(credentials), salt, raw, seeds, aliases, roster), row


def secret_info(publisher: AgencyId, instance: bytes, day: int, reader: AgencyId, prekey_id: KeyId) -> bytes:
    """The HPKE ``info`` under which a slot secret is sealed."""
    return b"".join((_SECRET, text(publisher), instance, day.to_bytes(4, "big"), text(reader), prekey_id))


def secret_prk(secret: bytes) -> bytes:
    """The extracted slot secret: good for all slots of the pair and day."""
    return digest(_SECRET, secret, "sha256")


def _slot_key(prk: bytes, header_hash: bytes, reader: AgencyId) -> AESGCM:
    return AESGCM(digest(prk, b"".join((_SLOT, header_hash, text(reader), b"\x01")), "sha256"))


def seal_slot(prk: bytes, header_hash: bytes, reader: AgencyId, clear: bytes, content: bytes) -> bytes:
    """The body of a slot."""
    return clear + _slot_key(prk, header_hash, reader).encrypt(NONCE, pad(content), clear)


def open_slot(prk: bytes, header_hash: bytes, slot: SlotForm) -> bytes:
    """The content of a slot.

    Raises:
        Invalid: check SLOT_OPEN.
    """
    try:
        return unpad(_slot_key(prk, header_hash, slot.reader).decrypt(NONCE, slot.ciphertext, slot.clear))
    except (InvalidTag, Invalid):
        raise Invalid(Check.SLOT_OPEN, "the slot does not open") from None
