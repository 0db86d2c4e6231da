"""The tree of parts, the root that names an envelope, and batch signatures (``docs/spec/envelope.md`` §4)."""

from __future__ import annotations

import enum
import struct
from bisect import bisect_left
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from broker import limits, merkle
from broker.checks import Check
from broker.errors import Invalid
from broker.names import AgencyId, Digest, KeyId
from broker.seal.header import SUITE
from broker.seal.wire import Cursor, text

LEAF_CLASSES: Final = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_SIGNED: Final = struct.Struct(">8sIIB")
"""What stands before the path: key, size of the batch, place in it, length of the path."""
_ROOT: Final = b"casebridge/1/root"
_BATCH: Final = b"casebridge/1/batch"
_ACCEPTANCE: Final = b"casebridge/1/acceptance"


class PartKind(enum.IntEnum):
    """What a part is; bound into its leaf hash."""

    PADDING = 0
    HEADER = 1
    CREDENTIALS = 2
    SLOT = 3
    BLOCK = 4
    LEDGER = 5
    HASH = 128
    """In a kept slice: the body is the leaf hash of a slot that was dropped."""


class Part(NamedTuple):
    """One part of an envelope."""

    kind: int
    body: bytes


LEAF_PREFIX: Final = [[bytes((0, kind)) + i.to_bytes(2, "big") for i in range(limits.PARTS)] for kind in range(6)]
"""What a leaf hash says before the body: by kind and index."""


def leaf(kind: int, index: int, body: bytes) -> bytes:
    """The leaf hash of part ``index``."""
    return sha256(LEAF_PREFIX[kind][index] + body).digest()


def leaf_class(count: int) -> int:
    """The number of leaves to which ``count`` parts are filled up.

    Raises:
        Invalid: check SIZE.
    """
    index = bisect_left(LEAF_CLASSES, count)
    if index == len(LEAF_CLASSES):
        raise Invalid(Check.SIZE, "the event has more parts than an envelope can carry", parts=count)
    return LEAF_CLASSES[index]


def root(size: int, mth: bytes) -> Digest:
    """L, the root of an envelope with ``size`` leaves."""
    return Digest(sha256(_ROOT + size.to_bytes(2, "big") + mth).digest())


class Signed(NamedTuple):
    """A signature over a batch, and this member's path to the batch root."""

    key_id: KeyId
    batch: int
    place: int
    path: Sequence[bytes]
    signature: bytes

    def encode(self) -> bytes:
        """``key_id || u32 size || u32 index || u8 n || path || signature``."""
        return b"".join((_SIGNED.pack(self.key_id, self.batch, self.place, len(self.path)), *self.path, self.signature))

    def root_over(self, member: bytes) -> bytes:
        """The batch root, from this member's bytes.

        Raises:
            Invalid: check SIGNATURE: the path does not fit the batch.
        """
        try:
            return merkle.root_from_proof(self.batch, {self.place: merkle.leaf_hash(member)}, self.path)
        except ValueError:
            raise Invalid(Check.SIGNATURE, "the path of the batch signature does not fit the batch") from None


def read_signed(cursor: Cursor) -> Signed:
    """What ``Signed.encode`` wrote.

    Raises:
        Invalid: the cursor's check, or SIZE.
    """
    key_id, size, index, steps = _SIGNED.unpack(cursor.take(_SIGNED.size))
    if not 1 <= size <= limits.BATCH:
        raise Invalid(Check.SIZE, "the batch is larger than it may be")
    return Signed(key_id, size, index, cursor.hashes(steps), cursor.take(64))


def _message(tag: bytes, signer: AgencyId, key_id: KeyId, size: int, batch_root: bytes) -> bytes:
    return b"".join((tag, bytes((SUITE,)), text(signer), key_id, size.to_bytes(4, "big"), batch_root))


def batch_message(agency: AgencyId, key_id: KeyId, size: int, batch_root: bytes) -> bytes:
    """What an agency signs for a batch of envelopes."""
    return _message(_BATCH, agency, key_id, size, batch_root)


def acceptance_message(broker: AgencyId, key_id: KeyId, size: int, batch_root: bytes) -> bytes:
    """What the broker signs for a batch of acceptances."""
    return _message(_ACCEPTANCE, broker, key_id, size, batch_root)


def sign_batch(
    members: Sequence[bytes],
    *,
    signer: AgencyId,
    key_id: KeyId,
    sign: Callable[[bytes], bytes],
    message: Callable[[AgencyId, KeyId, int, bytes], bytes],
) -> list[Signed]:
    """One signature over all members (roots or acceptance statements), and each member's path to it."""
    tree = merkle.levels([merkle.leaf_hash(member) for member in members])
    signature = sign(message(signer, key_id, len(members), tree[-1][0]))
    return [Signed(key_id, len(members), i, merkle.prove(tree, (i,)), signature) for i in range(len(members))]
