"""The clear, signed header (``docs/spec/envelope.md`` §3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from broker import limits
from broker.checks import Check
from broker.errors import Invalid
from broker.event.avro import RecordCodec
from broker.names import AgencyId, CaseRef, Digest, EventId, Millis

SUITE: Final = 1
_CODEC: Final = RecordCodec("envelope/header.avsc")


class Header(NamedTuple):
    """The header's fields in the order of ``schemas/envelope/header.avsc``, which documents each."""

    suite: int
    event_id: EventId
    attempt: bytes
    type: str
    variant: str
    schema_id: int
    case_ref: CaseRef
    agency: AgencyId
    instance: bytes
    incarnation: int
    sequence: int
    previous: Digest
    post: str
    act_at: Millis
    sealed_at: Millis
    reply_by: Millis | None
    expires_at: Millis | None
    status: str
    msg_type: str
    urgency: str
    severity: str
    certainty: str
    tlp: str
    langs: Sequence[str]
    desk_phone: str | None
    references: Sequence[EventId]
    supersedes: EventId | None
    bundle: Digest
    seen: int

    def encode(self) -> bytes:
        """The header bytes."""
        return _CODEC.encode(self)


def header_hash(header: bytes) -> bytes:
    """H, by which everything in the envelope is bound to its header."""
    return sha256(header).digest()


def decode_header(data: bytes, at: int = 0) -> tuple[Header, int]:
    """The header whose bytes start at ``at``, and the position behind it.

    Raises:
        Invalid: checks SIZE, WIRE, CANONICAL, SUITE.
    """
    values, end = _CODEC.decode_from(data, at)
    header = Header(*values)
    if (
        end - at > limits.HEADER_BYTES
        or len(header.references) > limits.REFERENCES
        or len(header.agency) > limits.AGENCY_ID_CHARS
        or max(len(header.type), len(header.variant), len(header.post)) > limits.NAME_CHARS
    ):
        raise Invalid(Check.SIZE, "the header is larger than it may be")
    if header.suite != SUITE:
        raise Invalid(Check.SUITE, f"suite {header.suite} is not known here; this program knows suite {SUITE}")
    return header, end
