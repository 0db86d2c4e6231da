"""The bytes of a key ring at rest (``docs/spec/keys.md`` §3): encrypted, bound to its agency, one form only.

Leaves when keys come and go to ``broker.keys.files`` and the disk to ``broker.keys.disk``.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from broker import limits
from broker.clock import Random
from broker.errors import ConfigError, InputError, KeyUnavailable
from broker.keys.disk import create_private, read_private
from broker.keys.handles import SEED_SIZE, WRAP_OVERHEAD, Handle, WrappingKey
from broker.names import AgencyId, KeyId, Millis

MAGIC: Final = b"casebridge keys\n"
VERSION: Final = 1
SALT_SIZE: Final = 16
PASSPHRASE_CHARS: Final = 12
"""Least length of a new passphrase."""
PASSPHRASE_MAX: Final = 1_024
KEYS: Final = 64
"""Most signing keys, and most prekeys, with a private half at one time."""
DESTROYED: Final = 512
"""Most destroyed keys remembered; the oldest are forgotten first."""
FILE_BYTES: Final = 65_536
_KDF_ARGON2ID, _KDF_KEY_FILE = 1, 2
_TAG_RING: Final = b"casebridge/1/key-ring"
_TAG_KEY_FILE: Final = b"casebridge/1/key-file"


@dataclass(frozen=True, slots=True)
class Argon2:
    """The cost of turning a passphrase into a key (RFC 9106 §3.1): memory in KiB, passes, lanes."""

    memory: int
    passes: int
    lanes: int


ARGON2: Final = Argon2(memory=47_104, passes=2, lanes=1)
"""Twice the passes that the OWASP Password Storage Cheat Sheet asks for at 46 MiB; about 0.15 s."""
UNSAFE_ARGON2: Final = Argon2(memory=64, passes=1, lanes=1)
"""For tests alone: a thousandth of the cost."""
_LEAST: Final = Argon2(memory=19_456, passes=2, lanes=1)
_MOST: Final = Argon2(memory=262_144, passes=8, lanes=8)
NO_COST: Final = Argon2(memory=0, passes=0, lanes=0)
"""Stands in the header where a key file is used."""


class Passphrase(Handle):
    """A passphrase that a person types; compared in Unicode NFC (RFC 8265 §4.2)."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Take what was typed.

        Raises:
            InputError: empty or longer than 1,024 characters.
        """
        super().__init__()
        if not 0 < len(text) <= PASSPHRASE_MAX:
            raise InputError(f"the passphrase must have 1 to {PASSPHRASE_MAX} characters", field="passphrase")
        self._text = unicodedata.normalize("NFC", text)

    def check_new(self) -> None:
        """Accept it for a new key ring.

        Raises:
            InputError: shorter than 12 characters.
        """
        if len(self._text) < PASSPHRASE_CHARS:
            raise InputError(f"choose a passphrase of at least {PASSPHRASE_CHARS} characters", field="passphrase")

    def key(self, salt: bytes, cost: Argon2) -> WrappingKey:
        """The key that opens the ring: Argon2id (RFC 9106), 32 bytes."""
        self._uses += 1
        kdf = Argon2id(salt=salt, length=32, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory)
        return WrappingKey(kdf.derive(self._text.encode()))


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file of 32 random bytes that opens the ring instead of a passphrase; keep it on another medium."""

    path: Path

    @classmethod
    def create(cls, path: Path, *, random: Random) -> KeyFile:
        """A new key file, mode 0600.

        Raises:
            ConfigError: the file exists already.
            StoreError: the disk refused.
        """
        create_private(path, random.bytes(SEED_SIZE))
        return cls(path)

    def key(self, salt: bytes) -> WrappingKey:
        """The key that opens the ring: HKDF-SHA256 (RFC 5869) over the content, 32 bytes.

        Raises:
            ConfigError: missing, open to others, or not of 32 bytes.
        """
        content = read_private(self.path, limit=SEED_SIZE)
        if len(content) != SEED_SIZE:
            raise ConfigError(f"{self.path} is not a key file: it must have {SEED_SIZE} bytes")
        extracted = hmac.digest(salt, content, "sha256")
        return WrappingKey(hmac.digest(extracted, _TAG_KEY_FILE + b"\x01", "sha256"))


Secret = Passphrase | KeyFile
"""What opens a key ring."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A key with its private half: times in ms, ``seed`` 32 bytes."""

    not_before: Millis
    not_after: Millis
    seed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What is remembered of a key whose private half was destroyed."""

    id: KeyId
    at: Millis


@dataclass(frozen=True, slots=True)
class Contents:
    """What a key ring holds; keys in the order of ``not_before``."""

    root: bytes = field(repr=False)
    identity: bytes = field(repr=False)
    signing: tuple[Stored, ...]
    prekeys: tuple[Stored, ...]
    destroyed: tuple[Destroyed, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """The clear part of the file; ``cost`` is ``NO_COST`` where a key file opens it."""

    agency: AgencyId
    cost: Argon2
    salt: bytes

    def encode(self) -> bytes:
        """The bytes of the header."""
        agency = self.agency.encode()
        return b"".join(
            (
                MAGIC,
                bytes((VERSION, _KDF_KEY_FILE if self.cost == NO_COST else _KDF_ARGON2ID)),
                self.cost.memory.to_bytes(4, "big"),
                bytes((self.cost.passes, self.cost.lanes)),
                self.salt,
                bytes((len(agency),)),
                agency,
            )
        )

    def key(self, secret: Secret) -> WrappingKey:
        """The key of this file from what opens it.

        Raises:
            ConfigError: the key file is missing or unsafe.
            KeyUnavailable: a passphrase was given for a key file, or the other way round.
        """
        if self.cost == NO_COST:
            if isinstance(secret, KeyFile):
                return secret.key(self.salt)
            raise KeyUnavailable("these keys are opened by a key file, not by a passphrase")
        if isinstance(secret, Passphrase):
            return secret.key(self.salt, self.cost)
        raise KeyUnavailable("these keys are opened by a passphrase, not by a key file")


def encode(contents: Contents, *, header: Header, key: WrappingKey, random: Random) -> bytes:
    """The whole file."""
    head = header.encode()
    body = key.wrap(encode_contents(contents), aad=_TAG_RING + head, random=random)
    data = head + len(body).to_bytes(4, "big") + body
    return data + sha256(data).digest()


def decode_header(data: bytes, *, unsafe_cost: Argon2 | None = None) -> tuple[Header, bytes]:
    """The header and the encrypted body of a file; nothing costly is done before all bounds are checked.

    ``unsafe_cost``: a cost below the least that is accepted nevertheless.

    Raises:
        ConfigError: damaged, of another format, or its cost is out of bounds.
    """
    header, body = parse(data)
    if header.cost not in (NO_COST, unsafe_cost) and not _within(header.cost):
        raise ConfigError("the file of keys asks for a cost of unlocking out of bounds; put back the last copy of it")
    return header, body


def parse(data: bytes) -> tuple[Header, bytes]:
    """``decode_header`` without the bounds of cost, for one who has the key already and pays nothing.

    Raises:
        ConfigError: damaged or of another format.
    """
    try:
        return _split(data)
    except ValueError:
        raise ConfigError("the file of keys is damaged; put back the last copy of it") from None


def decode(body: bytes, *, header: Header, key: WrappingKey) -> Contents:
    """What the encrypted body holds.

    Raises:
        KeyUnavailable: the passphrase or key file is wrong.
        ConfigError: the content is not in its one form.
    """
    try:
        clear = key.unwrap(body, aad=_TAG_RING + header.encode())
    except KeyUnavailable:
        opener = "key file" if header.cost == NO_COST else "passphrase"
        raise KeyUnavailable(f"the keys cannot be unlocked: the {opener} is wrong") from None
    return decode_contents(clear)


def encode_contents(contents: Contents) -> bytes:
    """The plaintext of the body (``docs/spec/keys.md`` §3.2)."""
    return b"".join(
        (
            contents.root,
            contents.identity,
            *_list(_stored(key) for key in contents.signing),
            *_list(_stored(key) for key in contents.prekeys),
            *_list(key.id + key.at.to_bytes(8, "big") for key in contents.destroyed),
        )
    )


def decode_contents(data: bytes) -> Contents:
    """Read ``encode_contents`` back, strictly.

    Raises:
        ConfigError: not the bytes of a key ring in their one form.
    """
    try:
        cursor = _Cursor(data)
        contents = Contents(
            root=cursor.take(SEED_SIZE),
            identity=cursor.take(SEED_SIZE),
            signing=tuple(_key(cursor) for _ in range(cursor.number(2))),
            prekeys=tuple(_key(cursor) for _ in range(cursor.number(2))),
            destroyed=tuple(
                Destroyed(KeyId(cursor.take(8)), Millis(cursor.number(8))) for _ in range(cursor.number(2))
            ),
        )
        check(contents)
    except ValueError:
        raise ConfigError("the file of keys does not hold a key ring; put back the last copy of it") from None
    if encode_contents(contents) != data:
        raise ConfigError("the file of keys has something behind its end; put back the last copy of it")
    return contents


def check(contents: Contents) -> None:
    """Accept contents that may be stored.

    Raises:
        ValueError: too many keys, out of order, or a key that ends before it begins.
    """
    for keys in (contents.signing, contents.prekeys):
        if len(keys) > KEYS or any(key.not_before >= key.not_after for key in keys):
            raise ValueError("too many keys, or one that ends before it begins")
        if any(left.not_before > right.not_before for left, right in pairwise(keys)):
            raise ValueError("keys out of order")
    if len(contents.destroyed) > DESTROYED:
        raise ValueError("too many destroyed keys")


class _Cursor:
    """Takes bytes from the front; a short read is an error."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise ValueError("cut short")
        taken, self.at = self.data[self.at : end], end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


def _split(data: bytes) -> tuple[Header, bytes]:
    cursor = _Cursor(data)
    if cursor.take(len(MAGIC)) != MAGIC or cursor.number(1) != VERSION:
        raise ValueError("another format")
    kdf = cursor.number(1)
    cost = Argon2(memory=cursor.number(4), passes=cursor.number(1), lanes=cursor.number(1))
    salt = cursor.take(SALT_SIZE)
    header = Header(AgencyId(cursor.take(cursor.number(1)).decode()), cost, salt)
    body = cursor.take(cursor.number(4))
    if sha256(data[: cursor.at]).digest() != cursor.take(32) or cursor.at != len(data):
        raise ValueError("altered or cut short")
    if kdf != (_KDF_KEY_FILE if cost == NO_COST else _KDF_ARGON2ID) or len(body) < WRAP_OVERHEAD:
        raise ValueError("another format")
    if not 0 < len(header.agency) <= limits.AGENCY_ID_CHARS:
        raise ValueError("no agency")
    return header, body


def _within(cost: Argon2) -> bool:
    return (
        _LEAST.memory <= cost.memory <= _MOST.memory
        and _LEAST.passes <= cost.passes <= _MOST.passes
        and _LEAST.lanes <= cost.lanes <= _MOST.lanes
    )


def _list(items: Iterable[bytes]) -> list[bytes]:
    encoded = list(items)
    return [len(encoded).to_bytes(2, "big"), *encoded]


def _stored(key: Stored) -> bytes:
    return key.not_before.to_bytes(8, "big") + key.not_after.to_bytes(8, "big") + key.seed


def _key(cursor: _Cursor) -> Stored:
    return Stored(Millis(cursor.number(8)), Millis(cursor.number(8)), cursor.take(SEED_SIZE))
