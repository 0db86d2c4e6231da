"""Slot secrets: one per (publisher instance, reader prekey, day), so that asymmetric work is paid once a day (§7).

Both caches are for speed alone: without them every slot seals and opens its own secret.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from hashlib import sha256
from typing import Final, Protocol

from broker.checks import Check
from broker.clock import Random
from broker.errors import Invalid, KeyUnavailable
from broker.keys.handles import seal_to
from broker.names import AgencyId, KeyId
from broker.seal.slot import SlotForm, secret_info, secret_prk

_KEPT: Final = 4_096


class ReaderPrekey(Protocol):
    """The public half of a reader's prekey."""

    @property
    def id(self) -> KeyId:
        """Its id."""

    @property
    def public(self) -> bytes:
        """1,216 bytes."""


class PrivatePrekey(Protocol):
    """The private half of one's own prekey."""

    def open(self, sealed: bytes, *, info: bytes) -> bytes:
        """What was sealed to it; raises ``Invalid`` where it does not open."""


class SealingSecrets:
    """The slot secrets that one publisher instance made today."""

    def __init__(self, publisher: AgencyId, instance: bytes, random: Random) -> None:
        self._publisher, self._instance, self._random = publisher, instance, random
        self._made: OrderedDict[tuple[AgencyId, KeyId, int], tuple[bytes, bytes]] = OrderedDict()

    def get(self, reader: AgencyId, prekey: ReaderPrekey, day: int) -> tuple[bytes, bytes]:
        """The extracted secret for this reader and day, and its sealed form."""
        name = (reader, prekey.id, day)
        made = self._made.get(name)
        if made is None:
            secret = self._random.bytes(32)
            info = secret_info(self._publisher, self._instance, day, reader, prekey.id)
            made = self._made[name] = (secret_prk(secret), seal_to(prekey.public, secret, info=info))
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return made


class OpeningSecrets:
    """The slot secrets that one recipient has opened lately."""

    def __init__(self, prekey: Callable[[KeyId], PrivatePrekey]) -> None:
        self._prekey = prekey
        self._opened: OrderedDict[bytes, tuple[KeyId, bytes]] = OrderedDict()

    def get(self, publisher: AgencyId, instance: bytes, slot: SlotForm) -> bytes:
        """The extracted secret of this slot.

        Raises:
            Invalid: check SLOT_OPEN: sealed to another, by another, or for another day.
            KeyUnavailable: the prekey's private half is not, or no longer, here.
        """
        info = secret_info(publisher, instance, slot.day, slot.reader, slot.prekey_id)
        name = sha256(info + slot.sealed_secret).digest()
        known = self._opened.get(name)
        prk = None if known is None else known[1]
        if prk is None:
            private = self._prekey(slot.prekey_id)
            try:
                prk = secret_prk(private.open(slot.sealed_secret, info=info))
            except KeyUnavailable:
                raise
            except Invalid:
                raise Invalid(Check.SLOT_OPEN, "the slot secret does not open") from None
            self._opened[name] = slot.prekey_id, prk
            if len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
        return prk

    def retain(self, prekeys: Collection[KeyId]) -> None:
        """Forgets the secrets that were sealed to any other prekey: once it is destroyed, they open nothing either."""
        kept = frozenset(prekeys)
        for name in [name for name, (prekey, _) in self._opened.items() if prekey not in kept]:
            del self._opened[name]
