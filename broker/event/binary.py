"""Avro's binary form (Avro 1.12, "Binary Encoding") for the types that the released schemas use, compiled once.

Values go straight to bytes and back, without fastavro's look at each branch of each union: about four times as fast
on a block, and strict in both directions. Every value has exactly one form: lengths and counts in the fewest bytes, an
array in one piece, the word ``"unknown"`` always as the type Unknown; the reader refuses every other. Tests hold both
directions against fastavro. A symbol ``not_listed`` is never written: it is what an older version reads for a newer
word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from broker.event.catalogue import UNKNOWN, UNKNOWN_TYPE

Write = Callable[[Any, bytearray], None]
"""Appends the value's bytes. Raises ValueError, TypeError, KeyError or AttributeError where it is not of the type."""

Read = Callable[[bytes, int], tuple[Any, int]]
"""The value at this place and the place behind it. Raises ValueError or IndexError where none stands there."""

NOT_LISTED: Final = "not_listed"


class Compiled(NamedTuple):
    """A type made ready; ``python`` is the Python type of its values, by which a union tells its branches."""

    write: Write
    read: Read
    python: type


def _long_bytes(number: int) -> bytes:
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SMALL: Final = tuple(_long_bytes(number) for number in range(2_048))


def _long(number: int) -> bytes:
    return _SMALL[number] if 0 <= number < 2_048 else _long_bytes(number)


# What follows reads and writes numbers below 64 and lengths below 2,048 in place: nearly all are, and a call for each
# would be half of the time of a block.


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """A number in the fewest bytes.

    Raises:
        ValueError: more bytes than needed, or more than 64 bits.
        IndexError: the data ends within.
    """
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    number, shift = byte & 0x7F, 7
    while byte >= 0x80:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
    if byte == 0 or number >> 64:
        raise ValueError("a number that is not in its shortest form")
    return (number >> 1) ^ -(number & 1), at


def _write_string(value: Any, out: bytearray) -> None:
    data = value.encode()
    size = len(data)
    out += _SMALL[size] if size < 2_048 else _long_bytes(size)
    out += data


def _read_sized(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_long(data, at)
    end = at + size
    if size < 0 or end > len(data):
        raise ValueError("a length beyond the end")
    return data[at:end], end


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    byte = data[at]
    if byte & 0x81:
        found, at = _read_sized(data, at)
        return found.decode(), at
    at += 1
    end = at + (byte >> 1)
    if end > len(data):
        raise ValueError("a length beyond the end")
    return data[at:end].decode(), end


def _write_bytes(value: Any, out: bytearray) -> None:
    if not isinstance(value, bytes):
        raise TypeError("not bytes")
    out += _long(len(value))
    out += value


def _write_boolean(value: Any, out: bytearray) -> None:
    if not isinstance(value, bool):
        raise TypeError("not true or false")
    out.append(value)


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    byte = data[at]
    if byte > 1:
        raise ValueError("neither true nor false")
    return byte == 1, at + 1


def _integer(bits: int) -> Compiled:
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def write(value: Any, out: bytearray) -> None:
        if type(value) is bool or not least <= value <= most:
            raise ValueError("a number out of range")
        out += _long(value)

    def read(data: bytes, at: int) -> tuple[int, int]:
        number, at = read_long(data, at)
        if not least <= number <= most:
            raise ValueError("a number out of range")
        return number, at

    return Compiled(write, read, int)


_PRIMITIVES: Final[Mapping[str, Compiled]] = {
    "null": Compiled(lambda value, out: None, lambda data, at: (None, at), type(None)),
    "string": Compiled(_write_string, _read_string, str),
    "bytes": Compiled(_write_bytes, _read_sized, bytes),
    "boolean": Compiled(_write_boolean, _read_boolean, bool),
    "int": _integer(32),
    "long": _integer(64),
}


def compile_type(schema: Any, named: dict[str, Compiled]) -> Compiled:
    """An Avro type as ``TypeSpec.block_schema`` gives it, made ready; ``named`` collects its named types.

    Raises:
        KeyError, ValueError: a type that the released schemas do not use, or a union whose value does not tell its
            branch.
    """
    if isinstance(schema, list):
        return _union(schema, [compile_type(branch, named) for branch in schema])
    if isinstance(schema, str):
        return named[schema] if schema in named else _PRIMITIVES[schema]
    match schema["type"]:
        case "array":
            return _array(compile_type(schema["items"], named))
        case "enum":
            made = _enum(schema["symbols"])
        case "fixed":
            made = _fixed(schema["size"])
        case "record":
            made = _record({part["name"]: compile_type(part["type"], named) for part in schema["fields"]})
        case other:
            raise ValueError(f"no binary form for {other}")
    named[schema["name"]] = made
    return made


def _array(items: Compiled) -> Compiled:
    write_item, read_item, _ = items

    def write(value: Any, out: bytearray) -> None:
        if not isinstance(value, (list, tuple)):
            raise TypeError("not a list")
        if value:
            out += _long(len(value))
            for item in value:
                write_item(item, out)
        out.append(0)

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        byte = data[at]
        count, at = read_long(data, at) if byte & 0x81 else (byte >> 1, at + 1)
        if count < 0:
            raise ValueError("an array in another form")
        found = []
        for _ in range(count):
            item, at = read_item(data, at)
            found.append(item)
        if count:
            if data[at]:
                raise ValueError("an array in several pieces")
            at += 1
        return found, at

    return Compiled(write, read, list)


def _enum(symbols: list[str]) -> Compiled:
    by_symbol = {symbol: _long(i) for i, symbol in enumerate(symbols) if symbol != NOT_LISTED}

    def write(value: Any, out: bytearray) -> None:
        out += by_symbol[value]

    def read(data: bytes, at: int) -> tuple[str, int]:
        byte = data[at]
        index, at = read_long(data, at) if byte & 0x81 else (byte >> 1, at + 1)
        if index < 0 or symbols[index] not in by_symbol:
            raise ValueError("a code that is not of the list")
        return symbols[index], at

    return Compiled(write, read, str)


def _fixed(size: int) -> Compiled:
    def write(value: Any, out: bytearray) -> None:
        if not isinstance(value, bytes) or len(value) != size:
            raise ValueError("bytes of another size")
        out += value

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        end = at + size
        if end > len(data):
            raise ValueError("the data ends within")
        return data[at:end], end

    return Compiled(write, read, bytes)


def _record(parts: Mapping[str, Compiled]) -> Compiled:
    writers = tuple((name, part.write) for name, part in parts.items())
    readers = tuple((name, part.read) for name, part in parts.items())
    names = parts.keys()

    def write(value: Any, out: bytearray) -> None:
        if not value.keys() <= names:
            raise ValueError("a key that the record does not have")
        for name, write_part in writers:
            write_part(value.get(name), out)

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        found = {}
        for name, read_part in readers:
            found[name], at = read_part(data, at)
        return found, at

    return Compiled(write, read, dict)


def _union(schema: list[Any], branches: list[Compiled]) -> Compiled:
    names = [branch["name"] if isinstance(branch, dict) and "name" in branch else branch for branch in schema]
    unknown = names.index(UNKNOWN_TYPE) if UNKNOWN_TYPE in names else -1
    by_type = {branch.python: (_long(i), branch.write) for i, branch in enumerate(branches) if i != unknown}
    if len(by_type) + (unknown >= 0) < len(branches):
        raise ValueError("a union whose value does not tell its branch")
    whole = _long(unknown) + b"\x00" if unknown >= 0 else b""
    reads = [branch.read for branch in branches]

    def write(value: Any, out: bytearray) -> None:
        if whole and value == UNKNOWN:
            out += whole
        else:
            index, write_branch = by_type[type(value)]
            out += index
            write_branch(value, out)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        byte = data[at]
        index, at = read_long(data, at) if byte & 0x81 else (byte >> 1, at + 1)
        if index < 0:
            raise ValueError("a branch that the union does not have")
        value, at = reads[index](data, at)
        if whole and index != unknown and value == UNKNOWN:
            raise ValueError("the word unknown in another form")
        return value, at

    return Compiled(write, read, object)
