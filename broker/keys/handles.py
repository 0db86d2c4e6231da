"""Key handles: they sign, open and derive, are counted and can be closed, and never hand out bytes.

A handle refuses to be copied, pickled or compared by content, and its ``repr`` shows its public id only. That
keeps a key out of logs, caches and messages by accident; it is no wall against code in the same process, and
Python cannot wipe memory. Leaves keys at rest to ``broker.keys.files`` and what is signed to ``broker.seal``.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import sha256, shake_256
from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from broker.checks import Check
from broker.clock import Random
from broker.errors import Invalid, KeyUnavailable
from broker.names import KeyId, Millis

SEED_SIZE: Final = 32
"""Bytes of every private seed: Ed25519 (RFC 8032 §5.1.5), X-Wing prekey, block."""
PUBLIC_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
MLKEM_PUBLIC_SIZE: Final = 1_184
PREKEY_PUBLIC_SIZE: Final = MLKEM_PUBLIC_SIZE + 32
ENC_SIZE: Final = 1_120
"""Bytes of the KEM ciphertext in front of what HPKE seals: ML-KEM-768 1,088 || X25519 32."""
SEALED_OVERHEAD: Final = ENC_SIZE + 16
NONCE_SIZE: Final = 12
WRAP_OVERHEAD: Final = NONCE_SIZE + 16

_HPKE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_FIELD: Final = 2**255 - 19
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER: Final = frozenset({0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8})
"""y of the eight points of small order: one signature under such a key fits many messages."""


def key_id(public: bytes) -> KeyId:
    """The id of a public key: the first 8 bytes of its SHA-256 (``docs/spec/keys.md`` §1)."""
    return KeyId(sha256(public).digest()[:8])


class Handle:
    """What all handles share: a count of uses, an end, and no way to be copied or written out."""

    __slots__ = ("_uses",)

    def __init__(self) -> None:
        self._uses = 0

    @property
    def uses(self) -> int:
        """How often the secret was used in this process."""
        return self._uses

    @property
    def label(self) -> str:
        """What logs may say of this key."""
        return ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label} used {self._uses} times>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a key handle cannot be copied, pickled or sent")


def _gone(*_: object) -> NoReturn:
    raise KeyUnavailable("this key was closed; open the key ring again")


class SigningKey(Handle):
    """An Ed25519 private key (RFC 8032)."""

    __slots__ = ("_sign", "id", "public")

    def __init__(self, seed: bytes) -> None:
        """Take the 32-byte seed; ``public`` is 32 bytes, ``id`` the first 8 of its SHA-256."""
        super().__init__()
        private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: bytes = private.public_key().public_bytes_raw()
        self.id: KeyId = key_id(self.public)
        self._sign: Callable[[bytes], bytes] = private.sign

    @classmethod
    def generate(cls, random: Random) -> SigningKey:
        """A fresh key that lives in memory only."""
        return cls(random.bytes(SEED_SIZE))

    @property
    def label(self) -> str:
        """The id in hex."""
        return self.id.hex()

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over ``message``, which must begin with a tag that names its kind.

        Raises:
            KeyUnavailable: the handle was closed.
        """
        self._uses += 1
        return self._sign(message)

    def close(self) -> None:
        """Forget the private half; may be called again."""
        self._sign = _gone


class Prekey(Handle):
    """A key to which slot secrets are sealed: X-Wing, that is ML-KEM-768 with X25519.

    The private half is the 32-byte seed of draft-connolly-cfrg-xwing-kem §5.2, expanded with SHAKE-256 to the
    64-byte seed of ML-KEM-768 (FIPS 203: d || z) and the X25519 scalar. Senders seal between ``not_before`` and
    ``not_after``; opening stays possible until the key is destroyed, since a slice may have waited.
    """

    __slots__ = ("_private", "id", "not_after", "not_before", "public")

    def __init__(self, seed: bytes, *, not_before: Millis, not_after: Millis) -> None:
        """Take the 32-byte seed; ``public`` is 1,216 bytes, ML-KEM-768 1,184 || X25519 32."""
        super().__init__()
        if len(seed) != SEED_SIZE:
            raise ValueError("the seed of a prekey has 32 bytes")
        expanded = shake_256(seed).digest(96)
        kem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        curve = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.public: bytes = kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        self.id: KeyId = key_id(self.public)
        self.not_before: Millis = not_before
        self.not_after: Millis = not_after
        self._private: MLKEM768X25519PrivateKey | None = MLKEM768X25519PrivateKey(kem, curve)

    @property
    def label(self) -> str:
        """The id in hex."""
        return self.id.hex()

    def open(self, sealed: bytes, *, info: bytes) -> bytes:
        """What ``seal_to`` sealed to this key under the same ``info`` (RFC 9180 §6.1, base mode, no AAD).

        Raises:
            Invalid: check SLOT_OPEN: sealed to another key, under another ``info``, or altered.
            KeyUnavailable: the private half was destroyed.
        """
        if self._private is None:
            raise KeyUnavailable("the prekey of this slot was destroyed; ask the sender for a grant", prekey=self.label)
        if len(sealed) < SEALED_OVERHEAD:
            raise Invalid(Check.SLOT_OPEN, "a slot secret is cut short", size=len(sealed))
        self._uses += 1
        try:
            return _HPKE.decrypt(sealed, self._private, info)
        except (InvalidTag, ValueError):
            raise Invalid(Check.SLOT_OPEN, "a slot secret does not open with the prekey that it names") from None

    def destroy(self) -> None:
        """Forget the private half in this process; ``KeyRing.destroy_expired`` also takes it off the disk."""
        self._private = None

    close = destroy


class WrappingKey(Handle):
    """A symmetric key that wraps other secrets and derives further keys; it never wraps a message.

    Wrapping is AES-256-GCM with a random nonce in front: at most 2^32 wraps under one key (NIST SP 800-38D §8.3).
    """

    __slots__ = ("_cipher", "_derive")

    def __init__(self, key: bytes) -> None:
        """Take the 32-byte key."""
        super().__init__()
        if len(key) != SEED_SIZE:
            raise ValueError("a wrapping key has 32 bytes")
        self._cipher: AESGCM | None = AESGCM(key)
        self._derive: Callable[[bytes], bytes] = lambda info: hmac.digest(key, info + b"\x01", "sha256")

    def wrap(self, secret: bytes, *, aad: bytes, random: Random) -> bytes:
        """``nonce (12) || ciphertext || tag (16)``, bound to ``aad``.

        Raises:
            KeyUnavailable: the handle was closed.
        """
        self._uses += 1
        nonce = random.bytes(NONCE_SIZE)
        return nonce + (self._cipher or _gone()).encrypt(nonce, secret, aad)

    def unwrap(self, wrapped: bytes, *, aad: bytes) -> bytes:
        """The secret, for use inside ``broker.keys`` only.

        Raises:
            KeyUnavailable: wrapped under another key or label, altered, or the handle was closed.
        """
        self._uses += 1
        try:
            return (self._cipher or _gone()).decrypt(wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:], aad)
        except (InvalidTag, ValueError):
            raise KeyUnavailable("a stored key does not open: it was altered, or belongs to another key ring") from None

    def derive(self, info: bytes) -> WrappingKey:
        """The wrapping key for the purpose ``info``: HKDF-Expand (RFC 5869 §2.3), one block."""
        self._uses += 1
        return WrappingKey(self._derive(info))

    def close(self) -> None:
        """Forget the key; may be called again."""
        self._cipher, self._derive = None, _gone


class SeedHandle(Handle):
    """The seed of one block: derives the keys of that block."""

    __slots__ = ("_seed",)

    def __init__(self, seed: bytes) -> None:
        """Take the 32-byte seed."""
        super().__init__()
        if len(seed) != SEED_SIZE:
            raise ValueError("the seed of a block has 32 bytes")
        self._seed: bytes | None = seed

    def expand(self, salt: bytes, infos: Sequence[bytes]) -> list[bytes]:
        """One 32-byte key for each of ``infos``: ``expand_seed`` of this seed.

        Raises:
            KeyUnavailable: the handle was closed.
        """
        self._uses += 1
        return expand_seed(self._seed or _gone(), salt, infos)

    def disclose(self) -> bytes:
        """The seed itself, to put into one slot of a grant or of one's own event; nothing else may call this.

        Raises:
            KeyUnavailable: the handle was closed.
        """
        self._uses += 1
        return self._seed or _gone()

    def close(self) -> None:
        """Forget the seed; may be called again."""
        self._seed = None


def expand_seed(seed: bytes, salt: bytes, infos: Sequence[bytes]) -> list[bytes]:
    """HKDF-SHA256 (RFC 5869): Extract over (``salt``, ``seed``), then for each info one block of Expand, 32 bytes."""
    extracted = hmac.digest(salt, seed, "sha256")
    return [hmac.digest(extracted, info + b"\x01", "sha256") for info in infos]


def verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Accept an Ed25519 signature over ``message`` or raise; parsed public keys are kept, the last 1,024.

    Raises:
        Invalid: check SIGNATURE: not a signature by this key, or the key is not canonical or of small order.
    """
    try:
        _signer(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Invalid(Check.SIGNATURE, "a signature does not verify", key=key_id(public).hex()) from None


def seal_to(public_prekey: bytes, plaintext: bytes, *, info: bytes) -> bytes:
    """``plaintext`` sealed to a prekey: ``enc (1,120) || ciphertext || tag (16)`` (RFC 9180 §6.1, base mode, no AAD).

    Randomness is the library's own, as RFC 9180 wants it: two calls never give the same bytes.

    Raises:
        Invalid: check PREKEY: not the public half of a prekey.
    """
    try:
        return _HPKE.encrypt(plaintext, _recipient(public_prekey), info)
    except ValueError:
        raise Invalid(Check.PREKEY, "a prekey is malformed", key=key_id(public_prekey).hex()) from None


@lru_cache(maxsize=1_024)
def _signer(public: bytes) -> Ed25519PublicKey:
    y = int.from_bytes(public, "little") & (2**255 - 1)
    if y >= _FIELD or y in _SMALL_ORDER:
        raise ValueError("not a key")
    return Ed25519PublicKey.from_public_bytes(public)


@lru_cache(maxsize=512)
def _recipient(public: bytes) -> MLKEM768X25519PublicKey:
    if len(public) != PREKEY_PUBLIC_SIZE:
        raise ValueError("not a prekey")
    kem = MLKEM768PublicKey.from_public_bytes(public[:MLKEM_PUBLIC_SIZE])
    return MLKEM768X25519PublicKey(kem, X25519PublicKey.from_public_bytes(public[MLKEM_PUBLIC_SIZE:]))
