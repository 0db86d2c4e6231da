"""The signed directory: agencies, their standing roles, posts and keys (``docs/spec/directory.md``).

Leaves signing and verifying to the caller, the judgement of roles to ``broker.authority``, and which directory was
in force at a time to ``broker.trust.bundle``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

from broker.checks import Check
from broker.errors import InputError, Invalid, KeyUnavailable
from broker.names import AgencyId, AgencyKind, Digest, KeyId, Millis, Role


class Verify(Protocol):
    """Accepts an Ed25519 signature or raises ``Invalid``."""

    def __call__(self, public: bytes, signature: bytes, message: bytes, /) -> None: ...


class Standing(enum.StrEnum):
    """Where an agency stands in the exchange."""

    ENROLLED = "enrolled"
    SUSPENDED = "suspended"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the time in which it may be used, both ends included; Ed25519 (32 bytes) or a prekey
    (1,216 bytes: ML-KEM-768 then X25519)."""

    id: KeyId
    public: bytes
    not_before: Millis
    not_after: Millis

    def valid_at(self, at: Millis) -> bool:
        """Whether the key may be used at that time."""
        return self.not_before <= at <= self.not_after


@dataclass(frozen=True, slots=True)
class Agency:
    """One agency as the directory lists it.

    ``state`` is an ISO 3166-2 code (``IN-KL``) or a country, ``district`` an LGD code. ``listed`` are the standing
    roles that the directory gives it. ``posts`` says for each post which types it may send; None is every type
    that the agency's roles allow. ``history`` is what it was from when on, oldest first.
    """

    id: AgencyId
    kind: AgencyKind
    name: str
    state: str
    district: int | None
    listed: frozenset[Role]
    subscribed: bool
    languages: tuple[str, ...]
    desk_phone: str | None
    history: tuple[tuple[Millis, Standing], ...]
    posts: Mapping[str, frozenset[str] | None]
    identity: bytes
    keys: tuple[Key, ...]
    prekeys: tuple[Key, ...] = ()

    @property
    def standing(self) -> frozenset[Role]:
        """The standing roles that it holds: AS only as long as it is subscribed to broadcasts (domain §5.2)."""
        return self.listed if self.subscribed else self.listed - {Role.AS}

    def status_at(self, at: Millis) -> Standing | None:
        """What it was at that time; None before it joined."""
        return next((standing for since, standing in reversed(self.history) if since <= at), None)

    def enrolled_at(self, at: Millis) -> bool:
        """Whether it took part at that time."""
        return self.status_at(at) is Standing.ENROLLED

    def may_send(self, post: str, event_type: str) -> bool:
        """Whether this post may send this type; an agency that lists no posts leaves it open."""
        if not self.posts:
            return True
        if post not in self.posts:
            return False
        types = self.posts[post]
        return types is None or event_type in types


@dataclass(frozen=True)
class Directory:
    """All agencies, by id. ``digest`` is SHA-256 of the signed bytes; prekeys are outside it."""

    digest: Digest
    issued_at: Millis
    agencies: Mapping[AgencyId, Agency]

    def agency(self, agency_id: AgencyId, *, field: str = "to") -> Agency:
        """The agency with this id.

        Raises:
            InputError: no such agency; names ``field``.
        """
        found = self.agencies.get(agency_id)
        if found is None:
            raise InputError(
                f"{field}: {agency_id!r} is not in the directory; take an id from the directory", field=field
            )
        return found

    def find(self, agency_id: AgencyId) -> Agency | None:
        """The agency with this id, if the directory has it."""
        return self.agencies.get(agency_id)

    def signing_key(self, agency_id: AgencyId, key_id: KeyId, at: Millis) -> bytes:
        """The agency's Ed25519 public key with this id, valid at that time.

        Raises:
            Invalid: check PUBLISHER: the agency is not enrolled then; check SIGNING_KEY: no such key of its own.
        """
        agency = self.enrolled(agency_id, at)
        for key in agency.keys:
            if key.id == key_id and key.valid_at(at):
                return key.public
        raise Invalid(
            Check.SIGNING_KEY,
            "the signing key is not one of the agency's, or not in its time",
            agency=agency_id,
            key=key_id.hex(),
            at=at,
        )

    def enrolled(self, agency_id: AgencyId, at: Millis) -> Agency:
        """The agency, which took part at that time.

        Raises:
            Invalid: check PUBLISHER.
        """
        agency = self.agencies.get(agency_id)
        if agency is None or not agency.enrolled_at(at):
            raise Invalid(Check.PUBLISHER, "the agency was not enrolled at that time", agency=agency_id, at=at)
        return agency

    def prekey(self, agency_id: AgencyId, at: Millis) -> Key:
        """The newest prekey of the agency that is valid at that time, to seal to.

        Raises:
            KeyUnavailable: it has none.
        """
        agency = self.agency(agency_id)
        valid = [key for key in agency.prekeys if key.valid_at(at)]
        if not valid:
            raise KeyUnavailable(
                f"{agency_id} has no prekey in its time; it must publish one before it can be addressed"
            )
        return max(valid, key=lambda key: (key.not_before, key.id))

    def check_prekey(self, agency_id: AgencyId, key_id: KeyId, at: Millis, *, grace: int) -> None:
        """Accepts a prekey that was the agency's and in its time, or ended at most ``grace`` before ``at``.

        Raises:
            Invalid: check SLOT_FORM: no such agency; check PREKEY: no such prekey of its own, then.
        """
        agency = self.agencies.get(agency_id)
        if agency is None or not agency.enrolled_at(at):
            raise Invalid(Check.SLOT_FORM, "a slot is for an agency that is not enrolled", agency=agency_id)
        for key in agency.prekeys:
            if key.id == key_id and key.not_before <= at <= key.not_after + grace:
                return
        raise Invalid(
            Check.PREKEY,
            "the prekey is not one of the agency's, or not in its time",
            agency=agency_id,
            key=key_id.hex(),
        )

    def with_prekeys(self, prekeys: Mapping[AgencyId, tuple[Key, ...]]) -> Directory:
        """The same directory with these prekeys, already verified, in place of those it had."""
        agencies = {
            agency_id: replace(agency, prekeys=prekeys.get(agency_id, agency.prekeys))
            for agency_id, agency in self.agencies.items()
        }
        return replace(self, agencies=MappingProxyType(agencies))

    @cached_property
    def _standing(self) -> Mapping[Role, tuple[Agency, ...]]:
        found: dict[Role, list[Agency]] = {}
        for _, agency in sorted(self.agencies.items()):
            for role in agency.standing:
                found.setdefault(role, []).append(agency)
        return {role: tuple(agencies) for role, agencies in found.items()}

    def standing(self, role: Role, at: Millis) -> tuple[Agency, ...]:
        """The enrolled agencies that hold this standing role, in order of their ids."""
        return tuple(agency for agency in self._standing.get(role, ()) if agency.enrolled_at(at))

    def auditors(self, at: Millis) -> frozenset[AgencyId]:
        """The enrolled auditors."""
        return frozenset(
            one.id for one in self.agencies.values() if one.kind is AgencyKind.AUDITOR and one.enrolled_at(at)
        )
