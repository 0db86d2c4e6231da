"""Programs that we did not write judge our log: tessera's fsck reads it, transparency-dev's witness cosigns it."""

from __future__ import annotations

import base64
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from broker.clock import SetClock
from broker.names import Millis
from broker.tlog import tree
from broker.tlog.checkpoint import Checkpoint
from broker.tlog.log import Log
from broker.tlog.note import (
    COSIGNATURE_ED25519,
    Ed25519Signer,
    Mldsa44Signer,
    NoteSigner,
    sign_note,
    verify_note,
)
from broker.tlog.served import CHECKPOINT_FILE
from broker.tlog.witness import Request, cosignatures
from tests.interop import golang

LOG: Final = Ed25519Signer("log.example/one", bytes(32))
PASS: Final = "Successfully fsck'd"
WITNESS: Final = "witness.example/w"


def append(folder: Path, count: int, word: str = "entry") -> Log:
    """The log in this folder with so many entries more, published."""
    log = Log.open(folder, signers=[LOG], clock=SetClock(Millis(1_770_000_000_000)))
    start = log.state.size
    log.publish(log.append([f"{word} {number}".encode() for number in range(start, start + count)], source=b""))
    return log


class Quiet(SimpleHTTPRequestHandler):
    """Static files, and no word about each request."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Says nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which the folder's files stand."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def fsck(folder: Path) -> tuple[bool, str]:
    """Whether tessera's fsck passes the log, and what it said. Only its own line counts; a hang is no pass."""
    with served(folder) as address:
        command = [str(golang.program()), "fsck", address, LOG.verifier.vkey()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return PASS in done.stderr and done.returncode == 0, done.stderr


@pytest.mark.parametrize("batches", [(1,), (255, 1), (256, 44), (100, 412, 300)], ids=str)
def test_another_program_rebuilds_our_log_from_its_files(tmp_path: Path, batches: tuple[int, ...]) -> None:
    """Tessera's fsck computes the signed root from the bundles, whatever the batches were."""
    for count in batches:
        append(tmp_path, count).close()
    passed, said = fsck(tmp_path)
    assert passed, said
    assert f"size {sum(batches)} " in said


def flip(path: Path, at: int) -> None:
    """Alters one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def lie(folder: Path) -> None:
    """The log signs the root of other entries."""
    text = Checkpoint(LOG.verifier.name, 300, b"r" * 32).text()
    (folder / CHECKPOINT_FILE).write_bytes(sign_note(text, [LOG], at=0).encode())


DAMAGES: Final[dict[str, Callable[[Path], None]]] = {
    "an entry is altered": lambda folder: flip(folder / "tile/entries/001.p/44", 5),
    "a hash of the tree is altered": lambda folder: flip(folder / "tile/0/000", 40),
    "the partial tile's hash is altered": lambda folder: flip(folder / "tile/0/001.p/44", 40),
    "an upper tile is altered": lambda folder: flip(folder / "tile/1/000.p/1", 3),
    "a bundle is withheld": lambda folder: (folder / "tile/entries/000").unlink(),
    "the checkpoint's signature is altered": lambda folder: flip(folder / CHECKPOINT_FILE, -10),
    "the checkpoint signs another root": lie,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log that passes."""
    folder = tmp_path_factory.mktemp("whole")
    append(folder, 300).close()
    passed, said = fsck(folder)
    assert passed, said
    return folder


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_log_does_not_pass(whole: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """Whatever file of a published log is altered or gone, another program does not pass the log."""
    folder = tmp_path / "log"
    shutil.copytree(whole, folder)
    damage(folder)
    passed, said = fsck(folder)
    assert not passed
    assert said


def skey(signer: Ed25519Signer | Mldsa44Signer, seed: bytes) -> str:
    """A signing key in the form in which Go programs take it."""
    key = signer.verifier
    return f"PRIVATE+KEY+{key.name}+{key.key_id.hex()}+{base64.b64encode(bytes((key.kind,)) + seed).decode()}"


@contextmanager
def witness(key: str) -> Iterator[str]:
    """The address of a witness of transparency-dev's with this signing key, which knows our log."""
    command = [str(golang.program()), "witness", key, LOG.verifier.vkey()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(run.stdout.readline())}/add-checkpoint"
        finally:
            run.stdin.close()
            run.wait(timeout=20)


def send(address: str, request: Request) -> tuple[int, bytes]:
    """Status and body of what the witness answers."""
    try:
        with urllib.request.urlopen(address, request.encode(), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


SEED: Final = b"w" * 32
COSIGNERS: Final[list[Ed25519Signer | Mldsa44Signer]] = [
    Ed25519Signer(WITNESS, SEED, kind=COSIGNATURE_ED25519),
    Mldsa44Signer(WITNESS, SEED),
]


@pytest.mark.parametrize("signer", COSIGNERS, ids=["Ed25519", "ML-DSA-44"])
def test_a_witness_of_others_cosigns_a_log_that_grows_and_refuses_a_fork(
    tmp_path: Path, signer: Ed25519Signer | Mldsa44Signer
) -> None:
    """Two checkpoints that continue are cosigned, so that our side believes it; a fork of the log is not."""
    with witness(skey(signer, SEED)) as address:
        size = 0
        for count in (3, 297):
            log = append(tmp_path / "honest", count)
            proof = tree.consistency(size, log.state.size, log.nodes()) if size else []
            note, size = log.renew(), log.state.size
            log.close()
            status, body = send(address, Request(size - count, tuple(proof), note))
            assert status == 200
            cosigned, held = cosignatures(note, body, [signer.verifier])
            assert held
            seen = verify_note(cosigned, [LOG.verifier, signer.verifier])
            assert [one.name for one in seen] == [LOG.verifier.name, WITNESS]
        fork = append(tmp_path / "fork", 400, word="other")
        lie = Request(size, tuple(tree.consistency(size, 400, fork.nodes())), fork.renew())
        same = sign_note(Checkpoint(LOG.verifier.name, size, b"r" * 32).text(), [LOG], at=0)
        fork.close()
        for request in (lie, Request(size, (), same)):
            status, body = send(address, request)
            assert status in (409, 422)
            assert not cosignatures(request.note, body, [signer.verifier])[1]


def test_a_witness_of_others_does_not_know_who_is_not_the_log() -> None:
    """A checkpoint that another key signed in the log's name is not cosigned."""
    thief: list[NoteSigner] = [Ed25519Signer(LOG.verifier.name, b"t" * 32)]
    note = sign_note(Checkpoint(LOG.verifier.name, 3, b"r" * 32).text(), thief, at=0)
    with witness(skey(COSIGNERS[0], SEED)) as address:
        status, body = send(address, Request(0, (), note))
    assert status >= 400
    assert not cosignatures(note, body, [COSIGNERS[0].verifier])[1]
