"""The outer form of envelopes and slices, parsed strictly (``docs/spec/envelope.md`` §3)."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from broker import limits, merkle
from broker.checks import Check
from broker.errors import Invalid
from broker.names import Digest
from broker.seal.header import Header, decode_header, header_hash
from broker.seal.parts import LEAF_CLASSES, LEAF_PREFIX, Part, PartKind, Signed, leaf, read_signed, root
from broker.seal.wire import ENVELOPE_ID, SLICE_ID, Cursor, bytes16, outer, schema_id, sealed_part

_ENVELOPE_KINDS: Final = frozenset(
    (PartKind.PADDING, PartKind.CREDENTIALS, PartKind.SLOT, PartKind.BLOCK, PartKind.LEDGER)
)
_SLICE_KINDS: Final = frozenset((PartKind.CREDENTIALS, PartKind.SLOT, PartKind.BLOCK, PartKind.LEDGER, PartKind.HASH))
_HEADER: Final = int(PartKind.HEADER)
_HASH: Final = int(PartKind.HASH)
_PART: Final = struct.Struct(">BI")
_SLICE_PART: Final = struct.Struct(">HBI")
_COUNTS: Final = struct.Struct(">HH")


class Envelope(NamedTuple):
    """A sealed event, whole. ``parts`` are parts 1 to m; ``tree`` is over all leaves, the header's first."""

    header: Header
    header_bytes: bytes
    header_hash: bytes
    signed: Signed
    signed_bytes: bytes
    parts: Sequence[Part]
    tree: Sequence[Sequence[bytes]]
    root: Digest


class Slice(NamedTuple):
    """What one reader is given. ``parts`` maps the index of a part to it."""

    header: Header
    header_bytes: bytes
    header_hash: bytes
    signed: Signed
    size: int
    parts: Mapping[int, Part]
    proof: Sequence[bytes]
    acceptance: bytes
    root: Digest


def leaves(header_bytes: bytes, parts: Sequence[Part]) -> list[bytes]:
    """The leaf hashes of an envelope."""
    prefix = LEAF_PREFIX
    hashes = [leaf(_HEADER, 0, header_bytes)]
    hashes += [sha256(prefix[kind][i] + body).digest() for i, (kind, body) in enumerate(parts, 1)]
    return hashes


def encode_envelope(header_bytes: bytes, signed: Signed, parts: Sequence[Part]) -> bytes:
    """The envelope on the stream."""
    sealed = [signed.encode(), len(parts).to_bytes(2, "big")]
    for kind, body in parts:
        sealed += (_PART.pack(kind, len(body)), body)
    return outer(ENVELOPE_ID, header_bytes, b"".join(sealed))


def decode_envelope(data: bytes) -> Envelope:
    """The envelope with these bytes; its signature is not yet checked.

    Raises:
        Invalid: checks SIZE, WIRE, CANONICAL, SUITE, TREE.
    """
    if schema_id(data) != ENVELOPE_ID:
        raise Invalid(Check.WIRE, "not an envelope")
    header, end = decode_header(data, 5)
    cursor = Cursor(sealed_part(data, end))
    signed = read_signed(cursor)
    signed_bytes = cursor.data[: cursor.at]
    parts = _read_parts(cursor)
    cursor.end()
    if len(parts) + 1 not in LEAF_CLASSES or parts[0].kind != PartKind.CREDENTIALS:
        raise Invalid(Check.TREE, "the number or order of parts is not one that an envelope can have")
    header_bytes = data[5:end]
    tree = merkle.levels(leaves(header_bytes, parts))
    return Envelope(
        header,
        header_bytes,
        header_hash(header_bytes),
        signed,
        signed_bytes,
        parts,
        tree,
        root(len(parts) + 1, tree[-1][0]),
    )


def _read_parts(cursor: Cursor) -> list[Part]:
    """The parts of an envelope: the one loop that runs for each of them, so it takes its bytes by itself."""
    data, count, at = cursor.data, cursor.u16(), cursor.at
    parts = []
    for _ in range(count):
        body = at + _PART.size
        if body > len(data):
            raise Invalid(Check.WIRE, "cut short")
        kind, size = _PART.unpack_from(data, at)
        at = body + size
        if at > len(data):
            raise Invalid(Check.WIRE, "cut short")
        if kind not in _ENVELOPE_KINDS or size > limits.PART_BYTES:
            raise Invalid(Check.TREE, "a part is of an unknown kind or too large")
        parts.append(Part(kind, data[body:at]))
    cursor.at = at
    return parts


def encode_part(index: int, part: Part) -> bytes:
    """A part as it stands in a slice."""
    return _SLICE_PART.pack(index, part.kind, len(part.body)) + part.body


def encode_slice(
    header_bytes: bytes,
    signed_bytes: bytes,
    size: int,
    parts: Sequence[tuple[int, Part]],
    proof: Sequence[bytes],
    acceptance: bytes,
) -> bytes:
    """The slice on the stream; ``parts`` ascend by index and leave out the header."""
    encoded = [encode_part(index, part) for index, part in parts]
    return join_slice(header_bytes, signed_bytes, size, encoded, proof, acceptance)


def join_slice(
    header_bytes: bytes,
    signed_bytes: bytes,
    size: int,
    encoded: Sequence[bytes],
    proof: Sequence[bytes],
    acceptance: bytes,
) -> bytes:
    """The same from parts that ``encode_part`` made: the slices of one envelope share most of them."""
    counts = _COUNTS.pack(size, len(encoded))
    ending = len(proof).to_bytes(2, "big")
    sealed = b"".join((signed_bytes, counts, *encoded, ending, *proof, bytes16(acceptance)))
    return outer(SLICE_ID, header_bytes, sealed)


def decode_slice(data: bytes) -> Slice:
    """The slice with these bytes; signature and acceptance are not yet checked.

    Raises:
        Invalid: checks SIZE, WIRE, CANONICAL, SUITE, TREE.
    """
    if schema_id(data) != SLICE_ID:
        raise Invalid(Check.WIRE, "not a slice")
    header, end = decode_header(data, 5)
    cursor = Cursor(sealed_part(data, end))
    signed, (size, count) = read_signed(cursor), _COUNTS.unpack(cursor.take(_COUNTS.size))
    parts: dict[int, Part] = {}
    last = 0
    for _ in range(count):
        index, kind, length = _SLICE_PART.unpack(cursor.take(_SLICE_PART.size))
        if index <= last or kind not in _SLICE_KINDS or length > limits.PART_BYTES:
            raise Invalid(Check.CANONICAL, "a slice's parts are not in order")
        if kind == _HASH and length != merkle.HASH_SIZE:
            raise Invalid(Check.CANONICAL, "a slice has a hash of another size")
        parts[index], last = Part(kind, cursor.take(length)), index
    proof, acceptance = cursor.hashes(cursor.u16()), cursor.bytes16()
    cursor.end()
    header_bytes = data[5:end]
    return Slice(
        header,
        header_bytes,
        header_hash(header_bytes),
        signed,
        size,
        parts,
        proof,
        acceptance,
        _slice_root(header_bytes, size, parts, proof),
    )


def _slice_root(header_bytes: bytes, size: int, parts: Mapping[int, Part], proof: Sequence[bytes]) -> Digest:
    if size not in LEAF_CLASSES:
        raise Invalid(Check.TREE, "the number of parts is not one that an envelope can have")
    known = {0: leaf(PartKind.HEADER, 0, header_bytes)}
    for index, (kind, body) in parts.items():
        if index >= size:
            raise Invalid(Check.TREE, "a part is outside the tree")
        known[index] = body if kind == PartKind.HASH else leaf(kind, index, body)
    try:
        return root(size, merkle.root_from_proof(size, known, proof))
    except ValueError as error:
        raise Invalid(Check.TREE, "the parts of a slice do not lead to a root", reason=str(error)) from None
