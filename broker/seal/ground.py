"""What a verifier stands on: the directories and bundles as they were, and the catalogue, as a Protocol.

The pipeline builds one from ``broker.trust`` and ``broker.event``; everything here is a question with one answer for
everybody.
"""

from __future__ import annotations

from typing import Protocol

from broker.names import AgencyId, Digest, KeyId, Millis


class Ground(Protocol):
    """Answers about a moment in the past; each method raises ``Invalid`` with the check that it names."""

    def check_type(self, event_type: str, variant: str, schema_id: int) -> None:
        """Check TYPE."""

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
