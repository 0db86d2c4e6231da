"""The home folder of one adapter: its configuration, keys and databases, created once and opened by every command.

A home belongs to one agency and is closed to other users of the machine. Leaves what is done with it to
``adapter``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.inbox import Inbox
from adapters.outbox import Outbox
from broker import limits
from broker.authority.table import Table
from broker.clock import Clock, Random
from broker.errors import ConfigError, InputError
from broker.event.catalogue import Catalogue
from broker.keys import disk
from broker.keys.files import Argon2, KeyRing, Secret
from broker.keys.handles import verify
from broker.keys.keystore import Keystore
from broker.names import AgencyId, Digest
from broker.policy.decide import Policy
from broker.seal.ground import BundleGround
from broker.trust import file as directory_file
from broker.trust.bundle import Bundle, Bundles, Parameters

CONFIG_FILE: Final = "config.json"
KEYS_FOLDER: Final = "keys"
KEYSTORE_FILE: Final = "keystore.sqlite"
INBOX_FILE: Final = "inbox.sqlite"
OUTBOX_FILE: Final = "outbox.sqlite"
_AGENCY: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


class Config(BaseModel):
    """What a home folder says of itself. Paths may be relative to the folder."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: int = Field(default=1, ge=1, le=1)
    agency: str
    stream: str
    directory: str
    trusted_keys: tuple[str, ...] = Field(strict=False)

    def path(self, folder: Path, value: str) -> Path:
        """A path of the configuration, seen from the home folder."""
        return folder / value


@dataclass(frozen=True, slots=True)
class Rules:
    """What every party decides by: catalogue, authority table and policies."""

    catalogue: Catalogue
    table: Table
    policy: Policy

    @classmethod
    def load(cls) -> Self:
        """Those that ship with the program.

        Raises:
            ConfigError: a policy file has a fault; everything would be denied.
        """
        policy = Policy.load()
        if policy.faults:
            raise ConfigError(f"the policies cannot be used: {policy.faults[0]}; run: casebridge policy check")
        return cls(Catalogue.load(), Table.load(), policy)

    @property
    def policy_digest(self) -> Digest:
        """What a trust bundle names as its policy: the Cedar files and the authority table."""
        return Digest(sha256(self.policy.digest + self.table.digest).digest())

    @property
    def catalogue_digest(self) -> Digest:
        """What a trust bundle names as its catalogue."""
        return Digest(self.catalogue.digest)


def load_ground(path: Path, trusted_keys: tuple[bytes, ...], rules: Rules) -> BundleGround:
    """The ground that a directory file, or a folder of successive ones, gives together with the rules.

    Raises:
        ConfigError: no directory, or one that is damaged or not signed by a trusted key.
    """
    try:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        raw = [file.read_bytes() for file in files]
    except OSError:
        raise ConfigError(f"the directory {path} cannot be read; install the exchange's directory there") from None
    if not raw:
        raise ConfigError(f"the directory {path} is empty; install the exchange's directory there")
    directories = sorted(
        (directory_file.parse(data, verify=verify, trusted_keys=trusted_keys) for data in raw),
        key=lambda directory: directory.issued_at,
    )
    bundles = [
        Bundle(directory.issued_at, directory, rules.policy_digest, rules.catalogue_digest, Parameters())
        for directory in directories
    ]
    return BundleGround(Bundles(bundles), rules.catalogue)


@dataclass(frozen=True, slots=True)
class Home:
    """An opened home folder. Close it when done."""

    folder: Path
    config: Config
    agency: AgencyId
    ring: KeyRing
    keystore: Keystore
    inbox: Inbox
    outbox: Outbox
    clock: Clock
    random: Random

    @classmethod
    def create(
        cls,
        folder: Path,
        config: Config,
        *,
        secret: Secret,
        clock: Clock,
        random: Random,
        unsafe_cost: Argon2 | None = None,
    ) -> Self:
        """A new home with new keys.

        Raises:
            ConfigError: the folder is a home already, or others may enter it.
            InputError: the agency has no possible id, or the passphrase is too short.
            StoreError: the disk refused.
        """
        if (folder / CONFIG_FILE).exists():
            raise ConfigError(f"{folder} is the home of an adapter already; choose another folder")
        if not _AGENCY.fullmatch(config.agency) or len(config.agency) > limits.AGENCY_ID_CHARS:
            raise InputError(
                "--agency: an agency's id is small letters, digits and hyphens in parts joined by dots,"
                f" at most {limits.AGENCY_ID_CHARS} characters, for example in.kl.cwc.ernakulam",
                field="agency",
            )
        agency = AgencyId(config.agency)
        with _whole(folder):
            disk.make_folder(folder)
            ring = KeyRing.create(
                folder / KEYS_FOLDER, agency=agency, secret=secret, clock=clock, random=random, unsafe_cost=unsafe_cost
            )
            disk.create_private(folder / CONFIG_FILE, config.model_dump_json(indent=2).encode() + b"\n")
            return cls._open(folder, config, ring, clock, random)

    @classmethod
    def open(
        cls, folder: Path, *, secret: Secret, clock: Clock, random: Random, unsafe_cost: Argon2 | None = None
    ) -> Self:
        """An existing home, unlocked.

        Raises:
            ConfigError: not a home, damaged, or others may enter it.
            KeyUnavailable: the passphrase or key file is wrong.
            StoreError: a database cannot be opened.
        """
        config = read_config(folder)
        disk.check_folder(folder)
        ring = KeyRing.open(
            folder / KEYS_FOLDER,
            agency=AgencyId(config.agency),
            secret=secret,
            clock=clock,
            random=random,
            unsafe_cost=unsafe_cost,
        )
        return cls._open(folder, config, ring, clock, random)

    @classmethod
    def _open(cls, folder: Path, config: Config, ring: KeyRing, clock: Clock, random: Random) -> Self:
        keystore = Keystore.open(
            folder / KEYSTORE_FILE, key=ring.keystore_key(), agency=ring.agency, clock=clock, random=random
        )
        inbox = Inbox.open(folder / INBOX_FILE, clock=clock)
        outbox = Outbox.open(folder / OUTBOX_FILE, clock=clock, random=random)
        if outbox.copied:
            outbox.new_incarnation()
        return cls(folder, config, ring.agency, ring, keystore, inbox, outbox, clock, random)

    @property
    def trusted_keys(self) -> tuple[bytes, ...]:
        """The keys whose signature on a directory this home trusts."""
        return tuple(base64.b64decode(key) for key in self.config.trusted_keys)

    def ground(self, rules: Rules) -> BundleGround:
        """The trust bundles of this home.

        Raises:
            ConfigError: see ``load_ground``.
        """
        return load_ground(self.config.path(self.folder, self.config.directory), self.trusted_keys, rules)

    def close(self) -> None:
        """Let go of files and keys."""
        self.outbox.close()
        self.inbox.close()
        self.keystore.close()
        self.ring.close()


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Takes back what was put into the folder, and the folder where it was not there, if something goes wrong."""
    before = set(folder.iterdir()) if folder.is_dir() else None
    try:
        yield
    except BaseException:
        if folder.is_dir() and not folder.is_symlink():
            for path in set(folder.iterdir()) - (before or set()):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            if before is None:
                folder.rmdir()
        raise


def read_config(folder: Path) -> Config:
    """The configuration of a home folder.

    Raises:
        ConfigError: there is none, or it is damaged.
    """
    path = folder / CONFIG_FILE
    try:
        return Config.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise ConfigError(f"{folder} is not the home of an adapter; run: casebridge init --home {folder} …") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, ValidationError):
        raise ConfigError(f"{path} is damaged; restore it from a backup") from None


def decode_key(text: str) -> bytes:
    """An Ed25519 public key in base64.

    Raises:
        InputError: not one.
    """
    try:
        key = base64.b64decode(text, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise InputError("--trust: a directory's key is 32 bytes in base64, as its operator gives it", field="trust")
    return key
