"""What an agency's identity key says of its other keys (``docs/spec/keys.md`` §2), and its check.

Leaves which identity key is whose to the directory (``broker.trust``).
"""

from __future__ import annotations

import base64
import enum
from dataclasses import dataclass
from typing import Final

from broker.checks import Check
from broker.clock import rfc3339
from broker.errors import Invalid
from broker.keys.handles import PREKEY_PUBLIC_SIZE, PUBLIC_SIZE, SigningKey, key_id, verify
from broker.names import AgencyId, KeyId, Millis


class Use(enum.StrEnum):
    """What a key is for; the value is the tag of the statement."""

    SIGNING = "casebridge/1/signing-key"
    PREKEY = "casebridge/1/prekey"


_SIZE: Final = {Use.SIGNING: PUBLIC_SIZE, Use.PREKEY: PREKEY_PUBLIC_SIZE}
_CHECK: Final = {Use.SIGNING: Check.SIGNING_KEY, Use.PREKEY: Check.PREKEY}


@dataclass(frozen=True, slots=True)
class Certified:
    """A public key with the time in which it may be used (ms, both ends included) and the identity's signature."""

    use: Use
    public: bytes
    not_before: Millis
    not_after: Millis
    signature: bytes

    @property
    def id(self) -> KeyId:
        """The id by which envelopes name the key."""
        return key_id(self.public)

    def listed(self) -> dict[str, str]:
        """The key as the directory lists it: id in hex, key and signature in base 64, times in RFC 3339."""
        return {
            "id": self.id.hex(),
            "key": base64.b64encode(self.public).decode(),
            "notBefore": rfc3339(self.not_before),
            "notAfter": rfc3339(self.not_after),
            "signature": base64.b64encode(self.signature).decode(),
        }


def statement(use: Use, *, agency: AgencyId, public: bytes, not_before: Millis, not_after: Millis) -> bytes:
    """The bytes that the identity key signs: ``tag || text agency || u64 not_before || u64 not_after || public``."""
    name = agency.encode()
    times = not_before.to_bytes(8, "big") + not_after.to_bytes(8, "big")
    return b"".join((use.encode(), bytes((len(name),)), name, times, public))


def certify(
    identity: SigningKey, use: Use, *, agency: AgencyId, public: bytes, not_before: Millis, not_after: Millis
) -> Certified:
    """The key with the identity's signature."""
    said = statement(use, agency=agency, public=public, not_before=not_before, not_after=not_after)
    return Certified(use, public, not_before, not_after, identity.sign(said))


def check_certified(key: Certified, *, agency: AgencyId, identity: bytes) -> None:
    """Accept a key that the agency's identity key (32 bytes) vouches for; whether it is in its time is the caller's.

    Raises:
        Invalid: check SIGNING_KEY or PREKEY: wrong size, times that end before they begin, or not signed so.
    """
    check = _CHECK[key.use]
    if len(key.public) != _SIZE[key.use] or not 0 <= key.not_before < key.not_after < 2**64:
        raise Invalid(check, "a key of the directory is malformed", agency=agency, key=key.id.hex())
    said = statement(key.use, agency=agency, public=key.public, not_before=key.not_before, not_after=key.not_after)
    try:
        verify(identity, key.signature, said)
    except Invalid:
        raise Invalid(
            check,
            "a key of the directory is not signed by the identity key of its agency",
            agency=agency,
            key=key.id.hex(),
        ) from None
