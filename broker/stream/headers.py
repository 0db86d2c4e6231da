"""Message headers as bytes: each a length-prefixed name (u16) and value (u32), big endian, in order.

Leaves the meaning of headers to their readers; they are hints.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final

from broker.errors import InputError, StreamError
from broker.stream.protocol import Headers

_NAME: Final = struct.Struct(">H")
_VALUE: Final = struct.Struct(">I")


@lru_cache(maxsize=1_024)
def encode(headers: Headers) -> bytes:
    """The bytes of these headers.

    Raises:
        InputError: a name is empty or longer than 65,535 bytes in UTF-8.
    """
    out = bytearray()
    for name, value in headers:
        label = name.encode()
        if not 0 < len(label) <= 0xFFFF:
            raise InputError("a header has a name of 1 to 65535 bytes", field="headers")
        out += _NAME.pack(len(label)) + label + _VALUE.pack(len(value)) + value
    return bytes(out)


def decode(data: bytes) -> Headers:
    """The headers in these bytes.

    Raises:
        StreamError: not what ``encode`` makes: the file is damaged.
    """
    headers: list[tuple[str, bytes]] = []
    at = 0
    while at < len(data):
        try:
            start = at + _NAME.size
            end = start + _NAME.unpack_from(data, at)[0]
            name = data[start:end].decode()
            start = end + _VALUE.size
            at = start + _VALUE.unpack_from(data, end)[0]
        except (ValueError, struct.error):
            at = len(data) + 1
        if at > len(data):
            raise StreamError("a message of the stream has damaged headers; restore the stream from a backup")
        headers.append((name, data[start:at]))
    return tuple(headers)
