"""Trust bundles: the directory, policy, catalogue and parameters that were in force together, and when.

Leaves to the caller where the parts come from; judges by digests and times alone (``docs/spec/directory.md`` §5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Final

from broker.checks import Check
from broker.clock import DAY, HOUR, MINUTE
from broker.errors import ConfigError, Invalid
from broker.names import Digest, Millis
from broker.trust.directory import Directory

_TAG: Final = b"casebridge/1/bundle"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Times that every party judges by, in milliseconds.

    ``bundle_grace``: how long a superseded bundle may still be cited. ``sealed_ahead`` and ``sealed_behind``: how
    far ``sealed_at`` may lie after and before acceptance. ``prekey_grace``: how long after its end a prekey may
    still be used. ``mandate_max``: the longest life of a mandate, from acceptance on.
    """

    bundle_grace: int = 7 * DAY
    sealed_ahead: int = 10 * MINUTE
    sealed_behind: int = 7 * DAY
    prekey_grace: int = 24 * HOUR
    mandate_max: int = 1827 * DAY

    def encode(self) -> bytes:
        """The bytes that go into the digest of a bundle: five u64 in the order of the fields."""
        times = (self.bundle_grace, self.sealed_ahead, self.sealed_behind, self.prekey_grace, self.mandate_max)
        return b"".join(value.to_bytes(8, "big") for value in times)


@dataclass(frozen=True)
class Bundle:
    """What was in force together, from ``since`` until the next bundle."""

    since: Millis
    directory: Directory
    policy: Digest
    catalogue: Digest
    parameters: Parameters

    @property
    def digest(self) -> Digest:
        """SHA-256 over the tag and the four digests; prekeys do not count."""
        parameters = sha256(self.parameters.encode()).digest()
        parts = (_TAG, self.directory.digest, self.policy, self.catalogue, parameters)
        return Digest(sha256(b"".join(parts)).digest())


class Bundles:
    """The bundles of an installation, oldest first."""

    def __init__(self, bundles: Sequence[Bundle]) -> None:
        """Takes the history.

        Raises:
            ConfigError: empty, or out of order.
        """
        if not bundles:
            raise ConfigError("there is no trust bundle; install one")
        if any(later.since <= earlier.since for earlier, later in pairwise(bundles)):
            raise ConfigError("the trust bundles are not in the order of their times")
        self._bundles = tuple(bundles)
        self._digests = tuple(bundle.digest for bundle in bundles)

    @property
    def newest(self) -> Bundle:
        """The last one."""
        return self._bundles[-1]

    def __contains__(self, digest: object) -> bool:
        """Whether a bundle of this digest is among them."""
        return digest in self._digests

    def in_force(self, at: Millis) -> Bundle:
        """The bundle in force at that time.

        Raises:
            Invalid: check BUNDLE: none was yet.
        """
        for bundle in reversed(self._bundles):
            if bundle.since <= at:
                return bundle
        raise Invalid(Check.BUNDLE, "no trust bundle was in force at that time", at=at)

    def judge(self, cited: Digest, accepted_at: Millis) -> Bundle:
        """The bundle cited, which was in force at acceptance or superseded by at most the grace in force then.

        Raises:
            Invalid: check BUNDLE.
        """
        grace = self.in_force(accepted_at).parameters.bundle_grace
        for place in range(len(self._bundles) - 1, -1, -1):
            bundle = self._bundles[place]
            if self._digests[place] != cited or bundle.since > accepted_at:
                continue
            after = self._bundles[place + 1].since if place + 1 < len(self._bundles) else None
            if after is None or accepted_at <= after + grace:
                return bundle
        raise Invalid(
            Check.BUNDLE,
            "the trust bundle cited was not in force at acceptance, nor superseded recently",
            cited=cited.hex(),
            at=accepted_at,
        )
