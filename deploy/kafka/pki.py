"""Certificates of a cluster: an authority of its own, and one certificate for each node and each principal.

The common name is the principal: an agency's id, or an office of the exchange (``broker``, ``notary``, ``operator``),
or ``kafka`` for nodes and ``admin`` for whoever sets up topics. One PEM file holds key and certificate, as Kafka and
Python both read it.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.stream.kafka.settings import COMMON_NAME_CHARS, common_name

AUTHORITY: Final = "authority.pem"
AUTHORITY_KEY: Final = "authority.key"
CLIENTS: Final = "clients"

AUTHORITY_DAYS: Final = 3_650
CLIENT_DAYS: Final = 90


def create_authority(folder: Path) -> None:
    """A new authority in the folder: ``authority.pem`` for everybody, ``authority.key`` for the operator alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("casebridge transport authority")
    certificate = (
        _dated(AUTHORITY_DAYS)
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder / AUTHORITY_KEY, _pem(key))
    (folder / AUTHORITY).write_bytes(certificate.public_bytes(Encoding.PEM))


def issue(folder: Path, name: str, to: Path, *, hosts: Sequence[str] = (), days: float = CLIENT_DAYS) -> None:
    """Writes a new key and certificate of this name to a file that only its owner may open, replacing an older one.

    Args:
        hosts: host names or addresses of a node; none for a client.
        days: how long it holds, from now; a negative number makes one that has expired.

    Raises:
        ValueError: the name is too long for a certificate.
    """
    if not 0 < len(name) <= COMMON_NAME_CHARS:
        raise ValueError(f"a certificate names at most {COMMON_NAME_CHARS} characters, {name} has {len(name)}")
    authority = x509.load_pem_x509_certificate((folder / AUTHORITY).read_bytes())
    authority_key = load_pem_private_key((folder / AUTHORITY_KEY).read_bytes(), None)
    if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{AUTHORITY_KEY} holds no key of an elliptic curve")
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        _dated(days)
        .subject_name(_name(name))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(issuer, critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    certificate = builder.sign(authority_key, hashes.SHA256())
    _write(to, _pem(key) + certificate.public_bytes(Encoding.PEM))


def issue_clients(folder: Path, names: Sequence[str]) -> None:
    """A certificate for each of these agencies and offices in ``clients/``; one that is there stays."""
    (folder / CLIENTS).mkdir(mode=0o700, exist_ok=True)
    for name in map(common_name, names):
        path = folder / CLIENTS / f"{name}.pem"
        if not path.exists():
            issue(folder, name, path)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _dated(days: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begin = now - timedelta(minutes=5) + min(timedelta(days=days), timedelta(0)) * 2
    return (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, for its owner alone: a process that looks meanwhile finds the old file or the new one."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
