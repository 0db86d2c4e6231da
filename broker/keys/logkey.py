"""The key of a transparency log, at rest beside a key ring and locked by it; it does not rotate with the ring."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from broker.clock import Random
from broker.keys.disk import create_private, read_private
from broker.keys.files import KeyRing
from broker.keys.handles import SEED_SIZE, WRAP_OVERHEAD, SigningKey

_AAD: Final = b"casebridge/1/log-key"


def create(path: Path, ring: KeyRing, *, random: Random) -> SigningKey:
    """A new key, kept in this file.

    Raises:
        ConfigError: the file is there already.
        StoreError: the disk refused.
    """
    seed = random.bytes(SEED_SIZE)
    create_private(path, ring.keystore_key().wrap(seed, aad=_AAD, random=random))
    return SigningKey(seed)


def load(path: Path, ring: KeyRing) -> SigningKey:
    """The key of this file.

    Raises:
        ConfigError: missing, or others may read it.
        KeyUnavailable: not locked by this ring, or damaged.
    """
    wrapped = read_private(path, limit=SEED_SIZE + WRAP_OVERHEAD)
    return SigningKey(ring.keystore_key().unwrap(wrapped, aad=_AAD))
