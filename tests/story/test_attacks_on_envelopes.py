"""A malicious member, or somebody with its rights on the stream, against the broker: each attack ends in quarantine
with the number of the check that failed, and the next message is processed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.inbox_file import State
from broker import limits
from broker.checks import Check
from broker.clock import DAY, HOUR
from broker.dispatch import Accepted, Quarantined, hint_headers, judge
from broker.errors import Invalid
from broker.names import AgencyId, Digest, EventId, Millis
from broker.seal.envelope import Envelope, decode_envelope, encode_envelope
from broker.seal.parts import Part, PartKind, batch_message, sign_batch
from broker.seal.seal import Draft, sign
from broker.stream.protocol import Message, Position, Stored
from broker.stream.topics import EVENTS
from tests.story import forge
from tests.story.small_exchange import AUDITOR, CWC, HOME, OTHER, RESCUE, World, alert, world


def play(folder: Path, story: Callable[[World], Awaitable[None]]) -> None:
    """Plays a story in a new world."""

    async def run() -> None:
        async with world(folder) as made:
            await story(made)

    asyncio.run(run())


def _reordered(change: Callable[[list[Part]], list[Part]]) -> Callable[[World, Draft], bytes]:
    """An envelope whose parts are altered after it was signed."""

    def attack(made: World, draft: Draft) -> bytes:
        whole = decode_envelope(forge.envelope_of(made, HOME, draft))
        return encode_envelope(whole.header_bytes, whole.signed, change(list(whole.parts)))

    return attack


def _signed_parts(change: Callable[[list[Part]], list[Part]]) -> Callable[[World, Draft], bytes]:
    """An envelope whose parts are altered before its author signs."""

    def attack(made: World, draft: Draft) -> bytes:
        sealed = forge.seal_draft(made, HOME, draft)
        parts = change(list(sealed.parts))
        bare = encode_envelope(sealed.header_bytes, decode_envelope(forge.envelope_of(made, HOME, draft)).signed, parts)
        whole: Envelope = decode_envelope(bare)
        key = made.adapter(HOME).home.ring.signing
        (signed,) = sign_batch([whole.root], signer=HOME, key_id=key.id, sign=key.sign, message=batch_message)
        return encode_envelope(sealed.header_bytes, signed, parts)

    return attack


def _changed(change: forge.Change) -> Callable[[World, Draft], bytes]:
    """An envelope whose draft is altered before it is sealed and signed."""
    return lambda made, draft: forge.envelope_of(made, HOME, change(draft))


def _place(parts: list[Part], kind: PartKind) -> int:
    return next(i for i, part in enumerate(parts) if part.kind == kind)


def _swap_two_blocks(parts: list[Part]) -> list[Part]:
    one, two = [i for i, part in enumerate(parts) if part.kind == PartKind.BLOCK][:2]
    parts[one], parts[two] = parts[two], parts[one]
    return parts


def _remove_block(parts: list[Part]) -> list[Part]:
    parts[_place(parts, PartKind.BLOCK)] = Part(PartKind.PADDING, bytes(32))
    return parts


def _add_block(parts: list[Part]) -> list[Part]:
    parts[_place(parts, PartKind.PADDING)] = Part(PartKind.BLOCK, bytes(300))
    return parts


def _without(kind: PartKind) -> Callable[[list[Part]], list[Part]]:
    def change(parts: list[Part]) -> list[Part]:
        parts[_place(parts, kind)] = Part(PartKind.PADDING, bytes(32))
        return parts

    return change


def _two_slots(parts: list[Part]) -> list[Part]:
    parts[_place(parts, PartKind.PADDING)] = parts[_place(parts, PartKind.SLOT)]
    return parts


def _wrong_header(made: World, draft: Draft) -> bytes:
    whole = decode_envelope(forge.envelope_of(made, HOME, draft))
    header = whole.header._replace(urgency="Past").encode()
    return encode_envelope(header, whole.signed, list(whole.parts))


def _forged_path(made: World, draft: Draft) -> bytes:
    two = [forge.seal_draft(made, HOME, draft) for _ in range(2)]
    first, _ = sign(two, agency=HOME, key=made.adapter(HOME).home.ring.signing)
    whole = decode_envelope(first)
    return encode_envelope(whole.header_bytes, whole.signed._replace(path=[bytes(32)]), list(whole.parts))


def _foreign_signature(made: World, draft: Draft) -> bytes:
    sealed = forge.seal_draft(made, HOME, draft)
    return sign([sealed], agency=HOME, key=made.adapter(OTHER).home.ring.signing)[0]


def _not_minimal(made: World, draft: Draft) -> bytes:
    value = forge.envelope_of(made, HOME, draft)
    assert value[5:6] == b"\x02", "suite 1 as an Avro int"
    return value[:5] + b"\x82\x00" + value[6:]


def _trailing(made: World, draft: Draft) -> bytes:
    return forge.envelope_of(made, HOME, draft) + b"\x00"


def _unknown_magic(made: World, draft: Draft) -> bytes:
    return b"\x01" + forge.envelope_of(made, HOME, draft)[1:]


def _at(draft: Draft, moved: int) -> dict[str, Any]:
    """Header fields of the same event sealed at another time."""
    at = Millis(draft.header.sealed_at + moved)
    return {
        "sealed_at": at,
        "act_at": at,
        "event_id": EventId(at.to_bytes(6, "big") + draft.header.event_id[6:]),
    }


ATTACKS: Final[list[tuple[str, Check, Callable[[World, Draft], bytes]]]] = [
    ("two blocks are swapped", Check.SIGNATURE, _reordered(_swap_two_blocks)),
    ("a part is removed", Check.SIGNATURE, _reordered(_remove_block)),
    ("a part is added", Check.SIGNATURE, _reordered(_add_block)),
    ("a part is left out", Check.TREE, _reordered(lambda parts: parts[:-1])),
    ("the header is changed", Check.SIGNATURE, _wrong_header),
    ("the path of the batch signature is forged", Check.SIGNATURE, _forged_path),
    ("another agency signs in its name", Check.SIGNING_KEY, _foreign_signature),
    ("an Avro number is not in its shortest form", Check.CANONICAL, _not_minimal),
    ("bytes follow the envelope", Check.WIRE, _trailing),
    ("the magic byte is unknown", Check.WIRE, _unknown_magic),
    (
        "the header has more references than it may",
        Check.SIZE,
        _changed(forge.with_header(references=tuple(bytes([n]) * 16 for n in range(limits.REFERENCES + 1)))),
    ),
    ("the suite is unknown", Check.SUITE, _changed(forge.with_header(suite=2))),
    ("the type is unknown", Check.TYPE, _changed(forge.with_header(type="missing.person"))),
    ("the variant is unknown", Check.TYPE, _changed(forge.with_header(variant="teenager"))),
    ("the schema is of another type", Check.TYPE, _changed(forge.with_header(schema_id=101))),
    ("a bundle is cited that was never in force", Check.BUNDLE, _changed(forge.with_header(bundle=Digest(bytes(32))))),
    ("the agency is unknown", Check.PUBLISHER, _changed(forge.with_header(agency=AgencyId("in.xx.nobody")))),
    ("the ledger is left out", Check.PARTS, _signed_parts(_without(PartKind.LEDGER))),
    ("a reader has two slots", Check.PARTS, _signed_parts(_two_slots)),
    (
        "the auditor has no slot",
        Check.PARTS,
        _changed(lambda draft: replace(draft, readers=[one for one in draft.readers if one.reader != AUDITOR])),
    ),
    (
        "the author has no slot",
        Check.PARTS,
        _changed(lambda draft: replace(draft, readers=[one for one in draft.readers if one.reader != HOME])),
    ),
    (
        "a reader other than author and auditor gets the ledger",
        Check.SLOT_FORM,
        _changed(forge.with_slot(OTHER, lambda slot: replace(slot, ledger=True))),
    ),
    (
        "the auditor's slot lacks the ledger",
        Check.SLOT_FORM,
        _changed(forge.with_slot(AUDITOR, lambda slot: replace(slot, ledger=False))),
    ),
    (
        "one block is keyed to a reader twice",
        Check.SLOT_FORM,
        _changed(forge.with_slot(OTHER, lambda slot: replace(slot, keyed=slot.keyed + slot.keyed[:1]))),
    ),
    (
        "a slot is for an agency that is not enrolled",
        Check.SLOT_FORM,
        _changed(forge.with_slot(OTHER, lambda slot: replace(slot, reader=AgencyId("in.xx.nobody")))),
    ),
    (
        "a slot names the prekey of another reader",
        Check.PREKEY,
        lambda made, draft: forge.envelope_of(
            made,
            HOME,
            forge.with_slot(
                OTHER,
                lambda slot: replace(slot, prekey=next(one.prekey for one in draft.readers if one.reader == CWC)),
            )(draft),
        ),
    ),
    (
        "it was held back for eight days",
        Check.TIME,
        lambda made, draft: forge.envelope_of(made, HOME, forge.with_header(**_at(draft, -8 * DAY))(draft)),
    ),
    (
        "it comes from the future",
        Check.TIME,
        lambda made, draft: forge.envelope_of(made, HOME, forge.with_header(**_at(draft, HOUR))(draft)),
    ),
    (
        "the event id carries another time than the header",
        Check.TIME,
        lambda made, draft: forge.envelope_of(
            made, HOME, forge.with_header(event_id=EventId(bytes(6) + draft.header.event_id[6:]))(draft)
        ),
    ),
]


def test_every_attack_on_an_envelope_ends_in_quarantine_with_its_check(tmp_path: Path) -> None:
    """The broker names the check, delivers nothing of it, and goes on with the next message."""

    async def story(made: World) -> None:
        made.clock.at = Millis(made.clock.at + 9 * DAY)
        for sentence, check, attack in ATTACKS:
            made.clock.at = Millis(made.clock.at + 60_000)
            draft = forge.draft_of(made, HOME, alert())
            value = attack(made, draft)
            before = len(made.received(OTHER))
            await forge.send(made, HOME, value, draft.header)
            (verdict,) = await made.settle()
            assert isinstance(verdict, Quarantined), sentence
            assert verdict.check == check, (sentence, verdict)
            assert len(made.received(OTHER)) == before, sentence
            await made.next_works()

    play(tmp_path, story)


def test_the_author_and_the_named_readers_are_told_once(tmp_path: Path) -> None:
    """A refused envelope gives one signed notice to its author and to each reader whose slot is proved by it."""

    async def story(made: World) -> None:
        draft = forge.draft_of(made, HOME, alert())
        value = forge.envelope_of(
            made, HOME, replace(draft, readers=[one for one in draft.readers if one.reader != AUDITOR])
        )
        await forge.send(made, HOME, value, draft.header)
        await made.settle()
        await made.settle()
        for agency in (HOME, OTHER, CWC, RESCUE):
            assert made.quarantined(agency) == [Check.PARTS], agency
            (one,) = made.received(agency, State.QUARANTINED)
            assert "author or an auditor" in one.arrival.reason

    play(tmp_path, story)


def test_an_envelope_under_another_case_is_refused_by_its_hints(tmp_path: Path) -> None:
    """The key on the stream is a hint; where it contradicts the signed header, the envelope is refused."""

    async def story(made: World) -> None:
        draft = forge.draft_of(made, HOME, alert())
        await forge.send(made, HOME, forge.envelope_of(made, HOME, draft), draft.header, key=bytes(16))
        (verdict,) = await made.settle()
        assert isinstance(verdict, Quarantined)
        assert verdict.check == Check.HINTS
        await made.next_works()

    play(tmp_path, story)


@pytest.mark.parametrize("name", ["ce_id", "ce_source", "ce_type", "ce_time", "ce_dataschema", "traceparent"])
def test_hints_that_contradict_the_signed_header_are_refused(tmp_path: Path, name: str) -> None:
    """Check 15 names the header; whoever carries a message may put itself into its trace, and nothing else."""

    async def story(made: World) -> None:
        draft = forge.draft_of(made, HOME, alert())
        headers = [(one, b"another" if one == name else value) for one, value in hint_headers(draft.header)]
        assert name in dict(headers)
        value = forge.envelope_of(made, HOME, draft)
        await made.adapter(HOME).stream.publish([Message(EVENTS, draft.header.case_ref, value, tuple(headers))])
        (verdict,) = await made.settle()
        if name == "traceparent":
            assert isinstance(verdict, Accepted)
        else:
            assert isinstance(verdict, Quarantined)
            assert (verdict.check, name in verdict.reason) == (Check.HINTS, True)
        await made.next_works()

    play(tmp_path, story)


def test_an_envelope_that_is_cut_or_altered_anywhere_is_refused(tmp_path: Path) -> None:
    """Cut at every byte boundary, or with a byte of any region flipped, an envelope is refused, and never in another way."""

    async def story(made: World) -> None:
        draft = forge.draft_of(made, HOME, alert())
        value = forge.envelope_of(made, HOME, draft)

        def refused(data: bytes) -> bool:
            stored = Stored(Message(EVENTS, draft.header.case_ref, data), 0, 0, made.clock.now())
            verdict = judge(
                stored, topic_id=made.broker.topic_id, ground=made.broker.ground, verified=made.broker.verified
            )
            return isinstance(verdict, Quarantined)

        assert not refused(value)
        assert all(refused(value[:end]) for end in range(len(value)))
        for at in [*range(700), *range(700, len(value), 97)]:
            altered = bytearray(value)
            altered[at] ^= 0x40
            assert refused(bytes(altered)), at

    play(tmp_path, story)


def test_an_envelope_that_is_replayed_reaches_each_inbox_once(tmp_path: Path) -> None:
    """The same bytes on the stream again are accepted at a later place, and dropped where they arrive."""

    async def story(made: World) -> None:
        published = made.publish(HOME, alert())
        await made.settle()
        kept = made.adapter(HOME).home.outbox.get(published.event_id)
        for sender in (HOME, OTHER):
            message = Message(EVENTS, kept.draft.case, kept.draft.envelope, kept.draft.headers)
            await made.adapter(sender).stream.publish([message])
        verdicts = await made.settle()
        assert len(verdicts) == 2
        assert all(isinstance(one, Accepted) for one in verdicts)
        for agency in (HOME, OTHER, CWC, RESCUE):
            assert [one.arrival.root for one in made.received(agency)] == [published.root]
            assert made.quarantined(agency) == []

    play(tmp_path, story)


def test_an_envelope_that_is_dropped_shows_as_a_gap_at_its_readers(tmp_path: Path) -> None:
    """A counter that never comes is an incident with the next message; the message itself is valid."""

    async def story(made: World) -> None:
        for _ in range(2):
            made.publish(HOME, alert())
        outbox = made.adapter(HOME).home.outbox
        dropped, sent = outbox.pending(2)
        outbox.mark_sent([(dropped.id, Position(EVENTS, 0, 0))])
        await made.settle()
        assert [one.arrival.root for one in made.received(OTHER)] == [sent.draft.root]
        ((publisher, _, missing),) = made.adapter(OTHER).home.inbox.casebook.gaps()
        assert (publisher, missing) == (HOME, 1)

    play(tmp_path, story)


def test_an_envelope_over_the_limit_is_refused_at_the_door() -> None:
    """Its size is looked at before anything in it is."""
    with pytest.raises(Invalid) as caught:
        decode_envelope(bytes(limits.ENVELOPE_BYTES + 1))
    assert caught.value.check == Check.SIZE


@pytest.mark.parametrize("size", [0, 1, 4, 5, 6])
def test_a_value_of_a_few_bytes_is_refused(size: int) -> None:
    """Nothing so short is an envelope, and nothing so short stops the broker."""
    with pytest.raises(Invalid):
        decode_envelope(bytes(size))
