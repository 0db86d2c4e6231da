"""Notice: the broker's signed word that an envelope went to quarantine, for its author and readers (§10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from broker.checks import Check
from broker.errors import Invalid
from broker.event.avro import RecordCodec
from broker.keys.handles import verify
from broker.names import AgencyId, CaseRef, Digest, EventId, KeyId, Millis
from broker.seal.ground import Ground
from broker.seal.header import SUITE
from broker.seal.wire import NOTICE_ID, schema_id

_CODEC: Final = RecordCodec("envelope/notice.avsc")
_TAG: Final = b"casebridge/1/notice" + bytes((SUITE,))


class Notice(NamedTuple):
    """The fields of ``schemas/envelope/notice.avsc``, which documents each."""

    suite: int
    root: Digest | None
    digest: Digest
    event_id: EventId | None
    case_ref: CaseRef | None
    agency: AgencyId
    instance: bytes | None
    incarnation: int
    sequence: int
    check: int
    reason: str
    partition: int
    offset: int
    at: Millis
    broker: AgencyId
    key_id: KeyId
    signature: bytes = b""

    def _bytes(self) -> bytes:
        return _CODEC.encode(self)

    def signed(self, sign: Callable[[bytes], bytes]) -> bytes:
        """The notice on the stream, signed."""
        signature = sign(_TAG + self._replace(signature=b"")._bytes())
        return b"\x00" + NOTICE_ID.to_bytes(4, "big") + self._replace(signature=signature)._bytes()


def decode_notice(data: bytes, *, ground: Ground) -> Notice:
    """The notice with these bytes, its signature verified.

    Raises:
        Invalid: WIRE, CANONICAL, SIGNING_KEY or SIGNATURE.
    """
    if schema_id(data) != NOTICE_ID:
        raise Invalid(Check.WIRE, "not a notice")
    values, end = _CODEC.decode_from(data, 5)
    if end != len(data):
        raise Invalid(Check.WIRE, "bytes are left over")
    notice = Notice(*values)
    if notice.suite != SUITE:
        raise Invalid(Check.SUITE, f"suite {notice.suite} is not known here; this program knows suite {SUITE}")
    public = ground.broker_key(notice.broker, notice.key_id, notice.at)
    verify(public, notice.signature, _TAG + notice._replace(signature=b"")._bytes())
    return notice
