"""Sealing: from what was decided to signed bytes (``docs/spec/envelope.md`` §4-§8).

``seal`` makes the parts and the root, ``sign`` puts one signature over what is waiting. Nothing here decides who
reads what: a ``Draft`` says it, part by part.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from broker import limits, merkle
from broker.authority.model import Held
from broker.clock import Random, day_of
from broker.errors import InputError
from broker.keys.handles import SigningKey
from broker.names import AgencyId, Basis, Compartment, Digest, PersonRef, Role
from broker.seal.block import Label, RawSeed, encrypt
from broker.seal.envelope import encode_envelope, leaves
from broker.seal.header import Header, header_hash
from broker.seal.parts import Part, PartKind, batch_message, leaf_class, root, sign_batch
from broker.seal.secrets import ReaderPrekey, SealingSecrets
from broker.seal.slot import SlotContent, encode_entry, encode_row, row_digest, seal_slot, slot_clear
from broker.seal.wire import bytes16

CREDENTIALS_LABEL: Final = Label(Compartment.CREDENTIALS, 0, None)
LEDGER_LABEL: Final = Label(Compartment.LEDGER, 0, None)


class Keyed(NamedTuple):
    """One block that a reader gets: its label, and on what ground."""

    label: Label
    basis: Basis
    role: Role
    ground: bytes = b""


@dataclass(frozen=True, slots=True)
class SlotDraft:
    """One reader: where its slot is sealed to, its roles, and its blocks in the order of their labels."""

    reader: AgencyId
    prekey: ReaderPrekey
    counter: int
    roles: tuple[Held, ...]
    keyed: tuple[Keyed, ...]
    aliases: tuple[tuple[PersonRef, str], ...] = ()
    roster: tuple[bytes, ...] = ()
    ledger: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """One event, decided: header, content of each block, credentials, readers (ascending by id)."""

    header: Header
    blocks: Mapping[Label, bytes]
    credentials: bytes
    readers: Sequence[SlotDraft]


@dataclass(frozen=True, slots=True)
class Sealed:
    """An envelope without its signature."""

    header: Header
    header_bytes: bytes
    parts: Sequence[Part]
    tree: Sequence[Sequence[bytes]]
    root: Digest


class Placed(NamedTuple):
    """The part in which a block stands, and its seed."""

    part: int
    seed: RawSeed


Entry = tuple[int, RawSeed, bytes]
"""Of a row: part, seed, bytes."""
_LEDGER: Final = Keyed(LEDGER_LABEL, Basis.PARTY, Role.AU)
_PADDING: Final = Part(PartKind.PADDING, b"")


def seal(draft: Draft, *, secrets: SealingSecrets, random: Random) -> Sealed:
    """Seals one event.

    Raises:
        Invalid: check SIZE: a part or the whole is over a limit.
        InputError: too many readers.
    """
    if len(draft.readers) > limits.READERS or len(draft.blocks) > limits.BLOCKS:
        raise InputError("too many readers or blocks for one event; send it in parts", field="to")
    header_bytes = draft.header.encode()
    bound = header_hash(header_bytes)
    size = leaf_class(len(draft.blocks) + len(draft.readers) + 3)
    places = iter(_places(size, random))
    given = {label: Placed(next(places), RawSeed(random.bytes(32))) for label in (*draft.blocks, LEDGER_LABEL)}
    credentials_seed = RawSeed(random.bytes(32))
    parts = [_PADDING] * (size - 1)
    parts[0] = Part(PartKind.CREDENTIALS, encrypt(credentials_seed, CREDENTIALS_LABEL.encode(bound), draft.credentials))
    for label, content in draft.blocks.items():
        part, seed = given[label]
        parts[part - 1] = Part(PartKind.BLOCK, encrypt(seed, label.encode(bound), content))
    rows = [len(draft.readers).to_bytes(2, "big")]
    day = day_of(draft.header.sealed_at)
    entries: dict[Keyed, Entry] = {}
    for reader in draft.readers:
        listed, seeds, packed = _entries(reader, given, entries)
        row, salt = encode_row(reader.reader, reader.roles, packed), random.bytes(16)
        rows += (salt, bytes16(row))
        prk, sealed_secret = secrets.get(reader.reader, reader.prekey, day)
        clear = slot_clear(reader.reader, reader.prekey.id, day, sealed_secret, row_digest(salt, row), sorted(listed))
        told = SlotContent(reader.counter, credentials_seed, salt, row, seeds, reader.aliases, reader.roster)
        body = seal_slot(prk, bound, reader.reader, clear, told.encode())
        parts[next(places) - 1] = Part(PartKind.SLOT, body)
    part, seed = given[LEDGER_LABEL]
    parts[part - 1] = Part(PartKind.LEDGER, encrypt(seed, LEDGER_LABEL.encode(bound), b"".join(rows)))
    for index in places:
        parts[index - 1] = Part(PartKind.PADDING, random.bytes(32))
    tree = merkle.levels(leaves(header_bytes, parts))
    return Sealed(draft.header, header_bytes, parts, tree, root(size, tree[-1][0]))


def _places(size: int, random: Random) -> list[int]:
    """The positions 2 to size - 1 in random order."""
    drawn = struct.unpack(f">{size - 2}Q", random.bytes(8 * (size - 2)))
    return sorted(range(2, size), key=lambda index: drawn[index - 2])


def _entries(reader: SlotDraft, given: Mapping[Label, Placed], made: dict[Keyed, Entry]) -> Iterable[Any]:
    """Parts, seeds and encoded entries of a reader's row; ``made`` has those that another reader's row has too."""
    found = []
    for keyed in (*reader.keyed, _LEDGER) if reader.ledger else reader.keyed:
        entry = made.get(keyed)
        if entry is None:
            part, seed = given[keyed.label]
            entry = made[keyed] = (part, seed, encode_entry(part, *keyed))
        found.append(entry)
    return zip(*found, strict=True) if found else ((), (), ())


def sign(waiting: Sequence[Sealed], *, agency: AgencyId, key: SigningKey) -> list[bytes]:
    """The final bytes of the envelopes, under one signature.

    Raises:
        Invalid: check SIZE: an envelope is larger than the stream carries.
    """
    signed = sign_batch(
        [sealed.root for sealed in waiting], signer=agency, key_id=key.id, sign=key.sign, message=batch_message
    )
    return [
        encode_envelope(sealed.header_bytes, member, sealed.parts)
        for sealed, member in zip(waiting, signed, strict=True)
    ]
