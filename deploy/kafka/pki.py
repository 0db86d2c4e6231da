"""Certificates of a local cluster: an authority whose key is not encrypted, and keys that are made where it is.

A pilot's are made otherwise, with the same authority: ``deploy/pki``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from broker.stream.kafka.settings import common_name
from deploy.pki import authority
from deploy.pki.authority import AUTHORITY_DAYS, CLIENT_DAYS, REVOKED, Authority

AUTHORITY: Final = authority.CERTIFICATE
CLIENTS: Final = "clients"


def create_authority(folder: Path) -> None:
    """A new authority in the folder."""
    for name in (authority.KEY, authority.ISSUED, REVOKED):
        (folder / name).unlink(missing_ok=True)  # of an attempt that failed
    place = (folder / REVOKED).resolve().as_uri()
    Authority.create(folder, passphrase=None, place=place, list_days=AUTHORITY_DAYS)


def issue(folder: Path, name: str, to: Path, *, hosts: Sequence[str] = (), days: float = CLIENT_DAYS) -> None:
    """Writes a new key and certificate of this name to a file that only its owner may open, replacing an older one.

    Raises:
        PkiError: the name is too long for a certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    made = Authority.open(folder, passphrase=None).sign(key.public_key(), name, hosts=hosts, days=days)
    authority.write_private(to, authority.key_pem(key, None) + made.public_bytes(Encoding.PEM))


def issue_clients(folder: Path, names: Sequence[str]) -> None:
    """A certificate for each of these agencies and offices in ``clients/``; one that is there stays."""
    (folder / CLIENTS).mkdir(mode=0o700, exist_ok=True)
    for name in map(common_name, names):
        path = folder / CLIENTS / f"{name}.pem"
        if not path.exists():
            issue(folder, name, path)
