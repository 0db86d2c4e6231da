"""An agency loses its certificate and has a new one, as deploy/pki/README.md tells it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from broker.names import AgencyId
from broker.stream import topics
from broker.stream.kafka.settings import Identity, Settings
from deploy.pki.authority import AUTHORITY_DAYS, REVOKED, Authority
from tests.fault.processes import ROOT
from tests.integration.test_kafka_rights import write
from tests.streams import made_topics, own_settings
from tests.unit.stream.contract import CWC

NEW: Final = AgencyId("in.zz.newcomer")
LIST_SECONDS: Final = 60
"""Java looks at a list again after 30 s."""


def command(*words: str | Path, code: int = 0) -> str:
    """What a command of deploy/pki prints."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.pki", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def settings(kafka_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Topics and rights of one agency."""
    folder = tmp_path_factory.mktemp("enrolment")
    yield from made_topics(kafka_folder, own_settings(kafka_folder, folder), [NEW])


def certificate(settings: Settings, name: str, folder: Path) -> Settings:
    """Settings under which this agency comes with a certificate for a request of its own."""
    command("request", folder, name)
    opened = Authority.open(settings.authority.parent, passphrase=None)
    made = opened.answer((folder / f"{name}.csr").read_bytes(), name)
    path = folder / f"{name}.pem"
    path.touch(mode=0o600)
    path.write_bytes((folder / f"{name}.key").read_bytes() + made)
    return Settings(settings.bootstrap, settings.authority, folder, settings.prefix)


def serial(settings: Settings, name: str) -> str:
    """The newest certificate of this name."""
    opened = Authority.open(settings.authority.parent, passphrase=None)
    return [one.serial for one in opened.issued() if one.name == name][-1]


def accepted(settings: Settings, name: str) -> bool:
    """Whether a node takes this certificate: one that is refused hears so after its part of TLS 1.3 is done."""
    host, port = settings.bootstrap[0].split(":")
    context = Identity.load(settings, name).context
    try:
        with (
            closing(socket.create_connection((host, int(port)), timeout=5)) as raw,
            context.wrap_socket(raw, server_hostname=host) as secure,
        ):
            secure.settimeout(1)
            return secure.recv(1) != b""
    except TimeoutError:
        return True
    except (ssl.SSLError, ConnectionError):
        return False


def test_a_lost_certificate_is_refused_and_the_new_one_serves(settings: Settings, tmp_path: Path) -> None:
    """A running node learns of the list by itself; the agency keeps its name, its topic and its rights."""
    lost = certificate(settings, NEW, tmp_path / "lost")
    taken_back = serial(settings, NEW)
    renewed = certificate(settings, NEW, tmp_path / "renewed")
    assert accepted(lost, NEW)
    assert accepted(renewed, NEW), "both hold for a while"
    Authority.open(settings.authority.parent, passphrase=None).revoke(taken_back, days=AUTHORITY_DAYS)
    deadline = time.monotonic() + LIST_SECONDS
    while accepted(lost, NEW) and time.monotonic() < deadline:
        time.sleep(1)
    assert not accepted(lost, NEW)
    assert accepted(renewed, NEW)
    asyncio.run(write(renewed, NEW, topics.EVENTS))


def test_an_authority_is_kept_by_commands(tmp_path: Path) -> None:
    """Made, asked, signed, renewed and revoked; each certificate is listed, the key of the authority is encrypted."""
    secret, folder, agency = tmp_path / "passphrase", tmp_path / "authority", tmp_path / "agency"
    secret.write_text("correct horse\n")
    unlock = ("--passphrase-file", secret)
    command("init", folder, *unlock)
    assert b"ENCRYPTED" in (folder / "authority.key").read_bytes()
    assert "stays" in command("init", folder, *unlock, code=1)
    command("request", agency, NEW)
    asked = ("--request", agency / f"{NEW}.csr", "--out", agency / f"{NEW}.crt")
    assert "issue" in command("renew", folder, NEW, *asked, *unlock, code=1)
    assert "not for CN=" in command("issue", folder, CWC, *asked, *unlock, code=1)
    command("issue", folder, NEW, *asked, *unlock)
    command("renew", folder, NEW, *asked, *unlock)
    first, second = (line.split() for line in command("list", folder, *unlock).splitlines())
    assert (first[1], second[1]) == (NEW, NEW)
    before = (folder / REVOKED).read_bytes()
    command("revoke", folder, first[0], *unlock)
    assert (folder / REVOKED).read_bytes() != before
    command("crl", folder, *unlock)
    listed = command("list", folder, *unlock).splitlines()
    assert [line.endswith("revoked") for line in listed] == [True, False]
    assert "no certificate" in command("revoke", folder, "abc", *unlock, code=1)
    secret.write_text("another\n")
    assert "passphrase" in command("list", folder, *unlock, code=1)
