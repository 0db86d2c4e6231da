"""The key ring of one agency: its private keys on disk, their rotation and their destruction.

A ring holds the identity key, which signs nothing but statements about the other keys; signing keys; prekeys;
and the root from which the keystore's key is derived. Leaves the bytes to ``broker.keys.vault``, and when a
rotation is due, and what has been read under a prekey, to the adapter.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from broker import limits
from broker.clock import DAY, Clock, Random
from broker.errors import ConfigError, InputError, KeyUnavailable, StoreError
from broker.keys import disk, vault
from broker.keys.handles import SEED_SIZE, Handle, Prekey, SigningKey, WrappingKey, key_id
from broker.keys.statements import Certified, Use, certify
from broker.keys.vault import Argon2, Contents, Destroyed, KeyFile, Passphrase, Secret, Stored
from broker.names import AgencyId, KeyId, Millis

__all__ = ["Argon2", "KeyFile", "KeyRing", "Passphrase", "Secret", "Swept"]

RING_FILE: Final = "ring.key"
LOCK_FILE: Final = "ring.lock"
SIGNING_LIFE: Final = 400 * DAY
SIGNING_OVERLAP: Final = 7 * DAY
"""How long a signing key stays good beside its successor, at most."""
PREKEY_LIFE: Final = 45 * DAY
"""A new prekey every month; the rest bridges a directory that arrives late."""
PREKEY_GRACE: Final = 14 * DAY
"""Least time between a prekey's ``not_after`` and the destruction of its private half."""
PREKEY_HARD_MAXIMUM: Final = 90 * DAY
"""Time after ``not_after`` when the private half goes, whether or not everything under it was read."""
_TAG_KEYSTORE: Final = b"casebridge/1/keystore"


@dataclass(frozen=True, slots=True)
class Swept:
    """What ``destroy_expired`` destroyed; ``unread`` are prekeys that met the hard maximum with slices still unread."""

    signing: tuple[KeyId, ...]
    prekeys: tuple[KeyId, ...]
    unread: tuple[KeyId, ...]


@dataclass(frozen=True, slots=True)
class _Timed:
    key: SigningKey
    not_before: Millis
    not_after: Millis


class KeyRing(Handle):
    """The private keys of one agency, unlocked. Safe beside other processes that hold the same folder open.

    Each change is durable on return and whole: after an error the ring holds what the disk holds.
    """

    __slots__ = (
        "_clock", "_header", "_identity", "_key", "_path", "_prekeys", "_random", "_root", "_signing", "_stamp",
        "agency",
    )  # fmt: skip

    def __init__(
        self, path: Path, key: WrappingKey, header: vault.Header, contents: Contents, *, clock: Clock, random: Random
    ) -> None:
        """Use ``create`` or ``open``."""
        super().__init__()
        self.agency: AgencyId = header.agency
        self._path, self._key, self._header = path, key, header
        self._clock, self._random = clock, random
        self._prekeys: dict[KeyId, Prekey] = {}
        self._signing: tuple[_Timed, ...] = ()
        self._load(contents, ())

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        agency: AgencyId,
        secret: Secret,
        clock: Clock,
        random: Random,
        unsafe_cost: Argon2 | None = None,
    ) -> Self:
        """A new ring with one signing key and one prekey, valid from now; ``unsafe_cost`` is for tests.

        Raises:
            InputError: the passphrase is too short, or the agency has no possible id.
            ConfigError: the folder holds keys already, or others may enter it.
            StoreError: the disk refused.
        """
        if not 0 < len(agency.encode()) <= limits.AGENCY_ID_CHARS:
            raise InputError(f"an agency id has 1 to {limits.AGENCY_ID_CHARS} bytes", field="agency")
        if isinstance(secret, Passphrase):
            secret.check_new()
        disk.make_folder(folder)
        path = folder / RING_FILE
        if path.exists():
            raise ConfigError(f"{path} exists already and is not overwritten; choose another folder")
        header = _header(agency, secret, random, unsafe_cost)
        key, now = header.key(secret), clock.now()
        contents = Contents(
            root=random.bytes(SEED_SIZE),
            identity=random.bytes(SEED_SIZE),
            signing=(Stored(now, Millis(now + SIGNING_LIFE), random.bytes(SEED_SIZE)),),
            prekeys=(Stored(now, Millis(now + PREKEY_LIFE), random.bytes(SEED_SIZE)),),
        )
        disk.create_private(path, vault.encode(contents, header=header, key=key, random=random))
        return cls(path, key, header, contents, clock=clock, random=random)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        agency: AgencyId,
        secret: Secret,
        clock: Clock,
        random: Random,
        unsafe_cost: Argon2 | None = None,
    ) -> Self:
        """Unlock the ring of this agency: about 0.2 s with a passphrase, 1 ms with a key file.

        Raises:
            ConfigError: missing, damaged, of another agency, or others may read it.
            KeyUnavailable: the passphrase or key file is wrong.
        """
        disk.check_folder(folder)
        path = folder / RING_FILE
        header, body = _read(path, agency, unsafe_cost)
        key = header.key(secret)
        contents = vault.decode(body, header=header, key=key)
        return cls(path, key, header, contents, clock=clock, random=random)

    @property
    def label(self) -> str:
        """The agency."""
        return self.agency

    @property
    def identity(self) -> bytes:
        """The public identity key, 32 bytes: the directory lists it, and it vouches for the other keys."""
        return self._identity.public

    @property
    def signing(self) -> SigningKey:
        """The newest signing key that is in its time now.

        Raises:
            KeyUnavailable: none is; rotate.
        """
        now = self._clock.now()
        for timed in reversed(self._signing):
            if timed.not_before <= now <= timed.not_after:
                return timed.key
        raise KeyUnavailable("no signing key of this agency is in its time; run: casebridge keys rotate")

    @property
    def prekeys(self) -> tuple[Prekey, ...]:
        """The prekeys whose private half exists, oldest first."""
        return tuple(self._prekeys.values())

    def prekey(self, key: KeyId) -> Prekey:
        """The prekey with this id, also one that another process has just made.

        Raises:
            KeyUnavailable: never of this ring, or its private half was destroyed.
        """
        if key not in self._prekeys and _stamp(self._path) != self._stamp:
            self.refresh()
        try:
            return self._prekeys[key]
        except KeyError:
            raise KeyUnavailable(
                "the prekey that this slot names is not in the key ring: it was destroyed, or is of another agency",
                prekey=key.hex(),
            ) from None

    def keystore_key(self) -> WrappingKey:
        """The key of this agency's keystore, derived from the ring's root (``docs/spec/keys.md`` §4)."""
        name = self.agency.encode()
        return self._root.derive(_TAG_KEYSTORE + bytes((len(name),)) + name)

    def certified(self) -> tuple[Certified, ...]:
        """Every signing key and prekey of the ring, each vouched for by the identity key."""
        timed = [(Use.SIGNING, one.key.public, one.not_before, one.not_after) for one in self._signing]
        timed += [(Use.PREKEY, one.public, one.not_before, one.not_after) for one in self._prekeys.values()]
        return tuple(
            certify(self._identity, use, agency=self.agency, public=public, not_before=begin, not_after=end)
            for use, public, begin, end in timed
        )

    def public(self) -> dict[str, Any]:
        """What the directory lists of this agency's keys, ready for JSON (``docs/spec/keys.md`` §2.2)."""
        keys = self.certified()
        return {
            "agency": self.agency,
            "identity": {"id": key_id(self.identity).hex(), "key": base64.b64encode(self.identity).decode()},
            "signing": [key.listed() for key in keys if key.use is Use.SIGNING],
            "prekeys": [key.listed() for key in keys if key.use is Use.PREKEY],
        }

    def rotate_prekey(self, now: Millis) -> Prekey:
        """A new prekey, valid from ``now``; senders take the newest, the others still open what is on its way.

        Raises:
            InputError: ``now`` is before the start of the newest, or too many keys were never destroyed.
            StoreError: the disk refused.
        """
        seed = self._random.bytes(SEED_SIZE)
        fresh = Stored(now, Millis(now + PREKEY_LIFE), seed)
        self._rewrite(lambda old: replace(old, prekeys=(*old.prekeys, fresh)))
        return self.prekeys[-1]

    def rotate_signing(self, now: Millis, *, starts: Millis | None = None) -> SigningKey:
        """A new signing key, used from ``starts`` (default ``now``), when the directory should list it.

        Older keys end at most 7 days after ``starts``, so that what waits in outboxes still verifies.

        Raises:
            InputError: ``starts`` is before ``now`` or the start of the newest, or too many keys were never destroyed.
            StoreError: the disk refused.
        """
        begin = now if starts is None else starts
        if begin < now:
            raise InputError("a signing key cannot start in the past", field="starts")
        fresh = Stored(begin, Millis(begin + SIGNING_LIFE), self._random.bytes(SEED_SIZE))
        end = Millis(begin + SIGNING_OVERLAP)

        def change(old: Contents) -> Contents:
            ending = (replace(key, not_after=min(key.not_after, end)) for key in old.signing)
            return replace(old, signing=(*ending, fresh))

        self._rewrite(change)
        return self._signing[-1].key

    def destroy_expired(self, now: Millis, *, read_past: Collection[KeyId]) -> Swept:
        """Destroy private halves that are no longer needed, here and on disk, and say which.

        A signing key goes after its ``not_after``. A prekey goes 14 days after its ``not_after`` if it is in
        ``read_past`` (the adapter has read past the last position accepted under it), and after 90 days in any
        case: slices still unread under it then stay closed.

        Raises:
            StoreError: the disk refused.
        """
        read = frozenset(read_past)
        swept = Swept((), (), ())

        def change(old: Contents) -> Contents:
            nonlocal swept
            signing = {key: _signing_id(key) for key in old.signing if now > key.not_after}
            due = {
                key: name
                for key, name in ((key, _prekey_id(key)) for key in old.prekeys if now > key.not_after)
                if now > key.not_after + (PREKEY_GRACE if name in read else PREKEY_HARD_MAXIMUM)
            }
            gone = (*signing.values(), *due.values())
            swept = Swept(tuple(signing.values()), tuple(due.values()), tuple(n for n in due.values() if n not in read))
            return Contents(
                root=old.root,
                identity=old.identity,
                signing=tuple(key for key in old.signing if key not in signing),
                prekeys=tuple(key for key in old.prekeys if key not in due),
                destroyed=(*old.destroyed, *(Destroyed(name, now) for name in gone))[-vault.DESTROYED :],
            )

        self._rewrite(change)
        return swept

    def change_secret(self, secret: Secret, *, unsafe_cost: Argon2 | None = None) -> None:
        """Lock the ring with another passphrase or key file from now on; ``unsafe_cost`` is for tests.

        Raises:
            InputError: the passphrase is too short.
            StoreError: the disk refused; the old secret still opens the ring.
        """
        if isinstance(secret, Passphrase):
            secret.check_new()
        header = _header(self.agency, secret, self._random, unsafe_cost)
        self._rewrite(lambda old: old, header=header, key=header.key(secret))

    def refresh(self) -> None:
        """Take over what another process has changed in the folder.

        Raises:
            ConfigError: the file is damaged or unsafe.
            KeyUnavailable: another process has changed the passphrase or key file; open the ring again.
        """
        stamp = _stamp(self._path)
        self._load(self._current(), stamp)

    def close(self) -> None:
        """Forget all private halves in this process."""
        for timed in self._signing:
            timed.key.close()
        for prekey in self._prekeys.values():
            prekey.destroy()
        for handle in (self._identity, self._root, self._key):
            handle.close()

    def _current(self) -> Contents:
        header, body = vault.parse(disk.read_private(self._path, limit=vault.FILE_BYTES))
        if header != self._header:
            raise KeyUnavailable("the keys were locked with another secret meanwhile; open the key ring again")
        return vault.decode(body, header=header, key=self._key)

    def _rewrite(
        self,
        change: Callable[[Contents], Contents],
        *,
        header: vault.Header | None = None,
        key: WrappingKey | None = None,
    ) -> None:
        """Apply ``change`` to what the disk holds now; seeds are in memory only while this runs."""
        with disk.locked(self._path.with_name(LOCK_FILE)):
            disk.sweep(self._path)
            head, contents = header or self._header, change(self._current())
            try:
                vault.check(contents)
            except ValueError as error:
                raise InputError(
                    "the new key would not be the newest, or old keys must be destroyed first", reason=str(error)
                ) from None
            data = vault.encode(contents, header=head, key=key or self._key, random=self._random)
            try:
                disk.replace_private(self._path, data)
            except StoreError:
                self.refresh()  # the disk decides: the write may have happened though it reported an error
                raise
            self._key, self._header = key or self._key, head
            self._load(contents, _stamp(self._path))

    def _load(self, contents: Contents, stamp: tuple[int, ...]) -> None:
        """Make handles of the contents; those that exist stay, those that are gone are destroyed."""
        known = {timed.key.id: timed.key for timed in self._signing}
        signing = []
        for stored in contents.signing:
            key = SigningKey(stored.seed)
            signing.append(_Timed(known.pop(key.id, key), stored.not_before, stored.not_after))
        for gone in known.values():
            gone.close()
        fresh = [Prekey(key.seed, not_before=key.not_before, not_after=key.not_after) for key in contents.prekeys]
        prekeys = {key.id: self._prekeys.pop(key.id, key) for key in fresh}
        for lost in self._prekeys.values():
            lost.destroy()
        self._signing, self._prekeys = tuple(signing), prekeys
        self._identity, self._root = SigningKey(contents.identity), WrappingKey(contents.root)
        self._stamp = stamp


def _header(agency: AgencyId, secret: Secret, random: Random, unsafe_cost: Argon2 | None) -> vault.Header:
    cost = vault.NO_COST if isinstance(secret, KeyFile) else (unsafe_cost or vault.ARGON2)
    return vault.Header(agency, cost, random.bytes(vault.SALT_SIZE))


def _read(path: Path, agency: AgencyId, unsafe_cost: Argon2 | None) -> tuple[vault.Header, bytes]:
    header, body = vault.decode_header(disk.read_private(path, limit=vault.FILE_BYTES), unsafe_cost=unsafe_cost)
    if header.agency != agency:
        raise ConfigError(
            f"the keys in {path.parent} belong to {header.agency}, not to {agency}; choose its own folder"
        )
    return header, body


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when the file is replaced; read before the file, so that a change is never missed."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _signing_id(key: Stored) -> KeyId:
    return SigningKey(key.seed).id


def _prekey_id(key: Stored) -> KeyId:
    return Prekey(key.seed, not_before=key.not_before, not_after=key.not_after).id
