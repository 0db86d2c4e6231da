"""A home that comes back from a backup, or is copied, while the old one went on."""

from __future__ import annotations

import shutil
from pathlib import Path

from adapters.adapter import Adapter
from adapters.exchange import KEY_FILE
from adapters.home import Home
from broker.audit.record import Kind, Record, decode_record
from broker.clock import SystemRandom
from broker.keys.vault import KeyFile
from broker.stream.topics import NOTARY, RECORDS, member
from tests.story.small_exchange import HOME, OTHER, World, alert
from tests.story.test_attacks_on_envelopes import play


async def restored(made: World, backup: Path) -> Adapter:
    """The adapter on the home that stood in the backup."""
    exchange = made.exchange
    secret = KeyFile(exchange.folder / KEY_FILE)
    home = Home.open(backup, secret=secret, clock=made.clock, random=SystemRandom())
    stream = await exchange.open_stream(member(HOME))
    return Adapter.over(home, stream, exchange.rules, made.adapter(HOME).ground)


async def records_of_home(made: World) -> list[Record]:
    """What the agency has said in records, in the order of each case."""
    stream = await made.exchange.open_stream(NOTARY)
    positions: dict[int, int] = {}
    found: list[Record] = []
    try:
        while batch := await stream.read(RECORDS, positions):
            for stored in batch:
                positions[stored.partition] = stored.offset + 1
                found.append(decode_record(stored.message.value)[0])
    finally:
        await stream.close()
    return [one for one in found if one.author == HOME]


def test_a_restored_home_begins_a_new_life_and_nobody_loses_a_message(tmp_path: Path) -> None:
    """What the old life sent after the backup stays; what the new one sends is counted anew, and each is read once."""

    async def story(made: World) -> None:
        before = made.publish(HOME, alert())
        await made.settle()
        made.adapter(HOME).open(before.event_id, post="duty-officer", purpose="case-work")
        await made.settle()
        backup = tmp_path / "backup"
        shutil.copytree(made.adapter(HOME).home.folder, backup)
        lost = made.publish(HOME, alert())
        await made.settle()

        old = made.adapter(HOME)
        new = made.exchange.adapters[HOME] = await restored(made, backup)
        await old.close()
        assert new.home.outbox.incarnation > 0
        assert new.home.outbox.instance == old.home.outbox.instance
        await new.receive()
        assert new.home.inbox.by_root(lost.root) is not None
        after = made.publish(HOME, alert())
        new.open(before.event_id, post="duty-officer", purpose="case-work")
        await made.settle()
        assert sorted(one.arrival.root for one in made.received(OTHER)) == sorted([before.root, lost.root, after.root])
        assert made.quarantined(OTHER) == []

        said = sorted(await records_of_home(made), key=lambda one: (one.incarnation, one.sequence))
        old_life = [one for one in said if not one.incarnation]
        opening, *later = said[len(old_life) :]
        assert {one.kind for one in (*old_life, *later)} == {Kind.OPENED}
        assert opening.kind is Kind.CHAIN_OPENED
        assert opening.body == new.home.inbox.next_receipt(0)[1]
        assert {one.incarnation for one in (opening, *later)} == {new.home.outbox.incarnation}
        assert [one.sequence for one in (opening, *later)] == list(range(1 + len(later)))
        assert later
        await made.next_works()

    play(tmp_path, story)
