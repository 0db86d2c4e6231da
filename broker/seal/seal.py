"""Sealing: from what was decided to signed bytes (``docs/spec/envelope.md`` §4-§8).

``seal`` makes the parts and the root, ``sign`` puts one signature over what is waiting. Nothing here decides who
reads what: a ``Draft`` says it, part by part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

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
from broker.seal.slot import Row, RowEntry, SlotContent, row_digest, seal_slot, slot_clear
from broker.seal.wire import bytes16

CREDENTIALS_LABEL: Final = Label(Compartment.CREDENTIALS, 0, None)
LEDGER_LABEL: Final = Label(Compartment.LEDGER, 0, None)


@dataclass(frozen=True, slots=True)
class Keyed:
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
    movable = len(draft.blocks) + len(draft.readers) + 1
    size = leaf_class(movable + 2)
    place = _places(size, random)
    seeds = {label: RawSeed(random.bytes(32)) for label in draft.blocks}
    credentials_seed, ledger_seed = RawSeed(random.bytes(32)), RawSeed(random.bytes(32))
    part_of = {label: place[i] for i, label in enumerate(draft.blocks)}
    ledger_part = place[len(draft.blocks)]
    parts = [Part(PartKind.PADDING, b"")] * (size - 1)
    parts[0] = Part(PartKind.CREDENTIALS, encrypt(credentials_seed, CREDENTIALS_LABEL.encode(bound), draft.credentials))
    for label, content in draft.blocks.items():
        parts[part_of[label] - 1] = Part(PartKind.BLOCK, encrypt(seeds[label], label.encode(bound), content))
    rows = [len(draft.readers).to_bytes(2, "big")]
    day = day_of(draft.header.sealed_at)
    for i, reader in enumerate(draft.readers, len(draft.blocks) + 1):
        row, reader_seeds, listed = _row(reader, part_of, seeds, ledger_part, ledger_seed)
        salt = random.bytes(16)
        rows += (salt, bytes16(row))
        prk, sealed_secret = secrets.get(reader.reader, reader.prekey, day)
        clear = slot_clear(reader.reader, reader.prekey.id, day, sealed_secret, row_digest(salt, row), listed)
        content = SlotContent(
            reader.counter, credentials_seed, salt, row, reader_seeds, reader.aliases, reader.roster
        ).encode()
        parts[place[i] - 1] = Part(PartKind.SLOT, seal_slot(prk, bound, reader.reader, clear, content))
    parts[ledger_part - 1] = Part(PartKind.LEDGER, encrypt(ledger_seed, LEDGER_LABEL.encode(bound), b"".join(rows)))
    for index in place[movable:]:
        parts[index - 1] = Part(PartKind.PADDING, random.bytes(32))
    tree = merkle.levels(leaves(header_bytes, parts))
    return Sealed(draft.header, header_bytes, parts, tree, root(size, tree[-1][0]))


def _places(size: int, random: Random) -> list[int]:
    """The positions 2 to size - 1 in random order."""
    drawn = random.bytes(8 * (size - 2))
    order = sorted((drawn[i * 8 : i * 8 + 8], i + 2) for i in range(size - 2))
    return [index for _, index in order]


def _row(
    reader: SlotDraft,
    part_of: Mapping[Label, int],
    seeds: Mapping[Label, RawSeed],
    ledger_part: int,
    ledger_seed: RawSeed,
) -> tuple[bytes, tuple[RawSeed, ...], list[int]]:
    """A reader's row, the seeds of its entries, and the parts that its slot lists."""
    entries = [
        RowEntry(part_of[keyed.label], keyed.label, keyed.basis, keyed.role, keyed.ground) for keyed in reader.keyed
    ]
    reader_seeds = [seeds[keyed.label] for keyed in reader.keyed]
    if reader.ledger:
        entries.append(RowEntry(ledger_part, LEDGER_LABEL, Basis.PARTY, Role.AU, b""))
        reader_seeds.append(ledger_seed)
    row = Row(reader.reader, reader.roles, tuple(entries)).encode()
    return row, tuple(reader_seeds), sorted(entry.part for entry in entries)


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
