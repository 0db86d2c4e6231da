"""Values of an event's fields as authority needs them, whatever form the schema gives them.

``unknown`` is a value that was sealed as not known yet: here it counts as absent.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any, Final

from broker.clock import IST
from broker.names import AgencyId, CaseRef, Compartment, EventId, Millis, PersonRef

CASE_TAG: Final = b"casebridge/1/case"
_FIRST_MS: Final = 10**11
_UNKNOWN: Final = "unknown"


def known(value: Any) -> bool:
    """Whether a field was given and is not ``unknown``."""
    return value is not None and value != _UNKNOWN and value != {_UNKNOWN: True} and value != []


def event_id(value: Any) -> EventId:
    """An event id given as 16 bytes or as a UUID in text.

    Raises:
        ValueError: neither.
    """
    if isinstance(value, uuid.UUID):
        return EventId(value.bytes)
    if isinstance(value, str):
        return EventId(uuid.UUID(value).bytes)
    if isinstance(value, bytes) and len(value) == 16:
        return EventId(value)
    raise ValueError("not an event id")


def event_ids(value: Any) -> tuple[EventId, ...]:
    """A list of event ids; empty where it is absent or unknown."""
    return tuple(event_id(one) for one in value) if known(value) else ()


def person(value: Any) -> PersonRef | None:
    """A person reference given as 16 bytes or hex, or None where it is absent or unknown."""
    if not known(value):
        return None
    return PersonRef(bytes.fromhex(value.replace("-", "")) if isinstance(value, str) else bytes(value))


def agency(value: Any) -> AgencyId | None:
    """An agency id, or None where it is absent or unknown."""
    return AgencyId(value) if known(value) else None


def compartments(value: Any) -> frozenset[Compartment]:
    """A list of compartments by their words or numbers."""
    words: Iterable[Any] = value if known(value) else ()
    return frozenset(Compartment.of(one) if isinstance(one, str) else Compartment(one) for one in words)


def millis(value: Any) -> Millis | None:
    """The time in a value, the latest where it has several (the end of a window, the last ETA of a route); else None.

    A time is a number of ms, a datetime, or RFC 3339 text.
    """
    found = list(_times(value)) if known(value) else []
    return max(found, default=None)


def end_of_day(value: Any) -> Millis | None:
    """The end, in India, of a day given as a date, as ISO text or as days since 1970; None where it is absent."""
    if not known(value):
        return None
    if isinstance(value, int):
        day = date(1970, 1, 1) + timedelta(days=value)
    else:
        day = value if isinstance(value, date) else date.fromisoformat(str(value))
    return Millis(round(datetime.combine(day + timedelta(days=1), time(), IST).timestamp() * 1_000))


def end_of_day_after(at: Millis, life: int) -> Millis:
    """The end, in India, of the day on which ``at`` plus ``life`` ms falls: how limits in days are counted."""
    end = end_of_day(datetime.fromtimestamp((at + life) / 1_000, IST).date())
    assert end is not None
    return end


def _times(value: Any) -> Iterator[Millis]:
    if isinstance(value, bool | bytes):
        return
    if isinstance(value, int):
        if value >= _FIRST_MS:
            yield Millis(value)
    elif isinstance(value, datetime):
        yield Millis(round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1_000))
    elif isinstance(value, str):
        yield from _written(value)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _times(one)
    elif isinstance(value, Iterable):
        for one in value:
            yield from _times(one)


def _written(value: str) -> Iterator[Millis]:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return
    if at.tzinfo is not None:
        yield Millis(round(at.timestamp() * 1_000))


def opens(case: CaseRef, *, giver: AgencyId, salt: bytes | None) -> bool:
    """Whether this agency opened the case: its reference is the hash of opener and salt (envelope.md §8)."""
    if salt is None or len(salt) != 16:
        return False
    return case_ref(giver, salt) == case


def case_ref(opener: AgencyId, salt: bytes) -> CaseRef:
    """The reference of the case that this agency opens with this salt."""
    name = opener.encode()
    return CaseRef(sha256(CASE_TAG + bytes((len(name),)) + name + salt).digest()[:16])
