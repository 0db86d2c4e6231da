"""Disclosure: one block of one accepted envelope, provable to somebody who did not receive it (§8).

The one structure for a mandate in a chain, for an old block under a grant, and for evidence.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from broker import merkle
from broker.authority import mandate as mandates
from broker.authority.model import Given
from broker.checks import Check
from broker.errors import Invalid
from broker.names import Compartment, Digest, PersonRef
from broker.seal.acceptance import Acceptance, decode_acceptance
from broker.seal.block import Label, RawSeed, decrypt
from broker.seal.check import Verified, check_acceptance, check_header, check_signature
from broker.seal.envelope import Slice
from broker.seal.ground import Ground
from broker.seal.header import Header, decode_header, header_hash
from broker.seal.parts import LEAF_CLASSES, PartKind, Signed, leaf, read_signed, root
from broker.seal.wire import NO_PERSON, Cursor, bytes16, bytes32


class Disclosure(NamedTuple):
    """One block, its seed, and what proves that its author signed and the broker accepted it."""

    header_bytes: bytes
    signed: Signed
    size: int
    part: int
    proof: tuple[bytes, ...]
    body: bytes
    label: Label
    seed: RawSeed
    acceptance: bytes

    def encode(self) -> bytes:
        """The disclosure's bytes."""
        label = self.label
        return b"".join(
            (
                bytes16(self.header_bytes),
                self.signed.encode(),
                self.size.to_bytes(2, "big"),
                self.part.to_bytes(2, "big"),
                bytes((len(self.proof),)),
                *self.proof,
                bytes32(self.body),
                bytes((label.compartment, label.serial)),
                label.person or NO_PERSON,
                self.seed,
                bytes16(self.acceptance),
            )
        )


def decode_disclosure(data: bytes) -> Disclosure:
    """The disclosure with these bytes.

    Raises:
        Invalid: check CHAIN.
    """
    cursor = Cursor(data, Check.CHAIN)
    header, signed, size, part = cursor.bytes16(), read_signed(cursor), cursor.u16(), cursor.u16()
    proof, body = tuple(cursor.hashes(cursor.u8())), cursor.bytes32()
    try:
        compartment = Compartment(cursor.u8())
    except ValueError:
        raise Invalid(Check.CHAIN, "a disclosure is of an unknown compartment") from None
    serial, person, seed = cursor.u8(), cursor.take(16), RawSeed(cursor.take(32))
    acceptance = cursor.bytes16()
    cursor.end()
    label = Label(compartment, serial, None if person == NO_PERSON else PersonRef(person))
    return Disclosure(header, signed, size, part, proof, body, label, seed, acceptance)


def disclose(kept: Slice, part: int, label: Label, seed: bytes) -> bytes:
    """The disclosure of a block that stands in a slice.

    The proof for the slice's several parts is turned into the path of this one.
    """
    known = {0: leaf(PartKind.HEADER, 0, kept.header_bytes)}
    for index, (kind, body) in kept.parts.items():
        known[index] = body if kind == PartKind.HASH else leaf(kind, index, body)
    path = merkle.path_from_proof(kept.size, known, kept.proof, part)
    return Disclosure(
        kept.header_bytes,
        kept.signed,
        kept.size,
        part,
        tuple(path),
        kept.parts[part].body,
        label,
        RawSeed(seed),
        kept.acceptance,
    ).encode()


class Disclosed(NamedTuple):
    """What a verified disclosure says."""

    header: Header
    acceptance: Acceptance
    root: Digest
    label: Label
    content: bytes


def verify_disclosure(data: bytes, *, ground: Ground, verified: Verified) -> Disclosed:
    """Checks 2 to 10, 20 and 25 to 27 on a disclosure.

    Raises:
        Invalid: the check that fails.
    """
    disclosure = decode_disclosure(data)
    header, end = decode_header(disclosure.header_bytes)
    if end != len(disclosure.header_bytes) or disclosure.size not in LEAF_CLASSES:
        raise Invalid(Check.CHAIN, "a disclosure is not in canonical form")
    known = {disclosure.part: leaf(PartKind.BLOCK, disclosure.part, disclosure.body)} if disclosure.part else {}
    try:
        mth = merkle.root_from_proof(disclosure.size, known, disclosure.proof)
    except (ValueError, IndexError):
        raise Invalid(Check.TREE, "the block of a disclosure does not lead to a root") from None
    top = root(disclosure.size, mth)
    acceptance = decode_acceptance(disclosure.acceptance)
    check_acceptance(acceptance, top, ground=ground, verified=verified)
    accepted_at = acceptance.statement.appended_at
    check_header(header, ground=ground, accepted_at=accepted_at)
    check_signature(header, disclosure.signed, top, ground=ground, accepted_at=accepted_at, verified=verified)
    label = disclosure.label.encode(header_hash(disclosure.header_bytes))
    content = decrypt(disclosure.seed, label, disclosure.body)
    return Disclosed(header, acceptance, top, disclosure.label, content)


@lru_cache(8_192)
def recall_mandate(data: bytes) -> Given:
    """The mandate in a disclosure that was verified when it was received.

    Raises:
        Invalid: the bytes are not those of a disclosure.
    """
    disclosure = decode_disclosure(data)
    header, _ = decode_header(disclosure.header_bytes)
    content = decrypt(disclosure.seed, disclosure.label.encode(header_hash(disclosure.header_bytes)), disclosure.body)
    return mandate_in(header, decode_acceptance(disclosure.acceptance), disclosure.label, content)


def given_mandate(disclosed: Disclosed) -> Given:
    """The mandate that a verified disclosure shows; it must speak of the event that it stands in.

    Raises:
        Invalid: check CHAIN or MANDATE.
    """
    return mandate_in(disclosed.header, disclosed.acceptance, disclosed.label, disclosed.content)


def mandate_in(header: Header, acceptance: Acceptance, label: Label, content: bytes) -> Given:
    """The mandate in a block of this event.

    Raises:
        Invalid: check CHAIN or MANDATE.
    """
    if label.compartment is not Compartment.MANDATE:
        raise Invalid(Check.CHAIN, "a chain cites something that is not a mandate")
    mandate = mandates.decode(content)
    if (mandate.event_id, mandate.case, mandate.type, mandate.variant, mandate.giver, mandate.person) != (
        header.event_id,
        header.case_ref,
        header.type,
        header.variant,
        header.agency,
        label.person,
    ):
        raise Invalid(Check.CHAIN, "a mandate stands in an event that it does not speak of")
    statement = acceptance.statement
    return Given(mandate, mandates.digest(content), statement.offset, statement.appended_at)
