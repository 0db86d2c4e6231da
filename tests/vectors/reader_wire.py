"""The notation, the outer form and the signatures of envelopes, written from the specification alone (``reader.py``)."""

import hashlib
import hmac
import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
ENVELOPE, SLICE, NOTICE = 1, 2, 3
PADDING, HEADER, CREDENTIALS, SLOT, BLOCK, LEDGER, HASH = 0, 1, 2, 3, 4, 5, 128
LEAF_COUNTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
KINDS = (PADDING, CREDENTIALS, SLOT, BLOCK, LEDGER)
SLICE_KINDS = (CREDENTIALS, SLOT, BLOCK, LEDGER, HASH)
SIZES = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 261120)


class Refused(Exception):
    """A MUST of the specification is broken; ``check`` is its number in envelope.md §12."""

    def __init__(self, check: int, why: str) -> None:
        super().__init__(f"check {check}: {why}")
        self.check = check


def must(holds: object, check: int, why: str) -> None:
    """Raises: Refused unless ``holds``."""
    if not holds:
        raise Refused(check, why)


@dataclass(slots=True)
class Cursor:
    """Reads one number after the other; what is cut short fails with ``check``."""

    data: bytes
    check: int
    at: int = 0

    def take(self, size: int) -> bytes:
        must(self.at + size <= len(self.data), self.check, "cut short")
        self.at += size
        return self.data[self.at - size : self.at]

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def text(self) -> str:
        try:
            return self.take(self.u8()).decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(self.check, "a text is not UTF-8") from None

    def bytes16(self) -> bytes:
        return self.take(self.u16())

    def bytes32(self) -> bytes:
        return self.take(self.u32())

    def end(self) -> None:
        must(self.at == len(self.data), self.check, "bytes follow")


# --- §1 primitives ---------------------------------------------------------------------------------------------------


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, ikm, "sha256")


def expand(prk: bytes, info: bytes, size: int = 32) -> bytes:
    return hmac.digest(prk, info + b"\x01", "sha256")[:size]


def text(value: str) -> bytes:
    data = value.encode()
    return bytes([len(data)]) + data


def leaf(data: bytes) -> bytes:
    return sha256(b"\x00" + data)


def node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def gcm_open(key: bytes, aad: bytes, data: bytes, check: int, nonce: bytes = bytes(12)) -> bytes:
    try:
        return AESGCM(key).decrypt(nonce, data, aad)
    except InvalidTag:
        raise Refused(check, "does not decrypt") from None


def verify(key: bytes, signature: bytes, message: bytes, check: int) -> None:
    """Ed25519. Raises: Refused."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Refused(check, "the signature does not verify") from None


def root_of(known: Mapping[int, bytes], size: int, proof: Sequence[bytes], check: int) -> bytes:
    """The root that the known leaves and the proof lead to (§1)."""
    must(known and size > max(known), check, "a leaf outside the tree")
    hashes, level, width = list(proof), dict(known), size
    while width > 1:
        above: dict[int, bytes] = {}
        for i in sorted(level):
            if i // 2 in above:
                continue
            other = i ^ 1
            if other >= width:
                above[i // 2] = level[i]
                continue
            sibling = level.get(other)
            if sibling is None:
                must(hashes, check, "the proof is too short")
                sibling = hashes.pop(0)
            above[i // 2] = node(level[i], sibling) if i < other else node(sibling, level[i])
        level, width = above, (width + 1) // 2
    must(not hashes, check, "the proof is too long")
    return level[0]


def xwing_open(seed: bytes, enc: bytes) -> bytes:
    """X-Wing decapsulation, draft-connolly-cfrg-xwing-kem §5."""
    expanded = hashlib.shake_256(seed).digest(96)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
    x25519 = X25519PrivateKey.from_private_bytes(expanded[64:])
    of_mlkem = mlkem.decapsulate(enc[:1088])
    of_x25519 = x25519.exchange(X25519PublicKey.from_public_bytes(enc[1088:]))
    public = x25519.public_key().public_bytes_raw()
    return hashlib.sha3_256(of_mlkem + of_x25519 + enc[1088:] + public + rb"\.//^" + b"\\").digest()


def prekey_of(seed: bytes) -> bytes:
    """The public half of a prekey, ML-KEM first (keys.md §1)."""
    expanded = hashlib.shake_256(seed).digest(96)
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:64]).public_key().public_bytes_raw()
    return mlkem + X25519PrivateKey.from_private_bytes(expanded[64:]).public_key().public_bytes_raw()


def hpke_open(seed: bytes, info: bytes, sealed: bytes, check: int) -> bytes:
    """RFC 9180 base mode, single shot, no AAD."""
    suite = b"HPKE" + struct.pack(">HHH", 0x647A, 1, 2)

    def labelled_extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return extract(salt, b"HPKE-v1" + suite + label + ikm)

    def labelled_expand(prk: bytes, label: bytes, context: bytes, size: int) -> bytes:
        return expand(prk, struct.pack(">H", size) + b"HPKE-v1" + suite + label + context, size)

    try:
        shared = xwing_open(seed, sealed[:1120])
    except ValueError:
        raise Refused(check, "the KEM refuses") from None
    context = b"\x00" + labelled_extract(b"", b"psk_id_hash", b"") + labelled_extract(b"", b"info_hash", info)
    secret = labelled_extract(shared, b"secret", b"")
    key, nonce = labelled_expand(secret, b"key", context, 32), labelled_expand(secret, b"base_nonce", context, 12)
    return gcm_open(key, b"", sealed[1120:], check, nonce)


# --- §3 outer form ---------------------------------------------------------------------------------------------------


def plain(schema: Any) -> Any:
    """The schema without logical types: times stay numbers (schemas.md §2)."""
    if isinstance(schema, dict):
        return {k: plain(v) for k, v in schema.items() if k != "logicalType"}
    return [plain(s) for s in schema] if isinstance(schema, list) else schema


def _schema(name: str) -> Any:
    return fastavro.parse_schema(plain(json.loads((SCHEMAS / "envelope" / f"{name}.avsc").read_text())), {})


HEADER_SCHEMA = _schema("header")
NOTICE_SCHEMA = _schema("notice")


def avro_encode(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, value)
    return out.getvalue()


def avro_decode(schema: Any, data: bytes, check: int) -> tuple[Any, int]:
    """The value and how many bytes it took."""
    stream = io.BytesIO(data)
    try:
        value = fastavro.schemaless_reader(stream, schema, None)
    except Exception:  # noqa: BLE001 - whatever a decoder makes of hostile bytes is one and the same refusal
        raise Refused(check, "does not decode") from None
    must(stream.tell() <= len(data), check, "cut short")
    return value, stream.tell()


def avro_bytes(data: bytes) -> bytes:
    """The one Avro ``bytes`` that the data must be."""
    size = shift = at = 0
    while True:
        must(at < len(data) and shift < 64, 2, "cut short")
        size |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            break
    must(size & 1 == 0, 3, "a negative length")
    must(at == 1 or data[at - 1] != 0, 3, "a length not in its shortest form")
    must(at + (size >> 1) == len(data), 2, "cut short, or bytes follow")
    return data[at:]


@dataclass(frozen=True, slots=True)
class Header:
    """The clear part: its bytes, their digest, its fields."""

    data: bytes
    digest: bytes
    fields: Mapping[str, Any]

    @property
    def agency(self) -> str:
        agency: str = self.fields["agency"]
        return agency


def open_header(data: bytes) -> tuple[Header, int]:
    """The header at the start of the bytes, and where it ends."""
    fields, end = avro_decode(HEADER_SCHEMA, data, 2)
    must(avro_encode(HEADER_SCHEMA, fields) == data[:end], 3, "the header is not canonical")
    must(end <= 4096 and len(fields["agency"]) <= 80 and len(fields["references"]) <= 64, 1, "over a limit")
    must(all(len(fields[name]) <= 64 for name in ("type", "variant", "post")), 1, "a name is too long")
    must(fields["suite"] == 1, 4, "another suite")
    return Header(data[:end], sha256(data[:end]), fields), end


def unframe(data: bytes, schema_id: int) -> bytes:
    must(len(data) <= 1_000_000, 1, "too long")
    must(data[:5] == b"\x00" + struct.pack(">I", schema_id), 2, "another magic byte or schema id")
    return data[5:]


@dataclass(frozen=True, slots=True)
class Signature:
    """A batch signature: whose key, where in the batch, the path, the signature."""

    key_id: bytes
    size: int
    index: int
    path: tuple[bytes, ...]
    signature: bytes

    @classmethod
    def read(cls, c: Cursor) -> "Signature":
        key_id, size, index = c.take(8), c.u32(), c.u32()
        must(1 <= size <= 1024, 1, "the batch is too large")
        path = tuple(c.take(32) for _ in range(c.u8()))
        return cls(key_id, size, index, path, c.take(64))

    def judge(self, tag: str, agency: str, entry: bytes, key: bytes, check: int) -> None:
        """Raises: Refused unless the signature is the key's and stands for a batch that holds the entry."""
        must(self.index < self.size, check, "not in the batch")
        top = root_of({self.index: leaf(entry)}, self.size, self.path, check)
        message = tag.encode() + b"\x01" + text(agency) + self.key_id + struct.pack(">I", self.size) + top
        verify(key, self.signature, message, check)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The broker's word on where and when an envelope entered the stream (§9)."""

    topic: bytes
    partition: int
    offset: int
    at: int
    bundle: bytes
    root: bytes
    broker: str
    signature: Signature
    statement: bytes

    @classmethod
    def read(cls, data: bytes) -> "Acceptance":
        c = Cursor(data, 20)
        topic, partition, offset, at, bundle, root = c.take(16), c.u32(), c.u64(), c.u64(), c.take(32), c.take(32)
        statement = data[: c.at]
        accepted = cls(topic, partition, offset, at, bundle, root, c.text(), Signature.read(c), statement)
        c.end()
        return accepted


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf of the tree."""

    index: int
    kind: int
    body: bytes

    @property
    def hash(self) -> bytes:
        if self.kind == HASH:
            must(len(self.body) == 32, 9, "a hash of another size")
            return self.body
        return leaf(bytes([self.kind]) + struct.pack(">H", self.index) + self.body)


def root_name(size: int, top: bytes) -> bytes:
    """L, which names an envelope (§4)."""
    return sha256(b"casebridge/1/root" + struct.pack(">H", size) + top)


@dataclass(frozen=True, slots=True)
class Opened:
    """An envelope or a slice, parsed: its root is computed, its signature not yet judged."""

    header: Header
    signature: Signature
    root: bytes
    parts: Mapping[int, Part]
    size: int
    acceptance: Acceptance | None = None

    def of_kind(self, kind: int) -> list[Part]:
        return [p for p in self.parts.values() if p.kind == kind]


def parse_envelope(data: bytes) -> Opened:
    """Checks 1 to 4 and 9 of an envelope."""
    data = unframe(data, ENVELOPE)
    header, end = open_header(data)
    c = Cursor(avro_bytes(data[end:]), 2)
    signature, parts = Signature.read(c), [Part(0, HEADER, header.data)]
    for index in range(1, c.u16() + 1):
        parts.append(Part(index, c.u8(), c.bytes32()))
        must(parts[-1].kind in KINDS and len(parts[-1].body) <= 262_144, 9, "a part of an unknown kind or too long")
    c.end()
    must(len(parts) in LEAF_COUNTS and parts[1].kind == CREDENTIALS, 9, "another number or order of parts")
    root = root_name(len(parts), root_of({p.index: p.hash for p in parts}, len(parts), (), 9))
    return Opened(header, signature, root, {p.index: p for p in parts}, len(parts))


def parse_slice(data: bytes) -> Opened:
    """Checks 1 to 4 and 9 of a slice."""
    data = unframe(data, SLICE)
    header, end = open_header(data)
    c = Cursor(avro_bytes(data[end:]), 2)
    signature, size, parts = Signature.read(c), c.u16(), [Part(0, HEADER, header.data)]
    for _ in range(c.u16()):
        index, kind, length = c.u16(), c.u8(), c.u32()
        must(index > parts[-1].index, 3, "parts are not in order")
        must(kind in SLICE_KINDS and length <= 262_144, 3, "an unknown kind or too long")
        parts.append(Part(index, kind, c.take(length)))
    proof = [c.take(32) for _ in range(c.u16())]
    raw = c.bytes16()
    c.end()
    must(size in LEAF_COUNTS, 9, "a number of leaves that is not a size")
    root = root_name(size, root_of({p.index: p.hash for p in parts}, size, proof, 9))
    acceptance = Acceptance.read(raw)
    return Opened(header, signature, root, {p.index: p for p in parts}, size, acceptance)
