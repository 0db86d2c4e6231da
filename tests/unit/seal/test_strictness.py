"""What a recipient looks at again although a broker has looked at it, and forms that nobody writes."""

from __future__ import annotations

import pytest

from broker.checks import Check
from broker.errors import Invalid
from broker.names import Digest
from broker.seal.acceptance import Acceptance, Statement
from broker.seal.cut import cut
from broker.seal.envelope import decode_envelope, decode_slice, encode_slice
from broker.seal.header import SUITE
from broker.seal.notice import Notice, decode_notice
from broker.seal.open import receive_slice
from broker.seal.parts import Part, PartKind, acceptance_message, sign_batch
from broker.seal.slot import read_slot
from tests.bench.ours import BROKER, Bench


def slices(made: Bench, envelope: bytes) -> bytes:
    """The last reader's slice, from a broker that checks nothing."""
    whole = decode_envelope(envelope)
    slots = {
        read_slot(part.body).reader: (index, read_slot(part.body))
        for index, part in enumerate(whole.parts, 1)
        if part.kind == PartKind.SLOT
    }
    key = made.keys[BROKER]
    statement = Statement(bytes(16), 0, 0, made.now, Digest(bytes(32)), whole.root)
    (signed,) = sign_batch(
        [statement.encode()], signer=BROKER, key_id=key.id, sign=key.sign, message=acceptance_message
    )
    return dict(cut(whole, slots, Acceptance(statement, BROKER, signed).encode()))[made.last]


def receive(made: Bench, data: bytes) -> None:
    """Verifies it as its reader."""
    receive_slice(data, recipient=made.last, secrets=made.opening, ground=made.ground, verified=made.verified)


def test_a_slot_of_another_day_is_refused_by_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check 13 does not rest on the broker: a slot secret is of the day of sealing."""
    made = Bench(1, batch=1)
    receive(made, slices(made, made.seal()[0]))
    with monkeypatch.context() as sealing:
        sealing.setattr("broker.seal.seal.day_of", lambda at: 1)
        (envelope,) = made.seal()
    with pytest.raises(Invalid) as caught:
        receive(made, slices(made, envelope))
    assert caught.value.check == Check.PREKEY


def test_a_hash_in_a_slice_has_the_size_of_one() -> None:
    """Check 3: a part that stands for another is 32 bytes."""
    made = Bench(1, batch=1)
    got = decode_slice(slices(made, made.seal()[0]))
    parts = {**got.parts, 1: Part(PartKind.HASH, bytes(31))}
    data = encode_slice(
        got.header_bytes, got.signed.encode(), got.size, sorted(parts.items()), got.proof, got.acceptance
    )
    with pytest.raises(Invalid) as caught:
        decode_slice(data)
    assert caught.value.check == Check.CANONICAL


def test_a_notice_of_another_suite_is_not_read() -> None:
    """Check 4, before its signature is looked at."""
    made = Bench(1)
    empty = Notice(
        suite=2, root=None, digest=Digest(bytes(32)), event_id=None, case_ref=None, agency=BROKER, instance=None,
        incarnation=0, sequence=-1, check=2, reason="why", partition=0, offset=0, at=made.now, broker=BROKER,
        key_id=made.keys[BROKER].id,
    )  # fmt: skip
    with pytest.raises(Invalid) as caught:
        decode_notice(empty.signed(made.keys[BROKER].sign), ground=made.ground)
    assert caught.value.check == Check.SUITE
    good = empty._replace(suite=SUITE).signed(made.keys[BROKER].sign)
    assert decode_notice(good, ground=made.ground).reason == "why"
