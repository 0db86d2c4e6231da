"""What every driver checks at its door: the limits of a message, and the partitions and positions of a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from broker.errors import InputError
from broker.limits import ENVELOPE_BYTES
from broker.stream import headers as wire
from broker.stream.protocol import Message

KEY_BYTES: Final = 256
HEADERS_BYTES: Final = 16_384


def require_within_limits(message: Message) -> bytes:
    """The headers of a message as bytes, if all of it is within its limits.

    Raises:
        InputError: something of it is too large, or a header has no name.
    """
    headers = wire.encode(message.headers)
    if len(message.value) > ENVELOPE_BYTES:
        raise InputError(f"a message has at most {ENVELOPE_BYTES} bytes", field="value")
    if len(message.key) > KEY_BYTES:
        raise InputError(f"a key has at most {KEY_BYTES} bytes", field="key")
    if len(headers) > HEADERS_BYTES:
        raise InputError(f"headers have at most {HEADERS_BYTES} bytes", field="headers")
    return headers


def partitions(count: int, numbers: Iterable[int]) -> list[int]:
    """These partitions in order, if a topic with so many has them.

    Raises:
        InputError: it has not.
    """
    chosen = sorted(set(numbers))
    if chosen and not 0 <= chosen[0] <= chosen[-1] < count:
        raise InputError(f"the topic has partitions 0 to {count - 1}", field="partitions")
    return chosen


def positions(count: int, given: Mapping[int, int]) -> dict[int, int]:
    """A copy, since the caller may move on while a call waits.

    Raises:
        InputError: a partition that the topic has not, or an offset below 0.
    """
    partitions(count, given)
    if any(offset < 0 for offset in given.values()):
        raise InputError("a position is an offset from 0", field="positions")
    return dict(given)
