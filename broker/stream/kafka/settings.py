"""Where a Kafka cluster is, and the certificates by which it knows who calls (``docs/spec/stream.md`` §6)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from broker.errors import ConfigError
from broker.stream.topics import Principal

VERSION: Final = 1
ADMIN: Final = "admin"
"""The principal that sets up topics and rights; nobody exchanges messages under it."""

COMMON_NAME_CHARS: Final = 64

_PART: Final = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_HOST_LIKE: Final = re.compile(rf"{_PART}(\.{_PART})*", re.ASCII)
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.:\[\]-]+:[0-9]{1,5}", re.ASCII)
_PREFIX: Final = re.compile(r"[a-z0-9.-]{0,64}", re.ASCII)
_NAMES: Final = frozenset({"version", "bootstrap", "authority", "clients", "prefix", "unsafe_sender_time"})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a ``kafka.json`` says.

    ``clients`` is a folder with one PEM file, key and certificate, for each principal that works from here; an
    agency's machine has its own and no other. ``prefix`` stands before every name of a topic and a group, so that a
    cluster can hold an exercise beside the real exchange. ``unsafe_sender_time`` takes the time of a message from its
    sender: for the demo, which plays in simulated time.
    """

    bootstrap: tuple[str, ...]
    authority: Path
    clients: Path
    prefix: str = ""
    unsafe_sender_time: bool = False

    @classmethod
    def load(cls, path: Path) -> Self:
        """The settings of a file; paths in it are seen from its folder.

        Raises:
            ConfigError: not there, or not such a file.
        """
        try:
            given = json.loads(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {(error.strerror or 'refused').lower()}") from None
        except ValueError:
            raise ConfigError(f"{path} is not JSON; write it as docs/spec/stream.md §6 shows") from None
        try:
            return cls._checked(path.parent, given)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: {error}; write it as docs/spec/stream.md §6 shows") from None

    @classmethod
    def _checked(cls, folder: Path, given: Any) -> Self:
        if not isinstance(given, dict) or given.get("version") != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        strange = sorted(set(given) - _NAMES)
        if strange:
            raise ValueError(f"{strange[0]!r} is no setting")
        bootstrap, prefix, unsafe = given["bootstrap"], given.get("prefix", ""), given.get("unsafe_sender_time", False)
        if not bootstrap or not all(_ADDRESS.fullmatch(one) for one in bootstrap):
            raise ValueError("bootstrap is a list of addresses, host:port")
        if not _PREFIX.fullmatch(prefix) or not isinstance(unsafe, bool):
            raise ValueError(
                "prefix is of lower-case letters, digits, dots and dashes; unsafe_sender_time true or false"
            )
        return cls(tuple(bootstrap), folder / given["authority"], folder / given["clients"], prefix, unsafe)

    def physical(self, name: str) -> str:
        """The name of a topic or group as the cluster knows it."""
        return self.prefix + name


def kafka_name(principal: Principal) -> str:
    """What Kafka calls this principal: the common name of its certificate.

    An agency is one principal, whether it reads as a member or as an auditor; no office's name is an agency id.
    """
    return principal.office.value if principal.agency is None else common_name(principal.agency)


def common_name(agency: str) -> str:
    """The common name of an agency's certificate: its id, or the id's SHA-256 in hex where the id cannot be one.

    A common name has at most 64 characters (RFC 5280, appendix A: ub-common-name), and Kubernetes names its users like
    hosts. A digest has no dot and an id has one, so no digest is another agency's id.
    """
    fits = len(agency) <= COMMON_NAME_CHARS and _HOST_LIKE.fullmatch(agency)
    return agency if fits else hashlib.sha256(agency.encode()).hexdigest()


def group_name(principal: Principal) -> str:
    """The group under which this principal's positions are kept."""
    return f"casebridge.{principal.office.value}" + (f".{principal.agency}" if principal.agency else "")


@dataclass(slots=True)
class Identity:
    """A principal's certificate as TLS uses it. A renewed file is taken up for the next connection; no restart."""

    name: str
    path: Path
    context: ssl.SSLContext
    _stamp: tuple[int, int] = field(default=(0, 0))

    @classmethod
    def load(cls, settings: Settings, name: str) -> Self:
        """The certificate of this name.

        Raises:
            ConfigError: there is none here, others may read its key, or it is damaged.
        """
        path = settings.clients / f"{name}.pem"
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(settings.authority))
        except (OSError, ssl.SSLError):
            raise ConfigError(f"the authority's certificate {settings.authority} cannot be read") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        identity = cls(name, path, context)
        identity.renew(required=True)
        return identity

    def renew(self, *, required: bool = False) -> bool:
        """Takes up the file where it has changed; whether it did. One that cannot be used leaves the old in force.

        Raises:
            ConfigError: ``required``, and the file cannot be used.
        """
        try:
            found = self.path.lstat()
            reason = _open_to_others(found)
            stamp = (found.st_mtime_ns, found.st_ino)
            if not reason:
                if stamp == self._stamp:
                    return False
                self.context.load_cert_chain(self.path)
        except ssl.SSLError:
            reason = "damaged"
        except OSError as error:
            reason = (error.strerror or "refused").lower()
        if reason and required:
            raise ConfigError(
                f"the certificate of {self.name} cannot be used, {self.path}: {reason}; the operator of the cluster"
                " issues it"
            )
        if reason:
            return False
        self._stamp = stamp
        return True


def _open_to_others(found: os.stat_result) -> str:
    if not stat.S_ISREG(found.st_mode):
        return "not an ordinary file"
    return "others on this machine may open it, set its mode to 0600" if found.st_mode & 0o077 else ""
