"""Every limit of an envelope (``docs/spec/envelope.md`` §11): what is at the limit passes, one more is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from broker import limits
from broker.authority.model import Claim
from broker.checks import Check
from broker.errors import CasebridgeError, InputError, Invalid
from broker.names import AgencyId, Compartment, Digest, EventId, PersonRef, Phase, Role
from broker.seal.block import Label, RawSeed, pad
from broker.seal.check import check_envelope
from broker.seal.credentials import Credentials, decode_credentials
from broker.seal.envelope import decode_envelope
from broker.seal.header import decode_header
from broker.seal.parts import Signed, read_signed
from broker.seal.seal import Draft, seal, sign
from broker.seal.slot import Row, SlotContent, decode_content
from broker.seal.wire import Cursor
from tests.bench.ours import AUTHOR, Bench

ONE = Bench(1, batch=1)


def _header(**changes: Any) -> None:
    decode_header(ONE.draft().header._replace(**changes).encode())


def _references(count: int) -> None:
    _header(references=tuple(EventId(n.to_bytes(16, "big")) for n in range(count)))


def _persons(count: int) -> None:
    people = [PersonRef(n.to_bytes(16, "big")) for n in range(1, count + 1)]
    claims = tuple(Claim(one, Role.OPENER, None, Phase.NEW) for one in people)
    decode_credentials(Credentials(claims, None, 0, ()).encode())


def _chain(count: int) -> None:
    claims = (Claim(PersonRef(b"p" * 16), Role.IA, Digest(b"m" * 32), Phase.MISSING),)
    decode_credentials(Credentials(claims, None, 0, (b"link",) * count).encode())


def _roster(count: int) -> None:
    row = Row(AUTHOR, (), ()).encode()
    decode_content(SlotContent(0, RawSeed(bytes(32)), bytes(16), row, (), (), (b"link",) * count).encode())


def _batch(count: int) -> None:
    read_signed(Cursor(Signed(ONE.keys[AUTHOR].id, count, 0, (), bytes(64)).encode(), Check.WIRE))


def _bytes(count: int) -> None:
    pad(bytes(count - 4))


DECODED: dict[str, tuple[Callable[[int], None], int]] = {
    "references to other events": (_references, limits.REFERENCES),
    "characters of an agency id": (lambda n: _header(agency=AgencyId("a" * n)), limits.AGENCY_ID_CHARS),
    "characters of a type": (lambda n: _header(type="t" * n), limits.NAME_CHARS),
    "characters of a variant": (lambda n: _header(variant="v" * n), limits.NAME_CHARS),
    "characters of a post": (lambda n: _header(post="p" * n), limits.NAME_CHARS),
    "persons of an event": (_persons, limits.PERSONS),
    "mandates from the opener to the sender": (_chain, limits.CHAIN_LINKS),
    "mandates that one reader is told": (_roster, limits.LIST_ITEMS),
    "envelopes of a batch": (_batch, limits.BATCH),
    "bytes of a block, its length included": (_bytes, limits.PADDING_CLASSES[-1]),
}


@pytest.mark.parametrize("what", DECODED)
def test_at_the_limit_it_passes_and_one_over_is_refused(what: str) -> None:
    """Check 1, whoever made the bytes."""
    attempt, limit = DECODED[what]
    attempt(limit)
    with pytest.raises(Invalid) as caught:
        attempt(limit + 1)
    assert caught.value.check == Check.SIZE


def _more_blocks(draft: Draft, count: int) -> Draft:
    """The same event with mandates nobody is given, so that it has this many blocks."""
    more = {Label(Compartment.MANDATE, n % 256, PersonRef(n.to_bytes(16, "big"))): b"m" for n in range(1, count + 1)}
    blocks = dict(list({**draft.blocks, **more}.items())[:count])
    return replace(draft, blocks=blocks)


def _many_readers(count: int) -> tuple[Bench, Draft]:
    """An event for so many readers, author and auditor among them, none of whom is given a block."""
    made = Bench(count - 2, batch=1)
    draft = made.draft()
    return made, replace(draft, readers=[replace(slot, keyed=(), roles=(), aliases=()) for slot in draft.readers])


def _judge(made: Bench, draft: Draft) -> None:
    sealed = seal(draft, secrets=made.sealing, random=made.random)
    (value,) = sign([sealed], agency=AUTHOR, key=made.keys[AUTHOR])
    check_envelope(decode_envelope(value), ground=made.ground, accepted_at=made.now, verified=made.verified)


LARGE: dict[str, tuple[Callable[[int], tuple[Bench, Draft]], str]] = {
    "readers": (_many_readers, "READERS"),
    "blocks": (lambda n: (ONE, _more_blocks(ONE.draft(), n)), "BLOCKS"),
}


@pytest.mark.parametrize("what", LARGE)
def test_an_envelope_at_its_limit_is_accepted_and_one_over_is_refused_at_both_ends(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender is told to send it in parts; the broker refuses what a sender made nevertheless, with check 1."""
    draft, name = LARGE[what]
    limit = getattr(limits, name)
    _judge(*draft(limit))
    with pytest.raises(InputError, match="send it in parts"):
        _judge(*draft(limit + 1))
    made, larger = draft(limit + 1)
    with monkeypatch.context() as careless:
        careless.setattr(limits, name, limit + 1)
        sealed = seal(larger, secrets=made.sealing, random=made.random)
    (value,) = sign([sealed], agency=AUTHOR, key=made.keys[AUTHOR])
    with pytest.raises(CasebridgeError) as caught:
        check_envelope(decode_envelope(value), ground=made.ground, accepted_at=made.now, verified=made.verified)
    assert isinstance(caught.value, Invalid)
    assert caught.value.check == Check.SIZE
