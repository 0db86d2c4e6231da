"""The broker's loop: read, dispatch, commit; after a failed write it starts again from the committed position."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from broker.audit.record import Chain
from broker.dispatch import Accepted, Broker, Quarantined
from broker.errors import StreamError
from broker.pipeline import dispatch
from broker.stream.protocol import Stored
from broker.stream.topics import EVENTS

BATCH: Final = 64
Verdicts = Sequence[Accepted | Quarantined]


async def pass_once(broker: Broker, *, wait: float = 0.0, seen: Callable[[Verdicts], None] = lambda _: None) -> int:
    """Dispatches what stands in this process's part of the events topic; how many envelopes.

    Args:
        wait: seconds to wait for the first one.
        seen: called with the verdicts of each batch when they are durable.

    Raises:
        StreamError: what was not committed is dispatched again at the next call.
    """
    stream, count = broker.stream, 0
    mine = await stream.share(EVENTS)
    positions = await stream.committed(EVENTS)
    while read := await stream.read(EVENTS, positions, partitions=mine, wait=wait if not count else 0.0):
        for partition, one in groupby(
            sorted(read, key=lambda stored: stored.partition), lambda stored: stored.partition
        ):
            batch = list(one)
            for start in range(0, len(batch), BATCH):
                part = batch[start : start + BATCH]
                seen(await _dispatched(broker, part))
                positions[partition] = part[-1].offset + 1
                await stream.commit(EVENTS, {partition: positions[partition]})
        count += len(read)
        if await stream.share(EVENTS) != mine:
            break  # what others have done in the meantime is not known here
    return count


async def _dispatched(broker: Broker, batch: Sequence[Stored]) -> Verdicts:
    try:
        return await dispatch(broker, batch)
    except StreamError:
        # Whether the records stand in the stream is not known: going on after them could leave a gap in the chain,
        # writing them again could fork it. A new life does neither.
        broker.chain = Chain(broker.agency, broker.random.bytes(8), broker.clock.now())
        raise


async def run(broker: Broker, stop: asyncio.Event, *, seen: Callable[[Verdicts], None] = lambda _: None) -> None:
    """Dispatches until told to stop; what is under way is finished first.

    Raises:
        StreamError: the stream is out of reach; start again.
    """
    while not stop.is_set():
        await pass_once(broker, wait=0.5, seen=seen)
