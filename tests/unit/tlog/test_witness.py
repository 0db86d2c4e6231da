"""A witness cosigns what continues what it saw, answers everything else with its number, and forgets nothing."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from broker.clock import SetClock
from broker.errors import StoreError
from broker.merkle import EMPTY_ROOT, leaf_hash, levels
from broker.names import Millis
from broker.tlog import tree
from broker.tlog.checkpoint import Checkpoint
from broker.tlog.note import (
    COSIGNATURE_ED25519,
    Ed25519Signer,
    Mldsa44Signer,
    Note,
    NoteSigner,
    parse_note,
    sign_note,
    verify_note,
)
from broker.tlog.policy import parse_policy
from broker.tlog.witness import SIZE_TYPE, Answer, Request, Witness, cosignatures, parse_request
from tests.unit.stream.faulty import Fault, failing_connection

ORIGIN: Final = "log.example/one"
LOG: Final = Ed25519Signer(ORIGIN, bytes(32))
SIGNERS: Final[list[NoteSigner]] = [
    Ed25519Signer("witness.example/w", b"w" * 32, kind=COSIGNATURE_ED25519),
    Mldsa44Signer("witness.example/w", b"w" * 32),
]
CLOCK: Final = SetClock(Millis(1_770_000_000_000))


def leaves(size: int, word: str = "entry") -> list[bytes]:
    """Leaf hashes of a tree."""
    return [leaf_hash(f"{word} {number}".encode()) for number in range(size)]


def request(old: int, new: int, word: str = "entry", signer: Ed25519Signer = LOG) -> Request:
    """What an honest log of these entries sends."""
    hashed = leaves(new, word)
    nodes = lambda level, at: levels(hashed[at << level : (at + 1) << level])[-1][0]  # noqa: E731
    text = Checkpoint(ORIGIN, new, tree.root(new, nodes)).text()
    return Request(old, tuple(tree.consistency(old, new, nodes)), sign_note(text, [signer], at=0))


def witness(folder: Path, **more: type) -> Witness:
    """The witness of this folder."""
    return Witness.open(folder / "witness.sqlite", logs={ORIGIN: [LOG.verifier]}, signers=SIGNERS, clock=CLOCK, **more)


def test_a_log_that_grows_is_cosigned(tmp_path: Path) -> None:
    """From nothing, on, again the same, over a restart; both cosignatures hold and satisfy a policy."""
    for old, new in ((0, 0), (0, 5), (5, 5), (5, 300)):
        made = witness(tmp_path)
        sent = request(old, new)
        assert parse_request(sent.encode()) == sent
        answer = made.add_checkpoint(sent.encode())
        assert answer.status == 200, answer
        note, found = cosignatures(sent.note, answer.body, [one.verifier for one in SIGNERS])
        assert found
        assert [seen.at for seen in verify_note(note, [one.verifier for one in SIGNERS])] == [1_770_000_000] * 2
        shown = made.checkpoint(sha256(ORIGIN.encode()).hexdigest())
        assert parse_note(shown.body).lines[-2:] == note.lines[-2:]
        made.close()
    policy = parse_policy(f"log {LOG.verifier.vkey()}\nwitness w {SIGNERS[1].verifier.vkey()}\nquorum w\n".encode())
    assert policy.check(note)[0].size == 300


@pytest.mark.parametrize(
    ("sentence", "status", "send"),
    [
        ("a fork of the same size", 422, lambda: request(5, 5, "other")),
        ("a fork that is larger", 422, lambda: request(5, 9, "other")),
        ("a proof that is missing", 422, lambda: request(5, 9)._replace(proof=())),
        ("a proof for other sizes", 422, lambda: request(5, 9)._replace(proof=request(4, 9).proof)),
        ("a proof too long", 422, lambda: request(5, 5)._replace(proof=(bytes(32),))),
        ("a log that is not known", 404, lambda: Request(5, (), _other_origin())),
        ("a signature of another key", 403, lambda: request(5, 9, signer=Ed25519Signer(ORIGIN, b"x" * 32))),
        ("a signature that is broken", 403, lambda: _broken()),
        ("an old size above the new", 400, lambda: request(0, 5)._replace(old=6)),
    ],
)
def test_what_does_not_continue_is_refused(
    tmp_path: Path, sentence: str, status: int, send: Callable[[], Request]
) -> None:
    """Each refusal has the status of the protocol, says why, signs nothing and changes nothing."""
    made = witness(tmp_path)
    assert made.add_checkpoint(request(0, 5).encode()).status == 200
    answer = made.add_checkpoint(send().encode())
    assert answer.status == status, (sentence, answer)
    assert "— " not in answer.body.decode()
    assert made.add_checkpoint(request(5, 6).encode()).status == 200
    made.close()


def _other_origin() -> Note:
    text = Checkpoint("log.example/two", 0, EMPTY_ROOT).text()
    return sign_note(text, [LOG], at=0)


def _broken() -> Request:
    sent = request(5, 9)
    line = sent.note.lines[0]
    return sent._replace(note=sent.note._replace(lines=(line._replace(signature=bytes(64)),)))


def test_a_log_that_is_behind_or_ahead_is_told_the_size(tmp_path: Path) -> None:
    """409 with the size last seen, so that the log can send the right proof; 0 where nothing was seen."""
    made = witness(tmp_path)
    assert made.add_checkpoint(request(3, 5).encode()) == Answer(409, b"0\n", SIZE_TYPE)
    made.add_checkpoint(request(0, 5).encode())
    for old in (0, 4):
        assert made.add_checkpoint(request(old, 7).encode()) == Answer(409, b"5\n", SIZE_TYPE)
    assert made.checkpoint(sha256(b"another").hexdigest()).status == 404
    made.close()


@pytest.mark.parametrize(
    "body",
    [b"", b"old 0\n", b"old 00\n\n", b"new 0\n\n", b"old 0\nAAAA\n\n", b"old \xd9\xa0\n\n", b"old 0\n" + b"A" * 43 + b"=\n" * 64 + b"\n"],
)  # fmt: skip
def test_what_is_not_a_request_is_refused(tmp_path: Path, body: bytes) -> None:
    """400 and the reason."""
    made = witness(tmp_path)
    assert made.add_checkpoint(body + request(0, 5).note.encode()).status == 400
    made.close()


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
def test_nothing_is_signed_that_is_not_remembered(tmp_path: Path, fault: Fault) -> None:
    """Whichever write fails, both ways, a fork of what was cosigned is refused afterwards."""
    for at in count():
        folder = tmp_path / f"{fault.name}-{at}"
        folder.mkdir()
        failing = failing_connection(at, fault)
        signed = []
        for _ in range(3):
            try:
                made = witness(folder, factory=failing)
                answer = made.add_checkpoint(request(0, 5).encode())
                if answer.status == 200:
                    signed.append(answer)
            except StoreError:
                continue
        made = witness(folder)
        fork = made.add_checkpoint(request(0, 5, "other").encode())
        assert signed or fork.status in (200, 409)
        if signed:
            assert fork.status == 409
        made.close()
        if not vars(failing)["fired"]:
            break
    assert at > 2


def test_a_witness_cannot_speak_for_another_nor_spoil_a_note(tmp_path: Path) -> None:
    """Of an answer, only lines of the keys that were asked for and that hold are taken over."""
    made = witness(tmp_path)
    sent = request(0, 5)
    answer = made.add_checkpoint(sent.encode()).body
    assert cosignatures(sent.note, answer, [LOG.verifier]) == (sent.note, False)
    assert cosignatures(sent.note, b"no line\n", [SIGNERS[0].verifier]) == (sent.note, False)
    other = request(0, 6)
    assert cosignatures(other.note, answer, [one.verifier for one in SIGNERS]) == (other.note, False)
    made.close()
