"""What a verifier stands on: the trust bundles as they were, and the catalogue.

Every question here has one answer for everybody: it depends on bundles and a moment in the past alone.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from broker.checks import Check
from broker.errors import InputError, Invalid
from broker.event.catalogue import Catalogue
from broker.names import AgencyId, AgencyKind, Digest, KeyId, Millis
from broker.trust.bundle import Bundles, Parameters
from broker.trust.directory import Directory


class Ground(Protocol):
    """Answers about a moment in the past; each method raises ``Invalid`` with the check that it names."""

    def check_type(self, event_type: str, variant: str, schema_id: int) -> None:
        """Check TYPE."""

    def knows(self, bundle: Digest) -> bool:
        """Whether the bundle is here; one that is not may be on its way."""

    def check_bundle(self, cited: Digest, at: Millis) -> None:
        """Check BUNDLE."""

    def check_publisher(self, agency: AgencyId, at: Millis) -> None:
        """Check PUBLISHER: enrolled at that time."""

    def signing_key(self, agency: AgencyId, key_id: KeyId, at: Millis) -> bytes:
        """The Ed25519 public key; check SIGNING_KEY: its own, and valid then."""

    def broker_key(self, agency: AgencyId, key_id: KeyId, at: Millis) -> bytes:
        """The same for an agency of kind hub."""

    def check_prekey(self, reader: AgencyId, prekey_id: KeyId, at: Millis) -> None:
        """Checks SLOT_FORM (reader known) and PREKEY (its own, valid then)."""

    def auditors(self, at: Millis) -> frozenset[AgencyId]:
        """The enrolled auditors."""

    def directory(self, at: Millis) -> Directory:
        """The directory in force at that time; check BUNDLE: none was."""

    def parameters(self, at: Millis) -> Parameters:
        """The parameters in force at that time; check BUNDLE: none were."""

    def in_force(self, at: Millis) -> Digest:
        """The digest of the bundle in force at that time; check BUNDLE: none was."""


class BundleGround:
    """The ground that an installation's trust bundles and catalogue give."""

    def __init__(self, bundles: Bundles, catalogue: Catalogue) -> None:
        self.bundles, self._catalogue = bundles, catalogue
        self.check_type = lru_cache(1_024)(self._check_type)
        self.check_bundle = lru_cache(1_024)(self._check_bundle)

    def _check_type(self, event_type: str, variant: str, schema_id: int) -> None:
        try:
            spec = self._catalogue.by_schema_id(schema_id)
        except InputError:
            raise Invalid(Check.TYPE, f"schema {schema_id} is not in the catalogue") from None
        named = spec
        if event_type == "amend" and not spec.control:  # an amend carries the schema id of what it amends
            named = self._catalogue.type("amend")
        if named.name != event_type or variant not in named.variants:
            raise Invalid(Check.TYPE, "type, variant and schema do not belong together")

    def _check_bundle(self, cited: Digest, at: Millis) -> None:
        self.bundles.judge(cited, at)

    def knows(self, bundle: Digest) -> bool:
        """Whether the bundle is here."""
        return bundle in self.bundles

    def check_publisher(self, agency: AgencyId, at: Millis) -> None:
        """Check PUBLISHER."""
        self.directory(at).enrolled(agency, at)

    def signing_key(self, agency: AgencyId, key_id: KeyId, at: Millis) -> bytes:
        """Check SIGNING_KEY; gives the public key."""
        return self.directory(at).signing_key(agency, key_id, at)

    def broker_key(self, agency: AgencyId, key_id: KeyId, at: Millis) -> bytes:
        """The same for an agency of kind hub."""
        directory = self.directory(at)
        if directory.enrolled(agency, at).kind is not AgencyKind.HUB:
            raise Invalid(Check.SIGNING_KEY, "the signer is not a broker of the exchange")
        return directory.signing_key(agency, key_id, at)

    def check_prekey(self, reader: AgencyId, prekey_id: KeyId, at: Millis) -> None:
        """Checks SLOT_FORM and PREKEY."""
        bundle = self.bundles.in_force(at)
        bundle.directory.check_prekey(reader, prekey_id, at, grace=bundle.parameters.prekey_grace)

    def auditors(self, at: Millis) -> frozenset[AgencyId]:
        """The enrolled auditors."""
        return self.directory(at).auditors(at)

    def directory(self, at: Millis) -> Directory:
        """The directory in force at that time."""
        return self.bundles.in_force(at).directory

    def parameters(self, at: Millis) -> Parameters:
        """The parameters in force at that time."""
        return self.bundles.in_force(at).parameters

    def in_force(self, at: Millis) -> Digest:
        """The digest of the bundle in force at that time."""
        return self.bundles.in_force(at).digest
