"""The broker's loop: read, dispatch, commit; after a failed write it starts again from the committed position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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


async def pass_once(
    broker: Broker,
    *,
    wait: float = 0.0,
    seen: Callable[[Verdicts], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> int:
    """Dispatches what stands in this process's part of the events topic; how many envelopes.

    Args:
        wait: seconds to wait for the first one.
        seen: called with the verdicts of each batch when they are durable.
        stop: asked between batches; once it says so the pass ends, however much stands in the topic.

    Raises:
        StreamError: what was not committed is dispatched again at the next call.
    """
    stream, count = broker.stream, 0
    mine = await stream.share(EVENTS)
    positions = await stream.committed(EVENTS)
    while not stop() and (
        read := await stream.read(EVENTS, positions, partitions=mine, wait=wait if not count else 0.0)
    ):
        for part in _parts(read):
            seen(await _dispatched(broker, part))
            partition, following = part[-1].partition, part[-1].offset + 1
            positions[partition] = following
            await stream.commit(EVENTS, {partition: following})
            count += len(part)
            if stop():
                break
        if await stream.share(EVENTS) != mine:
            break  # what others have done in the meantime is not known here
    return count


def _parts(read: Sequence[Stored]) -> Iterator[list[Stored]]:
    """Batches of one partition each, in order within it."""
    for _, one in groupby(sorted(read, key=lambda stored: stored.partition), lambda stored: stored.partition):
        batch = list(one)
        for start in range(0, len(batch), BATCH):
            yield batch[start : start + BATCH]


async def _dispatched(broker: Broker, batch: Sequence[Stored]) -> Verdicts:
    try:
        return await dispatch(broker, batch)
    except StreamError:
        # Whether the records stand in the stream is not known: going on after them could leave a gap in the chain,
        # writing them again could fork it. A new life does neither.
        broker.chain = Chain(broker.agency, broker.random.bytes(8), broker.clock.now())
        raise
