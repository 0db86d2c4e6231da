"""Signed notes (c2sp.org/signed-note) and the keys that sign them: logs (0x01) and cosigners (0x04, 0x06).

A note is a text with signature lines. Who is trusted is the caller's list of verifiers; lines of unknown keys are
ignored, a line of a known key that does not verify makes the whole note worthless.
"""

from __future__ import annotations

import base64
import binascii
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from broker.tlog.checkpoint import Checkpoint, parse_checkpoint

ED25519: Final = 0x01
COSIGNATURE_ED25519: Final = 0x04
COSIGNATURE_MLDSA44: Final = 0x06
NOTE_BYTES: Final = 1_000_000
SIGNATURES: Final = 100
_SIZES: Final = {ED25519: 32, COSIGNATURE_ED25519: 32, COSIGNATURE_MLDSA44: 1312}
_DASH: Final = "— "


class Line(NamedTuple):
    """A signature line: the name of a key, its id, and what it signed with."""

    name: str
    key_id: bytes
    signature: bytes

    def text(self) -> str:
        """The line, with its newline."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


class Note(NamedTuple):
    """A text and its signature lines, none of them verified."""

    text: str
    lines: tuple[Line, ...]

    def encode(self) -> bytes:
        """The note's bytes."""
        return (self.text + "\n" + "".join(line.text() for line in self.lines)).encode()


class Seen(NamedTuple):
    """A signature that holds: whose, and for a cosignature when it was made (seconds since 1970)."""

    name: str
    key_id: bytes
    kind: int
    at: int | None


def parse_note(data: bytes) -> Note:
    """The note with these bytes.

    Raises:
        ValueError: not a note, or larger than a note may be here.
    """
    if len(data) > NOTE_BYTES:
        raise ValueError("the note is too large")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise ValueError("a note is UTF-8") from None
    if any(ord(char) < 0x20 and char != "\n" for char in whole):
        raise ValueError("a note has no control characters")
    text, found, signed = whole.rpartition("\n\n")
    if not found or not signed.endswith("\n"):
        raise ValueError("a note ends with signature lines")
    lines = tuple(_line(line) for line in signed[:-1].split("\n"))
    if len(lines) > SIGNATURES:
        raise ValueError("the note has too many signatures")
    return Note(text + "\n", lines)


def _line(line: str) -> Line:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not is_name(name):
        raise ValueError("a signature line names no key")
    raw = decode64(encoded)
    if len(raw) < 5:
        raise ValueError("a signature line has no signature")
    return Line(name, raw[:4], raw[4:])


def is_name(name: str) -> bool:
    """Whether this can name a key: not empty, no space of any script, no plus."""
    return (
        bool(name)
        and "+" not in name
        and not any(char.isspace() or unicodedata.category(char).startswith(("Z", "C")) for char in name)
    )


def decode64(text: str) -> bytes:
    """Standard base64 in its one canonical form.

    Raises:
        ValueError: not that.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise ValueError("base64 that is not in canonical form")
    return data


def key_id(name: str, kind: int, public: bytes) -> bytes:
    """The four bytes by which a line names its key."""
    return sha256(name.encode() + b"\n" + bytes((kind,)) + public).digest()[:4]


class Verifier(NamedTuple):
    """A key that is trusted for something: its name, its kind and its public half."""

    name: str
    kind: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes by which a line names it."""
        return key_id(self.name, self.kind, self.public)

    def vkey(self) -> str:
        """The key as people pass it on."""
        encoded = base64.b64encode(bytes((self.kind,)) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def check(self, text: str, line: Line) -> Seen:
        """Verifies a line of this key.

        Raises:
            ValueError: the signature does not hold, or is not for such a text.
        """
        at: int | None = None
        signature = line.signature
        if self.kind != ED25519:
            at, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            if len(line.signature) < 8 or at >> 63:
                raise ValueError("a cosignature has no time")
        try:
            self._verify(signature, self._message(text, at))
        except InvalidSignature:
            raise ValueError(f"the signature of {self.name} does not verify") from None
        return Seen(self.name, self.key_id, self.kind, at)

    def _message(self, text: str, at: int | None) -> bytes:
        if at is None:
            return text.encode()
        if self.kind == COSIGNATURE_ED25519:
            parse_checkpoint(text)
            return cosigned_text(text, at)
        return cosigned_tree(self.name, parse_checkpoint(text), at)

    def _verify(self, signature: bytes, message: bytes) -> None:
        if self.kind == COSIGNATURE_MLDSA44:
            MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
        else:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)


def parse_vkey(text: str) -> Verifier:
    """The key that a vkey names.

    Raises:
        ValueError: not a vkey of a kind that is known here, or its id is not that of its key.
    """
    parts = text.split("+", 2)
    if len(parts) != 3 or not is_name(parts[0]):
        raise ValueError("not a verifier key")
    material = decode64(parts[2])
    if not material or len(material) - 1 != _SIZES.get(material[0]):
        raise ValueError("a verifier key of a kind that is not known here")
    found = Verifier(parts[0], material[0], material[1:])
    if found.key_id.hex() != parts[1]:
        raise ValueError("the id of a verifier key is not that of its key")
    return found


def cosigned_text(text: str, at: int) -> bytes:
    """What an Ed25519 cosigner signs (c2sp.org/tlog-cosignature)."""
    return f"cosignature/v1\ntime {at}\n{text}".encode()


def cosigned_tree(name: str, checkpoint: Checkpoint, at: int) -> bytes:
    """What an ML-DSA-44 cosigner signs of a whole tree.

    Raises:
        ValueError: a name is longer than its length byte can say.
    """
    named, origin = name.encode(), checkpoint.origin.encode()
    if not 0 < len(named) < 256 or not 0 < len(origin) < 256:
        raise ValueError("a name or an origin is too long for a cosignature")
    return b"".join(
        (
            b"subtree/v1\n\0",
            bytes((len(named),)),
            named,
            at.to_bytes(8, "big"),
            bytes((len(origin),)),
            origin,
            bytes(8),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )


class NoteSigner(Protocol):
    """What can put a line under a note."""

    @property
    def verifier(self) -> Verifier:
        """Its public half."""

    def sign(self, text: str, *, at: int) -> Line:
        """The line; ``at`` is the time in seconds, which only cosignatures carry."""


class Ed25519Signer:
    """A log's key (0x01), or an Ed25519 cosigner's (0x04), from its 32-byte seed."""

    def __init__(self, name: str, seed: bytes, *, kind: int = ED25519) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, kind, self._key.public_key().public_bytes_raw())

    def sign(self, text: str, *, at: int) -> Line:
        """As ``NoteSigner``."""
        if self.verifier.kind == ED25519:
            return Line(self.verifier.name, self.verifier.key_id, self._key.sign(text.encode()))
        parse_checkpoint(text)
        signature = at.to_bytes(8, "big") + self._key.sign(cosigned_text(text, at))
        return Line(self.verifier.name, self.verifier.key_id, signature)


class Mldsa44Signer:
    """An ML-DSA-44 cosigner (0x06), from its 32-byte seed (FIPS 204, pure, empty context)."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = MLDSA44PrivateKey.from_seed_bytes(seed)
        self.verifier = Verifier(name, COSIGNATURE_MLDSA44, self._key.public_key().public_bytes_raw())

    def sign(self, text: str, *, at: int) -> Line:
        """As ``NoteSigner``."""
        message = cosigned_tree(self.verifier.name, parse_checkpoint(text), at)
        return Line(self.verifier.name, self.verifier.key_id, at.to_bytes(8, "big") + self._key.sign(message))


def verify_note(note: Note, trusted: Iterable[Verifier]) -> list[Seen]:
    """The signatures of trusted keys under a note, in the order of their lines; a key that signed twice counts once.

    Raises:
        ValueError: a line of a trusted key does not verify, or no trusted key signed.
    """
    known = {(one.name, one.key_id): one for one in trusted}
    found: dict[tuple[str, bytes], Seen] = {}
    for line in note.lines:
        verifier = known.get((line.name, line.key_id))
        if verifier is not None:
            found.setdefault((line.name, line.key_id), verifier.check(note.text, line))
    if not found:
        raise ValueError("no key that is trusted signed the note")
    return list(found.values())


def sign_note(text: str, signers: Sequence[NoteSigner], *, at: int) -> Note:
    """A note with the lines of these signers.

    Raises:
        ValueError: the text cannot be that of a note.
    """
    if not text.endswith("\n") or any(ord(char) < 0x20 and char != "\n" for char in text):
        raise ValueError("the text of a note ends with a newline and has no control characters")
    return Note(text, tuple(signer.sign(text, at=at) for signer in signers))
