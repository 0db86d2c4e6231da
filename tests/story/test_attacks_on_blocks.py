"""A sender that seals something else than it says: keys that do not fit, blocks that open twice, what no schema has.

Each envelope is well formed and signed by a real member, so the broker, who opens nothing, accepts it; its reader finds
it out, names the check, and takes the next message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from adapters.inbox_file import State
from broker import merkle
from broker.authority.model import Held
from broker.checks import Check
from broker.dispatch import Accepted
from broker.names import AgencyId, Basis, Compartment, Millis, Role
from broker.seal.envelope import leaves
from broker.seal.parts import Part, PartKind, root
from broker.seal.seal import Draft, Keyed, Sealed, sign
from broker.seal.slot import read_slot
from tests.story import forge
from tests.story.small_exchange import CWC, HOME, OTHER, RESCUE, World, alert, world

Change = Callable[[World, Draft], bytes]


def play(folder: Path, story: Callable[[World], Awaitable[None]]) -> None:
    """Plays a story in a new world."""

    async def run() -> None:
        async with world(folder) as made:
            await story(made)

    asyncio.run(run())


def signed(made: World, sealed: Sealed, parts: list[Part]) -> bytes:
    """The envelope of these parts, signed by its author as if nothing were wrong."""
    tree = merkle.levels(leaves(sealed.header_bytes, parts))
    changed = replace(sealed, parts=parts, tree=tree, root=root(len(parts) + 1, tree[-1][0]))
    return sign([changed], agency=HOME, key=made.adapter(HOME).home.ring.signing)[0]


def given_to(sealed: Sealed, reader: AgencyId, kind: PartKind) -> int:
    """The place of the reader's slot, or of the only block that it lists."""
    for place, part in enumerate(sealed.parts):
        if part.kind == PartKind.SLOT and (slot := read_slot(part.body)).reader == reader:
            if kind == PartKind.SLOT:
                return place
            (block,) = slot.parts
            return block - 1
    raise AssertionError("that reader has no slot")


def spotting_alone(draft: Draft) -> Draft:
    """Two readers get the spotting of the child and nothing else."""
    for reader in (OTHER, RESCUE):
        draft = forge.with_slot(
            reader,
            lambda slot: replace(
                slot, keyed=tuple(one for one in slot.keyed if one.label.compartment is Compartment.SPOTTING)
            ),
        )(draft)
    return draft


def flipped(kind: PartKind, at: int) -> Change:
    """One byte of a part of the reader's is another, before the author signs."""

    def attack(made: World, draft: Draft) -> bytes:
        sealed = forge.seal_draft(made, HOME, spotting_alone(draft))
        place = given_to(sealed, OTHER, kind)
        body = bytearray(sealed.parts[place].body)
        body[at] ^= 1
        return signed(made, sealed, [*sealed.parts[:place], Part(kind, bytes(body)), *sealed.parts[place + 1 :]])

    return attack


def drafted(change: Callable[[Draft], Draft]) -> Change:
    """The draft is another."""
    return lambda made, draft: forge.envelope_of(made, HOME, change(draft))


def _spotting(draft: Draft) -> Any:
    return next(one for one in draft.blocks if one.compartment is Compartment.SPOTTING)


def _two_of_one(draft: Draft) -> Draft:
    """The reader gets two blocks, both labelled as the spotting of one child."""
    label = _spotting(draft)
    twin = forge.Twin(*label)
    more = replace(draft, blocks={**draft.blocks, twin: draft.blocks[label]})
    ground = {"basis": Basis.ROLE, "role": Role.AS, "ground": b"missing.alert.spotting.live"}
    return forge.with_slot(OTHER, forge.keyed_to(twin, **ground))(more)


def _role_of_another(draft: Draft) -> Draft:
    """The row says that the reader is the investigating desk by its standing role; it holds no such role."""
    label = _spotting(draft)
    held = Held(Role.IA, None, None)
    keyed = tuple(
        Keyed(label, Basis.ROLE, Role.IA, b"missing.alert.spotting.read") if one.label == label else one
        for slot in draft.readers
        if slot.reader == OTHER
        for one in slot.keyed
    )
    return forge.with_slot(OTHER, lambda slot: replace(slot, roles=(*slot.roles, held), keyed=keyed))(draft)


def _mandate_in_disguise(draft: Draft) -> Draft:
    """The mandate of the committee is bytes that are none."""
    blocks = {
        label: b"\x00" * 40 if label.compartment is Compartment.MANDATE else content
        for label, content in draft.blocks.items()
    }
    return replace(draft, blocks=blocks)


def _copied(made: World, draft: Draft) -> bytes:
    """One ciphertext stands for two: its reader gets another seed for the same bytes."""
    label = _spotting(draft)
    twin = forge.Twin(*label)
    more = replace(draft, blocks={**draft.blocks, twin: draft.blocks[label]})
    other = forge.with_slot(
        OTHER,
        lambda slot: replace(
            slot, keyed=tuple(one._replace(label=twin) if one.label == label else one for one in slot.keyed)
        ),
    )(spotting_alone(more))
    sealed = forge.seal_draft(made, HOME, other)
    first = given_to(sealed, RESCUE, PartKind.BLOCK)
    second = given_to(sealed, OTHER, PartKind.BLOCK)
    parts = list(sealed.parts)
    parts[second] = parts[first]
    return signed(made, sealed, parts)


ATTACKS: Final[list[tuple[str, AgencyId, Check, Change]]] = [
    ("a commitment is broken", OTHER, Check.COMMITMENT, flipped(PartKind.BLOCK, 0)),
    ("one ciphertext is given with two seeds", OTHER, Check.COMMITMENT, _copied),
    ("a slot is altered before it was signed", OTHER, Check.SLOT_OPEN, flipped(PartKind.SLOT, -1)),
    ("a slot's secret is altered before it was signed", OTHER, Check.SLOT_OPEN, flipped(PartKind.SLOT, 400)),
    ("two blocks have one label", OTHER, Check.LABEL_TWICE, drafted(_two_of_one)),
    ("a block is given for a role that nobody gave", OTHER, Check.ROLE, drafted(_role_of_another)),
    ("a mandate is no mandate", CWC, Check.MANDATE, drafted(_mandate_in_disguise)),
]


def test_every_attack_is_refused_by_its_reader_with_the_check(tmp_path: Path) -> None:
    """The broker accepts what it cannot open; the reader quarantines it with the number, the next message works."""

    async def story(made: World) -> None:
        for number, (sentence, reader, check, attack) in enumerate(ATTACKS):
            made.clock.at = Millis(made.clock.at + 60_000)
            draft = forge.draft_of(made, HOME, alert(), counter=1_000 + number)
            await forge.send(made, HOME, attack(made, draft), draft.header)
            (verdict,) = await made.settle()
            assert isinstance(verdict, Accepted), (sentence, verdict)
            (one,) = made.adapter(reader).home.inbox.slices_of(draft.header.event_id)
            assert one.arrival.state is State.QUARANTINED, sentence
            assert one.arrival.check == check, (sentence, one.arrival.check, one.arrival.reason)
            await made.next_works()

    play(tmp_path, story)


def _content(content: Callable[[Draft], bytes]) -> Callable[[Draft], Draft]:
    """The spotting is other bytes."""
    return lambda draft: replace(draft, blocks={**draft.blocks, _spotting(draft): content(draft)})


BROKEN: Final[list[tuple[str, Check, Change]]] = [
    ("a ciphertext is altered before it was signed", Check.BLOCK_OPEN, flipped(PartKind.BLOCK, -1)),
    ("a block is of no schema", Check.CONTENT, drafted(_content(lambda _: b"\xff\xff\xff"))),
    (
        "a block has bytes behind its end",
        Check.CONTENT,
        drafted(_content(lambda one: one.blocks[_spotting(one)] + b"\0")),
    ),
    ("a block is cut short", Check.CONTENT, drafted(_content(lambda one: one.blocks[_spotting(one)][:-1]))),
]


def test_a_block_that_does_not_open_is_shown_as_broken(tmp_path: Path) -> None:
    """The reader is told the check; the rest of the event stands, for others cannot see that block; the next works."""

    async def story(made: World) -> None:
        for number, (sentence, check, attack) in enumerate(BROKEN):
            made.clock.at = Millis(made.clock.at + 60_000)
            draft = forge.draft_of(made, HOME, alert(), counter=1_000 + number)
            await forge.send(made, HOME, attack(made, draft), draft.header)
            await made.settle()
            (one,) = made.adapter(OTHER).home.inbox.slices_of(draft.header.event_id)
            assert one.arrival.state is State.RECEIVED, sentence
            (block,) = made.adapter(OTHER).open(draft.header.event_id, post="desk", purpose="case-work")
            assert (block.check, block.fields) == (check, {}), sentence
            assert f"check {check}" in block.refused
            await made.next_works()

    play(tmp_path, story)
