"""What a recipient does with a slice: verify every byte of it, take its keys, open blocks (§12, checks 1 to 28).

Whether the sender had the right to send, and the recipient to read, is judged afterwards by ``broker.pipeline`` with
``broker.authority``: this module proves what was sent, by whom, and that it is whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from typing import Final, NamedTuple, Protocol

from broker.checks import Check
from broker.clock import day_of
from broker.errors import Invalid, KeyUnavailable, Pending
from broker.names import AgencyId, Compartment
from broker.seal.acceptance import Acceptance, decode_acceptance
from broker.seal.block import Label, RawSeed, Seed, committed_key, decrypt, decrypt_with
from broker.seal.check import Verified, check_acceptance, check_header, check_signature
from broker.seal.credentials import Credentials, decode_credentials
from broker.seal.envelope import Slice, decode_slice, encode_slice
from broker.seal.ground import Ground
from broker.seal.parts import Part, PartKind, leaf
from broker.seal.seal import CREDENTIALS_LABEL, LEDGER_LABEL
from broker.seal.secrets import OpeningSecrets
from broker.seal.slot import Row, SlotContent, SlotForm, decode_content, open_slot, read_slot, row_digest

BUNDLE: Final = "the directory under which the broker accepted it"
"""What a slice waits for whose acceptance names a trust bundle that is not here."""
_COUNTED: Final = frozenset({Compartment.MANDATE, Compartment.DISCLOSURE})


class View(Protocol):
    """A slice with the keys that its reader was given: fresh from the stream, or kept."""

    @property
    def slice(self) -> Slice:
        """The slice."""

    @property
    def acceptance(self) -> Acceptance:
        """Where and when it was accepted."""

    @property
    def row(self) -> Row:
        """What its reader was given."""

    @property
    def content(self) -> SlotContent:
        """What its slot said; of a kept one, without seeds."""

    @property
    def credentials(self) -> Credentials:
        """What its sender claimed."""

    def open(self, label: Label) -> bytes:
        """The content of a block of the row; ``KeyUnavailable`` for another, ``Invalid`` where it does not open."""


class Received(NamedTuple):
    """A slice whose signatures, keys and commitments hold; nothing of its content was decrypted but the credentials."""

    slice: Slice
    acceptance: Acceptance
    slot_part: int
    slot: SlotForm
    content: SlotContent
    row: Row
    credentials: Credentials
    keys: tuple[bytes, ...]
    """The key of each entry of the row; its commitment holds."""

    def seed(self, label: Label) -> RawSeed:
        """The seed of a block that this reader was given.

        Raises:
            KeyUnavailable: it was not.
        """
        return self.content.seeds[self._place(label)]

    def part(self, label: Label) -> int:
        """The part that holds a block that this reader was given.

        Raises:
            KeyUnavailable: it was not given.
        """
        return self.row.entries[self._place(label)].part

    def open(self, label: Label) -> bytes:
        """The content of a block that this reader was given.

        Raises:
            KeyUnavailable: it was not given.
            Invalid: BLOCK_OPEN or CONTENT.
        """
        place = self._place(label)
        body = self.slice.parts[self.row.entries[place].part].body
        return decrypt_with(self.keys[place], label.encode(self.slice.header_hash), body)

    def _place(self, label: Label) -> int:
        for place, entry in enumerate(self.row.entries):
            if entry.label == label:
                return place
        raise KeyUnavailable("this agency was given no key to that block")


def receive_slice(
    data: bytes, *, recipient: AgencyId, secrets: OpeningSecrets, ground: Ground, verified: Verified
) -> Received:
    """Verifies a slice as its recipient.

    Raises:
        Invalid: the first check that fails.
        Pending: it was accepted under a trust bundle that is not here yet.
        KeyUnavailable: the recipient's prekey is not, or no longer, here.
    """
    got = decode_slice(data)
    acceptance = decode_acceptance(got.acceptance)
    if not ground.knows(acceptance.statement.bundle):
        raise Pending(BUNDLE)
    check_acceptance(acceptance, got.root, ground=ground, verified=verified)
    accepted_at = acceptance.statement.appended_at
    check_header(got.header, ground=ground, accepted_at=accepted_at)
    check_signature(got.header, got.signed, got.root, ground=ground, accepted_at=accepted_at, verified=verified)
    slot_part, slot = _own_slot(got, recipient)
    if slot.day != day_of(got.header.sealed_at):
        raise Invalid(Check.PREKEY, "a slot secret is not of the day of sealing")
    ground.check_prekey(recipient, slot.prekey_id, got.header.sealed_at)
    prk = secrets.get(got.header.agency, got.header.instance, slot)
    content, row = decode_content(open_slot(prk, got.header_hash, slot))
    keys = _check_row(got, slot, content, row)
    body = got.parts[1].body
    credentials = decode_credentials(decrypt(content.credentials_seed, CREDENTIALS_LABEL.encode(got.header_hash), body))
    return Received(got, acceptance, slot_part, slot, content, row, credentials, keys)


def _own_slot(got: Slice, recipient: AgencyId) -> tuple[int, SlotForm]:
    """Check 21: the slice shows exactly what its slot names."""
    slots = [index for index, part in got.parts.items() if part.kind == PartKind.SLOT]
    if len(slots) != 1 or got.parts.get(1, Part(PartKind.PADDING, b"")).kind != PartKind.CREDENTIALS:
        raise Invalid(Check.SLICE, "a slice has one slot and the credentials")
    slot = read_slot(got.parts[slots[0]].body)
    if slot.reader != recipient:
        raise Invalid(Check.SLICE, "the slice is for another reader")
    if got.parts.keys() != {1, slots[0], *slot.parts}:
        raise Invalid(Check.SLICE, "the slice holds other parts than its slot names")
    return slots[0], slot


def _check_row(got: Slice, slot: SlotForm, content: SlotContent, row: Row) -> tuple[bytes, ...]:
    """Checks 23, 25 and 35: row, commitments, labels. Gives the key of each entry."""
    if not compare_digest(row_digest(content.salt, content.row), slot.row_digest) or row.reader != slot.reader:
        raise Invalid(Check.ROW, "the row is not the one that the slot shows")
    if sorted(entry.part for entry in row.entries) != list(slot.parts):
        raise Invalid(Check.ROW, "the row lists other parts than the slot")
    if len({entry.label for entry in row.entries}) != len(row.entries):
        raise Invalid(Check.LABEL_TWICE, "two blocks have the same compartment and person")
    keys = []
    for entry, seed in zip(row.entries, content.seeds, strict=True):
        part = got.parts[entry.part]
        label = entry.label
        if part.kind != (PartKind.LEDGER if label == LEDGER_LABEL else PartKind.BLOCK):
            raise Invalid(Check.ROW, "the row names a part of another kind")
        _check_label(label)
        keys.append(committed_key(seed, label.encode(got.header_hash), part.body))
    return tuple(keys)


def _check_label(label: Label) -> None:
    compartment = label.compartment
    if label.serial and compartment not in _COUNTED:
        raise Invalid(Check.ROW, "a compartment has a serial")
    if compartment is Compartment.CREDENTIALS:
        raise Invalid(Check.ROW, "the row names the credentials, which are no block")
    if label.person is not None and compartment in (Compartment.LEDGER, Compartment.DISCLOSURE):
        raise Invalid(Check.ROW, "the row gives a person to what is of none", compartment=compartment.label)


def open_block(got: Slice, part: int, label: Label, seed: Seed) -> bytes:
    """The content of one block of a slice.

    Raises:
        Invalid: COMMITMENT, BLOCK_OPEN or CONTENT.
    """
    return decrypt(seed, label.encode(got.header_hash), got.parts[part].body)


def keep(received: Received) -> bytes:
    """The slice without its slot, as a recipient keeps it: only the slot's leaf hash stays (§3.3)."""
    got = received.slice
    index = received.slot_part
    parts: Mapping[int, Part] = {
        **got.parts,
        index: Part(PartKind.HASH, leaf(PartKind.SLOT, index, got.parts[index].body)),
    }
    return encode_slice(
        got.header_bytes, got.signed.encode(), got.size, sorted(parts.items()), got.proof, got.acceptance
    )
