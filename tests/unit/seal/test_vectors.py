"""The golden vectors of the envelope: what was written once is read for ever, and what must fail fails as it must."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.errors import Invalid
from broker.event.codec import decode_block
from broker.keys.handles import Prekey
from broker.names import AgencyId, Millis
from broker.seal.check import Verified, check_envelope
from broker.seal.envelope import decode_envelope
from broker.seal.ledger import ledger
from broker.seal.open import receive_slice
from broker.seal.secrets import OpeningSecrets
from tests.bench.ours import AUDITOR, AUTHOR, CONTENT, SCHEMA, Open
from tests.vectors.make_envelope_vectors import FILE, bench

VECTORS: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
FAILING = VECTORS["failing"]


def _ground() -> Open:
    """The keys of the vectors; made again from the fixed stream, they must be those of the file."""
    made, _ = bench()
    assert {name: key.public.hex() for name, key in made.keys.items()} == VECTORS["signingKeys"]
    return made.ground


def _checked(data: bytes) -> None:
    """Checks 1 to 14 of an envelope."""
    envelope = decode_envelope(data)
    check_envelope(envelope, ground=_ground(), accepted_at=Millis(VECTORS["acceptedAt"]), verified=Verified())


def test_the_corpus_is_not_empty() -> None:
    """A loader that finds nothing proves nothing."""
    assert len(VECTORS["envelopes"]) == 3
    assert len(FAILING) >= 10


def test_every_envelope_has_its_root_and_passes_the_brokers_checks() -> None:
    """Three envelopes of one batch, under one signature."""
    ground = _ground()
    for value, root in zip(VECTORS["envelopes"], VECTORS["roots"], strict=True):
        envelope = decode_envelope(bytes.fromhex(value))
        assert envelope.root.hex() == root
        slots = check_envelope(envelope, ground=ground, accepted_at=Millis(VECTORS["acceptedAt"]), verified=Verified())
        assert len(slots) == 5


@pytest.mark.parametrize("reader", sorted(VECTORS["prekeySeeds"]))
def test_every_slice_opens_to_the_content_that_was_sealed(reader: str) -> None:
    """With the reader's prekey alone, every block that it was given comes out as it went in."""
    seed, far = bytes.fromhex(VECTORS["prekeySeeds"][reader]), Millis(1 << 50)
    prekey = Prekey(seed, not_before=Millis(0), not_after=far)
    secrets = OpeningSecrets(lambda _: prekey)
    for one in VECTORS["slices"]:
        got = receive_slice(
            bytes.fromhex(one[reader]),
            recipient=AgencyId(reader),
            secrets=secrets,
            ground=_ground(),
            verified=Verified(),
        )
        content = [entry for entry in got.row.entries if entry.label.compartment < 100]
        assert len(content) == (0 if reader == AUDITOR else len(CONTENT))
        for entry in content:
            fields = decode_block(SCHEMA, entry.label.compartment, got.open(entry.label))
            assert fields == CONTENT[entry.label.compartment]
        if reader in (AUTHOR, AUDITOR):
            assert len(ledger(got)) == 5


@pytest.mark.parametrize("vector", FAILING, ids=[one["description"] for one in FAILING])
def test_what_must_fail_fails_with_its_check(vector: dict[str, Any]) -> None:
    """Each failing vector is refused by exactly the check that it names."""
    with pytest.raises(Invalid) as caught:
        _checked(bytes.fromhex(vector["bytes"]))
    assert caught.value.check == vector["check"]
