"""An attacker's workshop: drafts of real messages, altered before they are sealed and signed with real keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from broker.dispatch import hint_headers
from broker.names import AgencyId, Digest
from broker.seal.block import Label
from broker.seal.compose import Place, compose
from broker.seal.header import Header
from broker.seal.seal import Draft, Keyed, Sealed, SlotDraft, seal, sign
from broker.stream.protocol import Message
from broker.stream.topics import BROKER, EVENTS, in_topic, member
from tests.story.small_exchange import World

Change = Callable[[Draft], Draft]


def same(draft: Draft) -> Draft:
    """No change."""
    return draft


def draft_of(made: World, author: AgencyId, record: dict[str, Any], *, counter: int = 1_000) -> Draft:
    """The draft that an honest adapter would seal, numbered outside its outbox."""
    publisher = made.adapter(author).publisher
    prepared = publisher.prepare(record)
    materials = publisher.materials(prepared)
    counters = dict.fromkeys(materials.prekeys, counter)
    place = Place(author, made.adapter(author).home.outbox.instance, 7, counter, Digest(bytes(32)), counters)
    return compose(prepared.event, prepared.plan, place, materials, random=made.exchange.random)


def seal_draft(made: World, author: AgencyId, draft: Draft) -> Sealed:
    """The draft, sealed with the author's own secrets."""
    return seal(draft, secrets=made.adapter(author).publisher.secrets, random=made.exchange.random)


def envelope_of(made: World, author: AgencyId, draft: Draft) -> bytes:
    """The draft, sealed and signed by the author."""
    sealed = seal_draft(made, author, draft)
    return sign([sealed], agency=author, key=made.adapter(author).home.ring.signing)[0]


async def send(made: World, author: AgencyId, envelope: bytes, header: Header, *, key: bytes | None = None) -> None:
    """Puts bytes on the events topic with the rights of a member."""
    stream = made.adapter(author).stream
    await stream.publish([Message(EVENTS, key or header.case_ref, envelope, hint_headers(header))])


async def deliver(made: World, reader: AgencyId, value: bytes, key: bytes) -> None:
    """Puts bytes into a reader's topic with the rights of the broker."""
    stream = await made.exchange.open_stream(BROKER)
    try:
        await stream.publish([Message(in_topic(reader), key, value)])
    finally:
        await stream.close()


async def slices_of(made: World, reader: AgencyId) -> list[bytes]:
    """The values that stand in a reader's topic."""
    stream = await made.exchange.open_stream(member(reader))
    positions: dict[int, int] = {}
    values: list[bytes] = []
    try:
        while batch := await stream.read(in_topic(reader), positions):
            for stored in batch:
                positions[stored.partition] = stored.offset + 1
                values.append(stored.message.value)
    finally:
        await stream.close()
    return values


def with_header(**changes: Any) -> Change:
    """The same draft with another header."""
    return lambda draft: replace(draft, header=draft.header._replace(**changes))


def with_slot(reader: AgencyId, change: Callable[[SlotDraft], SlotDraft]) -> Change:
    """The same draft with one slot altered."""
    return lambda draft: replace(
        draft, readers=[change(slot) if slot.reader == reader else slot for slot in draft.readers]
    )


def keyed_to(label: Label, **ground: Any) -> Callable[[SlotDraft], SlotDraft]:
    """A slot that gives one more block."""
    return lambda slot: replace(slot, keyed=(*slot.keyed, Keyed(label, **ground)))


class Twin(Label):
    """A label with the bytes of another that is not equal to it: two blocks that claim to be one."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)
