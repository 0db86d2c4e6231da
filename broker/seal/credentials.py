"""Credentials: what the sender claims and the mandates that prove it, sealed once for all readers (§6)."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from broker import limits
from broker.authority.model import Claim
from broker.checks import Check
from broker.errors import Invalid
from broker.names import Digest, PersonRef, Phase, Role
from broker.seal.wire import NO_DIGEST, Cursor, bytes32

NO_SALT: Final = bytes(16)
EXPIRED: Final = 1
MOVEMENT_ENDED: Final = 2
_CLAIM: Final = struct.Struct(">16sB32sB")
"""Person, role, mandate, phase before."""
_ROLES: Final = {int(one): one for one in Role}
_PHASES: Final = {int(one): one for one in Phase}


class Credentials(NamedTuple):
    """Claims, the opener's salt if one is claimed, flags, and the disclosures of the sender's mandates."""

    claims: tuple[Claim, ...]
    case_salt: bytes | None
    flags: int
    chain: tuple[bytes, ...]

    def encode(self) -> bytes:
        """The credentials' bytes."""
        return b"".join(
            (
                bytes((len(self.claims),)),
                *[
                    _CLAIM.pack(claim.person, claim.role, claim.mandate or NO_DIGEST, claim.phase)
                    for claim in self.claims
                ],
                self.case_salt or NO_SALT,
                bytes((self.flags,)),
                len(self.chain).to_bytes(2, "big"),
                *[bytes32(link) for link in self.chain],
            )
        )


def decode_credentials(data: bytes) -> Credentials:
    """The credentials with these bytes.

    Raises:
        Invalid: check CREDENTIALS or SIZE.
    """
    cursor = Cursor(data, Check.CREDENTIALS)
    try:
        claims = tuple(
            [
                Claim(PersonRef(person), _ROLES[role], _digest(mandate), _PHASES[phase])
                for person, role, mandate, phase in _CLAIM.iter_unpack(cursor.take(_CLAIM.size * cursor.u8()))
            ]
        )
    except KeyError:
        raise Invalid(Check.CREDENTIALS, "the credentials name an unknown role or phase") from None
    salt, flags = cursor.take(16), cursor.u8()
    chain = tuple(cursor.bytes32() for _ in range(cursor.u16()))
    cursor.end()
    if len(chain) > limits.CHAIN_LINKS or len(claims) > limits.PERSONS:
        raise Invalid(Check.SIZE, "the credentials are longer than they may be")
    if flags & ~(EXPIRED | MOVEMENT_ENDED) or len({claim.person for claim in claims}) != len(claims):
        raise Invalid(Check.CREDENTIALS, "the credentials are not well formed")
    return Credentials(claims, None if salt == NO_SALT else salt, flags, chain)


def _digest(value: bytes) -> Digest | None:
    return None if value == NO_DIGEST else Digest(value)
