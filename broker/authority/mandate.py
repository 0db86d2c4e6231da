"""The bytes of a mandate (``docs/spec/envelope.md`` §8) and its digest, by which it is cited."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from broker.authority.model import Mandate
from broker.checks import Check
from broker.errors import Invalid
from broker.names import AgencyId, CaseRef, Digest, EventId, Millis, PersonRef, Role

_TAG: Final = b"casebridge/1/mandate"
_NONE32: Final = bytes(32)
_NONE16: Final = bytes(16)


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(1, "big") + data


def encode(mandate: Mandate) -> bytes:
    """The canonical bytes of a mandate."""
    return b"".join(
        (
            mandate.case,
            mandate.event_id,
            _text(mandate.type),
            _text(mandate.variant),
            _text(mandate.giver),
            mandate.under.to_bytes(1, "big"),
            mandate.under_mandate or _NONE32,
            mandate.case_salt or _NONE16,
            mandate.role.to_bytes(1, "big"),
            _text(mandate.agency),
            mandate.person or _NONE16,
            bytes((mandate.provisional,)),
            mandate.not_after.to_bytes(8, "big"),
        )
    )


def digest(data: bytes) -> Digest:
    """The digest by which other statements cite the mandate with these bytes."""
    return Digest(sha256(_TAG + data).digest())


class _Cursor:
    """Takes bytes from the front; a short read is an error."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise ValueError("mandate is cut short")
        taken, self.at = self.data[self.at : end], end
        return taken

    def text(self) -> str:
        return self.take(self.take(1)[0]).decode()


def decode(data: bytes) -> Mandate:
    """The mandate with these bytes, which must be exactly what ``encode`` makes of it.

    Raises:
        Invalid: check MANDATE: not the bytes of a mandate.
    """
    try:
        cursor = _Cursor(data)
        mandate = Mandate(
            case=CaseRef(cursor.take(16)),
            event_id=EventId(cursor.take(16)),
            type=cursor.text(),
            variant=cursor.text(),
            giver=AgencyId(cursor.text()),
            under=Role(cursor.take(1)[0]),
            under_mandate=_cited(cursor.take(32)),
            case_salt=_or_none(cursor.take(16)),
            role=Role(cursor.take(1)[0]),
            agency=AgencyId(cursor.text()),
            person=_person(cursor.take(16)),
            provisional=bool(cursor.take(1)[0]),
            not_after=Millis(int.from_bytes(cursor.take(8), "big")),
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise Invalid(Check.MANDATE, "a mandate cannot be read", reason=str(error)) from None
    if encode(mandate) != data:
        raise Invalid(Check.MANDATE, "a mandate is not in its canonical form")
    return mandate


def _or_none(value: bytes) -> bytes | None:
    return value if any(value) else None


def _cited(value: bytes) -> Digest | None:
    return Digest(value) if any(value) else None


def _person(value: bytes) -> PersonRef | None:
    return PersonRef(value) if any(value) else None
