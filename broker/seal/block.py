"""Blocks: the unit of encryption (``docs/spec/envelope.md`` §5).

A block's key comes from its seed and its label, and its commitment is checked before it is decrypted: it cannot
be moved to another event, compartment or person, and cannot be opened to two plaintexts.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from hmac import compare_digest, digest
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker import limits
from broker.checks import Check
from broker.errors import Invalid
from broker.names import Compartment, PersonRef
from broker.seal.wire import NO_PERSON

NO_SHARE: Final = bytes(32)
"""The release share where no trustee holds one."""
NONCE: Final = bytes(12)
"""Every key encrypts once, so the nonce is constant."""
_KEY: Final = b"casebridge/1/block/key"
_COMMITMENT: Final = b"casebridge/1/block/commitment"
_CHUNKS: Final = b"casebridge/1/block/chunks"
_CLASSES: Final = limits.PADDING_CLASSES


class Seed(Protocol):
    """A block's seed behind a handle; ``broker.keys`` has one that never hands out its bytes."""

    def expand(self, salt: bytes, infos: Sequence[bytes]) -> list[bytes]:
        """HKDF-Extract with this salt, then one block of HKDF-Expand for each info."""


class RawSeed(bytes):
    """A seed that was just drawn or just received, before it goes into the keystore."""

    def expand(self, salt: bytes, infos: Sequence[bytes]) -> list[bytes]:
        """As ``Seed``."""
        prk = digest(salt, self, "sha256")
        return [digest(prk, info + b"\x01", "sha256") for info in infos]


class Label(NamedTuple):
    """Which block of an event: compartment, serial (0 for what the catalogue knows), person."""

    compartment: Compartment
    serial: int
    person: PersonRef | None

    def encode(self, header_hash: bytes) -> bytes:
        """The label's bytes, bound to the event's header."""
        return b"".join((header_hash, bytes((self.compartment, self.serial)), self.person or NO_PERSON))


def pad(content: bytes) -> bytes:
    """The content behind its length, filled with zeros to the next size class.

    Raises:
        Invalid: check SIZE: larger than the largest class.
    """
    size = len(content)
    index = bisect_left(_CLASSES, size + 4)
    if index == len(_CLASSES):
        raise Invalid(Check.SIZE, "a part is larger than an envelope can carry", size=size + 4)
    return (size.to_bytes(4, "big") + content).ljust(_CLASSES[index], b"\0")


def unpad(padded: bytes) -> bytes:
    """What ``pad`` was given.

    Raises:
        Invalid: check CONTENT: not what ``pad`` makes.
    """
    end = 4 + int.from_bytes(padded[:4], "big")
    size = len(padded)
    if end > size or size not in _CLASSES or bisect_left(_CLASSES, end) != bisect_left(_CLASSES, size):
        raise Invalid(Check.CONTENT, "a block's padding is not in canonical form")
    if padded.count(0, end) != size - end:
        raise Invalid(Check.CONTENT, "a block's padding is not in canonical form")
    return padded[4:end]


def encrypt(seed: Seed, label: bytes, content: bytes) -> bytes:
    """The body of a block: commitment and ciphertext."""
    key, commitment = seed.expand(NO_SHARE, (_KEY + label, _COMMITMENT + label))
    return commitment + AESGCM(key).encrypt(NONCE, pad(content), label)


def committed_key(seed: Seed, label: bytes, body: bytes) -> bytes:
    """The key of this body, once it is shown that seed and label belong to it.

    Raises:
        Invalid: check COMMITMENT.
    """
    key, commitment = seed.expand(NO_SHARE, (_KEY + label, _COMMITMENT + label))
    if not compare_digest(commitment, body[:32]):
        raise Invalid(Check.COMMITMENT, "a block is not what its seed commits to")
    return key


def decrypt_with(key: bytes, label: bytes, body: bytes) -> bytes:
    """The content of a block whose key ``committed_key`` gave.

    Raises:
        Invalid: BLOCK_OPEN or CONTENT.
    """
    try:
        return unpad(AESGCM(key).decrypt(NONCE, body[32:], label))
    except InvalidTag:
        raise Invalid(Check.BLOCK_OPEN, "a block does not decrypt") from None


def decrypt(seed: Seed, label: bytes, body: bytes) -> bytes:
    """The content of a block.

    Raises:
        Invalid: COMMITMENT, BLOCK_OPEN or CONTENT.
    """
    return decrypt_with(committed_key(seed, label, body), label, body)


def chunk_root(seed: Seed, label: bytes) -> bytes:
    """The root from which the keys of an attachment's chunks are derived."""
    (key,) = seed.expand(NO_SHARE, (_CHUNKS + label,))
    return key
