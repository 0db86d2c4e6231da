"""What an adapter does by itself: keys that nothing needs any more go, and every opening gets its record."""

from __future__ import annotations

import asyncio
from pathlib import Path

from adapters.adapter import Adapter
from adapters.inbox_file import Opening
from adapters.upkeep import ending, read_past, sweep, told
from broker.clock import DAY
from broker.keys.files import PREKEY_GRACE, PREKEY_HARD_MAXIMUM, PREKEY_LIFE
from broker.names import Compartment, Millis
from broker.service.loop import pass_once
from tests.story.small_exchange import HOME, OTHER, START, World, alert, world

GRACE_OVER = PREKEY_LIFE + PREKEY_GRACE + DAY
"""After the start: when the first prekey may go, if all is read."""
MANY = 60
"""Cases of which, as good as surely, each partition has some."""


async def _months_later(made: World, days: int) -> Adapter:
    """Everybody has rotated in time; the adapter of a desk, so much later."""
    for after in (20 * DAY, 50 * DAY, 90 * DAY):
        made.clock.at = Millis(START + after)
        made.exchange.rotate_prekeys()
    made.clock.at = Millis(START + days)
    return made.adapter(OTHER)


def test_a_prekey_goes_when_everything_sealed_to_it_has_been_read(tmp_path: Path) -> None:
    """After the grace it stays until something newer of every partition has come and all of that is read."""

    async def story() -> None:
        async with world(tmp_path) as made:
            (first,) = made.adapter(OTHER).home.ring.prekeys
            made.publish(HOME, alert())
            await made.settle()
            adapter = await _months_later(made, GRACE_OVER)
            assert await read_past(adapter) == []
            made.adapter(HOME).publisher.publish([alert()] * MANY)
            await made.adapter(HOME).send()
            assert await read_past(adapter) == [], "the broker may have more"
            await made.settle()
            assert await read_past(adapter) == [first.id]
            swept = await sweep(adapter)
            assert (swept.prekeys, swept.unread) == ((first.id,), ())
            assert first.id not in {prekey.id for prekey in adapter.home.ring.prekeys}
            assert told(swept) == ["keys: 1 prekeys and 0 signing keys were due, and are destroyed"]
            await made.next_works()

    asyncio.run(story())


def test_a_prekey_stays_while_something_is_unread(tmp_path: Path) -> None:
    """What stands in the agency's topic and was not taken in may need it."""

    async def story() -> None:
        async with world(tmp_path) as made:
            adapter = await _months_later(made, GRACE_OVER)
            for _ in range(2):
                made.adapter(HOME).publisher.publish([alert()] * MANY)
                await made.settle()
            assert len(await read_past(adapter)) == 1
            made.adapter(HOME).publisher.publish([alert()])
            await made.adapter(HOME).send()
            made.broker.ground = made.adapter(HOME).ground
            await pass_once(made.broker)
            assert await read_past(adapter) == []
            await made.settle()
            assert len(await read_past(adapter)) == 1

    asyncio.run(story())


def test_at_its_last_date_a_prekey_goes_in_any_case(tmp_path: Path) -> None:
    """Ninety days after its end it is destroyed whether or not all was read, and the operator is told."""

    async def story() -> None:
        async with world(tmp_path) as made:
            (first,) = made.adapter(OTHER).home.ring.prekeys
            adapter = await _months_later(made, PREKEY_LIFE + PREKEY_HARD_MAXIMUM + DAY)
            swept = await sweep(adapter)
            assert swept.unread == swept.prekeys == (first.id,)
            assert told(swept)[1].startswith(f"prekey {first.id.hex()} was destroyed at its last date")

    asyncio.run(story())


def test_secrets_of_a_destroyed_prekey_are_forgotten(tmp_path: Path) -> None:
    """What was opened under it and is still in memory goes with it: the same slot does not open again."""

    async def story() -> None:
        async with world(tmp_path) as made:
            made.publish(HOME, alert())
            await made.settle()
            secrets = made.adapter(OTHER).receiver.secrets
            assert len(secrets._opened) == 1
            secrets.retain([prekey.id for prekey in made.adapter(OTHER).home.ring.prekeys])
            assert len(secrets._opened) == 1
            adapter = made.adapter(OTHER)
            made.clock.at = Millis(START + PREKEY_LIFE + PREKEY_HARD_MAXIMUM + DAY)
            await sweep(adapter)
            assert not secrets._opened

    asyncio.run(story())


def test_an_operator_is_told_in_time_to_rotate(tmp_path: Path) -> None:
    """Keys that end soon are named with the command that makes new ones; fresh keys are not."""

    async def story() -> None:
        async with world(tmp_path) as made:
            adapter = made.adapter(OTHER)
            assert ending(adapter) == []
            made.clock.at = Millis(START + PREKEY_LIFE - 14 * DAY)
            (line,) = ending(adapter)
            assert line.startswith("the newest prekey ends 2026-03-")
            assert "casebridge keys rotate, " in line

    asyncio.run(story())


def test_every_opening_gets_its_record_however_many_there_are(tmp_path: Path) -> None:
    """Sending leaves no opening without a signed record."""

    async def story() -> None:
        async with world(tmp_path) as made:
            published = made.publish(HOME, alert())
            await made.settle()
            inbox = made.adapter(OTHER).home.inbox
            one = Opening(published.event_id, Compartment.SPOTTING, None, "duty-officer", "case-work", made.clock.at)
            inbox.opening([one] * 1_001)
            await made.adapter(OTHER).send()
            assert not inbox.unreceipted()
            assert not inbox.unsent_receipts()

    asyncio.run(story())
