"""An authority in a folder: it signs requests, remembers what it signed, and publishes what it revoked.

The common name is the principal: an agency's id (``broker.stream.kafka.settings.common_name``), or an office of the
exchange (``broker``, ``notary``, ``operator``), or ``kafka`` for nodes and ``admin`` for whoever sets up topics.

A certificate names the file in which a node finds the list of revoked ones (RFC 5280 §4.2.1.13), so that a node learns
of a loss within half a minute, and refuses everybody where there is no list or an old one (``REVOCATION``).
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.stream.kafka.settings import COMMON_NAME_CHARS

CERTIFICATE: Final = "authority.pem"
KEY: Final = "authority.key"
REVOKED: Final = "authority.crl"
ISSUED: Final = "issued.jsonl"

AUTHORITY_DAYS: Final = 3_650
CLIENT_DAYS: Final = 90
LIST_DAYS: Final = 35
"""How long a list of revoked certificates holds: an operator who forgets the authority for a month has no exchange."""
LIST_PLACE: Final = "file:///etc/kafka/authority.crl"
REVOCATION: Final = ("-Dcom.sun.net.ssl.checkRevocation=true", "-Dcom.sun.security.enableCRLDP=true")
"""What Java needs to ask a certificate's list (``KAFKA_OPTS``); without them a revoked certificate is taken."""


class PkiError(Exception):
    """The authority does not do it; the text says why."""


class Issued(NamedTuple):
    """A certificate that was signed; ``serial`` in hex."""

    serial: str
    name: str
    until: str
    revoked: bool


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that is unlocked; ``create`` or ``open`` it."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    place: str

    @classmethod
    def create(
        cls, folder: Path, *, passphrase: bytes | None, place: str = LIST_PLACE, list_days: int = LIST_DAYS
    ) -> Self:
        """A new authority: ``authority.pem`` and ``authority.crl`` for everybody, the key for the operator alone.

        Args:
            passphrase: what the key is encrypted with; None for tests alone.
            place: where each node has the list of revoked certificates, a ``file:`` URI.

        Raises:
            PkiError: there is one already.
        """
        if (folder / KEY).exists():
            raise PkiError(f"{folder} has an authority; it stays")
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
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(folder / KEY, key_pem(key, passphrase))
        (folder / ISSUED).write_text(json.dumps({"list": place}) + "\n", "utf-8")
        (folder / CERTIFICATE).write_bytes(certificate.public_bytes(Encoding.PEM))
        made = cls(folder, certificate, key, place)
        made.publish((), days=list_days)
        return made

    @classmethod
    def open(cls, folder: Path, *, passphrase: bytes | None) -> Self:
        """The authority of a folder.

        Raises:
            PkiError: there is none, or the passphrase is another.
        """
        try:
            certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
            key = load_pem_private_key((folder / KEY).read_bytes(), passphrase)
            place = json.loads((folder / ISSUED).read_text("utf-8").splitlines()[0])["list"]
        except OSError as error:
            raise PkiError(f"{folder} has no authority: {(error.strerror or 'refused').lower()}") from None
        except (TypeError, ValueError):
            raise PkiError(f"the key in {folder} does not open: is the passphrase that of this authority?") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise PkiError(f"{KEY} holds no key of an elliptic curve")
        return cls(folder, certificate, key, place)

    def sign(self, public: Any, name: str, *, hosts: Sequence[str] = (), days: float = CLIENT_DAYS) -> x509.Certificate:
        """A certificate of this name for a public key.

        Args:
            hosts: host names or addresses of a node; none for a client.
            days: how long it holds, from now; a negative number makes one that has expired.

        Raises:
            PkiError: the name or the key is none that a certificate can have.
        """
        if not 0 < len(name) <= COMMON_NAME_CHARS:
            raise PkiError(f"a certificate names at most {COMMON_NAME_CHARS} characters, {name} has {len(name)}")
        if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.key_size < 256:
            raise PkiError("the key is none of an elliptic curve with 256 bits or more")
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        at = x509.DistributionPoint([x509.UniformResourceIdentifier(self.place)], None, None, None)
        builder = (
            _dated(days)
            .subject_name(_name(name))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(self._issuer(), critical=False)
            .add_extension(x509.CRLDistributionPoints([at]), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(one) for one in hosts]), critical=False)
        made = builder.sign(self.key, hashes.SHA256())
        line = {"serial": f"{made.serial_number:x}", "name": name, "until": made.not_valid_after_utc.isoformat()}
        with (self.folder / ISSUED).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return made

    def answer(self, request: bytes, name: str, *, hosts: Sequence[str] = (), days: float = CLIENT_DAYS) -> bytes:
        """The certificate for a request that somebody made with a key of theirs, as PEM.

        Raises:
            PkiError: it is no request, is not signed with its own key, or is for another name.
        """
        try:
            asked = x509.load_pem_x509_csr(request)
            if not asked.is_signature_valid:
                raise PkiError("the request is not signed with the key that is in it")
        except (ValueError, InvalidSignature):
            raise PkiError("this is no request for a certificate (PEM)") from None
        if asked.subject != _name(name):
            raise PkiError(f"the request is for {asked.subject.rfc4514_string()}, not for CN={name}")
        return self.sign(asked.public_key(), name, hosts=hosts, days=days).public_bytes(Encoding.PEM)

    def revoke(self, serial: str, *, days: int = LIST_DAYS) -> Issued:
        """Adds a certificate to the list; nodes refuse it once they have the new list.

        Raises:
            PkiError: no such certificate was issued, or it is on the list.
        """
        found = [one for one in self.issued() if one.serial == serial.lower()]
        if not found:
            raise PkiError(f"no certificate has the serial number {serial}; `list` shows them")
        if found[0].revoked:
            raise PkiError(f"{serial} was revoked before")
        self.publish((int(serial, 16),), days=days)
        return found[0]._replace(revoked=True)

    def publish(self, more: Sequence[int] = (), *, days: int = LIST_DAYS) -> None:
        """Writes the list anew, with these serial numbers added to those of before."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now - timedelta(minutes=5))
            .next_update(now + timedelta(days=days))
            .add_extension(self._issuer(), critical=False)
            .add_extension(x509.CRLNumber(int(now.timestamp() * 1_000)), critical=False)
        )
        for entry in self._revoked():
            builder = builder.add_revoked_certificate(entry)
        for serial in more:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            builder = builder.add_revoked_certificate(entry)
        new = (self.folder / REVOKED).with_suffix(".new")
        new.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        new.replace(self.folder / REVOKED)

    def issued(self) -> list[Issued]:
        """Every certificate that was signed, oldest first."""
        revoked = {f"{one.serial_number:x}" for one in self._revoked()}
        lines = (self.folder / ISSUED).read_text("utf-8").splitlines()[1:]
        return [Issued(**one, revoked=one["serial"] in revoked) for one in map(json.loads, lines)]

    def _revoked(self) -> list[x509.RevokedCertificate]:
        path = self.folder / REVOKED
        return list(x509.load_pem_x509_crl(path.read_bytes())) if path.exists() else []

    def _issuer(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())


def request(name: str) -> tuple[bytes, bytes]:
    """A new key and a request for its certificate, both PEM: made by whoever is to have it."""
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.CertificateSigningRequestBuilder().subject_name(_name(name)).sign(key, hashes.SHA256())
    return key_pem(key, None), asked.public_bytes(Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    """A private key as PKCS #8."""
    closed = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, closed)


def write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, for its owner alone: a process that looks meanwhile finds the old file or the new one."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


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
