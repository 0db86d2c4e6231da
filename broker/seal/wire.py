"""Reading and writing the notation of ``docs/spec/envelope.md`` §1, and the outer form of §3."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from broker import limits
from broker.checks import Check
from broker.errors import Invalid

ENVELOPE_ID: Final = 1
SLICE_ID: Final = 2
NOTICE_ID: Final = 3
NO_PERSON: Final = bytes(16)
NO_DIGEST: Final = bytes(32)


@lru_cache(4_096)
def text(value: str) -> bytes:
    """``text``: u8 length and UTF-8."""
    data = value.encode()
    return bytes((len(data),)) + data


def bytes16(value: bytes) -> bytes:
    """``bytes16``: u16 length and the bytes."""
    return len(value).to_bytes(2, "big") + value


def bytes32(value: bytes) -> bytes:
    """``bytes32``: u32 length and the bytes."""
    return len(value).to_bytes(4, "big") + value


class Cursor:
    """Takes values from the front of some bytes; a short read is invalid."""

    __slots__ = ("at", "check", "data")

    def __init__(self, data: bytes, check: Check = Check.WIRE, at: int = 0) -> None:
        self.data, self.check, self.at = data, check, at

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes.

        Raises:
            Invalid: the check of this cursor: cut short.
        """
        start = self.at
        end = start + size
        if end > len(self.data):
            raise Invalid(self.check, "cut short")
        self.at = end
        return self.data[start:end]

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two bytes."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Four bytes."""
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        """Eight bytes."""
        return int.from_bytes(self.take(8), "big")

    def text(self) -> str:
        """``text``."""
        try:
            return self.take(self.u8()).decode()
        except UnicodeDecodeError:
            raise Invalid(self.check, "a text is not UTF-8") from None

    def bytes16(self) -> bytes:
        """``bytes16``."""
        return self.take(self.u16())

    def bytes32(self) -> bytes:
        """``bytes32``."""
        return self.take(self.u32())

    def hashes(self, count: int) -> list[bytes]:
        """``count`` hashes of 32 bytes."""
        data = self.take(32 * count)
        return [data[i : i + 32] for i in range(0, len(data), 32)]

    def end(self) -> None:
        """Nothing may follow.

        Raises:
            Invalid: the check of this cursor: bytes are left.
        """
        if self.at != len(self.data):
            raise Invalid(self.check, "bytes are left over")


@lru_cache(4_096)
def avro_long(value: int) -> bytes:
    """An Avro long that is not negative: zigzag, variable length."""
    value <<= 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def outer(schema_id: int, header: bytes, sealed: bytes) -> bytes:
    """An envelope or slice on the stream (§3): the Avro record of its header bytes and its sealed bytes."""
    return b"".join((b"\x00", schema_id.to_bytes(4, "big"), header, avro_long(len(sealed)), sealed))


def schema_id(data: bytes) -> int:
    """The schema id of a value on the stream.

    Raises:
        Invalid: check SIZE or WIRE.
    """
    if len(data) > limits.ENVELOPE_BYTES:
        raise Invalid(Check.SIZE, "larger than an envelope may be")
    if len(data) < 5 or data[0] != 0:
        raise Invalid(Check.WIRE, "not in the wire format of the exchange")
    return int.from_bytes(data[1:5], "big")


def sealed_part(data: bytes, at: int) -> bytes:
    """The field ``sealed``, which stands at ``at`` and ends the record.

    Raises:
        Invalid: check WIRE or CANONICAL.
    """
    size, shift, start = 0, 0, at
    while True:
        if at >= len(data) or shift > 28:
            raise Invalid(Check.WIRE, "cut short")
        byte = data[at]
        size |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            break
    if size & 1 or data[start:at] != avro_long(size >> 1):
        raise Invalid(Check.CANONICAL, "a length is not in canonical form")
    sealed = data[at:]
    if len(sealed) != size >> 1:
        raise Invalid(Check.WIRE, "cut short or too long")
    return sealed
