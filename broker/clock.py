"""Time, randomness and ids, injected: nothing else in the exchange asks the machine for them.

Leaves the meaning of a time (late, expired) to those who judge it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Protocol

from broker.names import EventId, Millis

IST: Final = timezone(timedelta(hours=5, minutes=30), "IST")
MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> Millis:
        """The time now."""


class Random(Protocol):
    """Where randomness comes from; must be fit for keys."""

    def bytes(self, size: int) -> bytes:
        """``size`` fresh bytes."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clock."""

    def now(self) -> Millis:
        """The time now."""
        return Millis(time.time_ns() // 1_000_000)


@dataclass(slots=True)
class SetClock:
    """A clock that stands where it is set: for simulated time in the demo and for tests."""

    at: Millis

    def now(self) -> Millis:
        """The time it was set to."""
        return self.at


@dataclass(frozen=True, slots=True)
class SystemRandom:
    """The operating system's randomness."""

    def bytes(self, size: int) -> bytes:
        """``size`` fresh bytes."""
        return os.urandom(size)


def uuid7(now: Millis, random: Random) -> EventId:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of time, then random bits."""
    drawn = bytearray(now.to_bytes(6, "big") + random.bytes(10))
    drawn[6] = 0x70 | (drawn[6] & 0x0F)
    drawn[8] = 0x80 | (drawn[8] & 0x3F)
    return EventId(bytes(drawn))


def day_of(at: Millis) -> int:
    """Days since 1970-01-01 UTC: the day for which a pair of agencies shares its slot secret."""
    return at // DAY


def parse_time(text: str) -> Millis:
    """An RFC 3339 time with an offset.

    Raises:
        ValueError: not such a time, or no offset.
    """
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no offset; write for example 2026-02-02T09:40:00+05:30")
    return Millis(round(at.timestamp() * 1_000))


def ist(at: Millis) -> str:
    """The time as people in India read it: ``2026-02-02 09:40:00 IST``."""
    return datetime.fromtimestamp(at / 1_000, IST).strftime("%Y-%m-%d %H:%M:%S IST")


def rfc3339(at: Millis) -> str:
    """The time in RFC 3339, UTC."""
    return datetime.fromtimestamp(at / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
