"""What an adapter does each day by itself: what waits too long is refused, keys that nothing needs are destroyed."""

from __future__ import annotations

from typing import Final

from adapters.adapter import Adapter
from broker.clock import DAY, ist
from broker.errors import StreamError
from broker.keys.files import PREKEY_GRACE, Swept
from broker.keys.statements import Use
from broker.names import KeyId, Millis
from broker.stream.topics import EVENTS, in_topic

_NEWEST: Final = (
    (Use.PREKEY, "prekey", "", 15 * DAY),
    (Use.SIGNING, "signing key", " --signing", 30 * DAY),
)
"""How long before the last key of a use ends its operator is told to rotate."""


async def sweep(adapter: Adapter) -> Swept:
    """Destroys what is due, on disk and in this process, and says what went (``docs/spec/keys.md`` §2.3).

    What waits is looked at first: it may need a key.

    Raises:
        StoreError: the disk refused.
    """
    home = adapter.home
    adapter.receiver.look_again()
    swept = home.ring.destroy_expired(home.clock.now(), read_past=await read_past(adapter))
    adapter.receiver.secrets.retain([prekey.id for prekey in home.ring.prekeys])
    return swept


async def read_past(adapter: Adapter) -> list[KeyId]:
    """The prekeys under which nothing can be on its way any more; none where that cannot be known.

    The broker dispatches a partition in order. So once something of each partition has come that was accepted after a
    prekey could last be used, everything accepted under it stands in this agency's topic, and is read when that has
    been read to its end. What waits in the inbox still has its slot, and may need the prekey.
    """
    home, now = adapter.home, adapter.home.clock.now()
    old = [prekey for prekey in home.ring.prekeys if now > prekey.not_after + PREKEY_GRACE]
    if not old or home.inbox.pending(1):
        return []
    latest, topic = home.inbox.latest(), in_topic(home.agency)
    try:
        partitions = await adapter.stream.partitions(EVENTS)
        ends = await adapter.stream.ends(topic)
    except StreamError:
        return []
    positions = home.inbox.positions(topic)
    if any(positions.get(partition, 0) < end for partition, end in ends.items()):
        return []
    grace = adapter.ground.parameters(now).prekey_grace
    newest = min(latest.get(partition, Millis(0)) for partition in range(partitions))
    return [prekey.id for prekey in old if newest > prekey.not_after + grace]


def told(swept: Swept) -> list[str]:
    """What was destroyed, in words: one line, and one for each prekey that went although it may have been needed."""
    lines = [f"keys: {len(swept.prekeys)} prekeys and {len(swept.signing)} signing keys were due, and are destroyed"]
    lines += [
        f"prekey {one.hex()} was destroyed at its last date; what came late under it, if anything, stays closed"
        for one in swept.unread
    ]
    return lines


def ending(adapter: Adapter) -> list[str]:
    """Which of the newest keys end soon, and what to do: a line each."""
    now, keys, lines = adapter.home.clock.now(), adapter.home.ring.certified(), []
    for use, word, option, soon in _NEWEST:
        last = max((key.not_after for key in keys if key.use is use), default=now)
        if last < now + soon:
            lines.append(
                f"the newest {word} ends {ist(last)}; run: casebridge keys rotate{option},"
                " and give the registrar what keys show --json prints"
            )
    return lines
