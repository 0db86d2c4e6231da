"""Writing: an idempotent producer, with a bound on bytes and a deadline round everything it does.

The client library's producer keeps trying for as long as it lives. So one that failed, or did not finish in time, is
given up with all it holds; the callers publish again, byte for byte, through a new one. The outbox has kept it all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka

from broker.names import Millis
from broker.stream.kafka.connection import Connection, client_options, failures
from broker.stream.protocol import Message

PUBLISH_SECONDS: Final = 30.0
"""One ``publish`` in all: long enough for another node to take over."""
GIVE_UP_SECONDS: Final = 3.0
IN_FLIGHT_BYTES: Final = 32 * 1024 * 1024
"""Messages of all concurrent calls that are not acknowledged yet; further calls wait."""
BATCH_BYTES: Final = 256 * 1024
"""One batch of a partition is under way at a time, so its size is what the round trip is divided by."""
REQUEST_BYTES: Final = 1_048_576
LINGER_MS: Final = 0
"""A lone urgent message waits for no other. Under load batches fill while the one before is under way."""


class Row(NamedTuple):
    """A message with its place: the topic as the cluster knows it, and the partition."""

    physical: str
    partition: int
    message: Message


@dataclass(slots=True)
class Writer:
    """Publishes for one principal."""

    connection: Connection
    seconds: float = PUBLISH_SECONDS
    _producer: Any = None
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _free: int = IN_FLIGHT_BYTES
    _freed: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: set[asyncio.Task[None]] = field(default_factory=set)

    async def publish(self, rows: Sequence[Row], now: Millis) -> list[int]:
        """The offsets of the messages, in the order given.

        Args:
            now: the sender's time of them; a topic that is set up as it should be puts the stream's in its place.

        Raises:
            Refused: the cluster's access lists do not allow one of the topics.
            InputError: the cluster does not take one that is so large.
            StreamError: not known to be stored.
        """
        size = min(sum(len(row.message.value) for row in rows), IN_FLIGHT_BYTES)
        with failures(f"did not acknowledge within {self.seconds:g} s"):
            async with asyncio.timeout(self.seconds) as limit:
                await self._take(size)
                try:
                    return await self._publish(rows, now, limit)
                finally:
                    self._give(size)

    async def close(self) -> None:
        """Ends the producer; what nobody waits for any more is given up."""
        if self._producer is not None:
            self._give_up(self._producer)
        if self._ending:
            await asyncio.wait(self._ending)

    async def _publish(self, rows: Sequence[Row], now: Millis, limit: asyncio.Timeout) -> list[int]:
        producer = await self._started()
        try:
            futures = [await self._send(producer, row, now) for row in rows]
            return [one.offset for one in await asyncio.gather(*futures)]
        except kafka.TopicAuthorizationFailedError:
            raise  # says nothing of the producer
        except (kafka.KafkaError, OSError):
            self._give_up(producer)
            raise
        except asyncio.CancelledError:
            # A caller that goes away takes nothing from the others; the deadline says that the producer is stuck.
            if limit.expired():
                self._give_up(producer)
            raise

    async def _send(self, producer: Any, row: Row, now: Millis) -> Any:
        message = row.message
        future = await producer.send(
            row.physical,
            key=message.key or None,
            value=message.value,
            partition=row.partition,
            timestamp_ms=int(now),
            headers=list(message.headers),
        )
        # Whoever waits for it may be gone when it fails.
        future.add_done_callback(lambda done: None if done.cancelled() else done.exception())
        return future

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                connection = self.connection
                connection.renew()
                producer = AIOKafkaProducer(
                    **client_options(connection.settings, connection.identity),
                    client_id=connection.identity.name,
                    acks="all",
                    enable_idempotence=True,
                    max_batch_size=BATCH_BYTES,
                    max_request_size=REQUEST_BYTES,
                    linger_ms=LINGER_MS,
                    compression_type=None,
                )
                try:
                    await producer.start()
                except BaseException:
                    self._give_up(producer)
                    raise
                self._producer = producer
            self.connection.renew()
            return self._producer

    def _give_up(self, producer: Any) -> None:
        """Lets go of a producer without waiting for what it holds; everyone who waits for it is told."""
        if self._producer is producer:
            self._producer = None
        if producer._closed:
            return
        producer._closed = True
        # The library has no public way to stop sending without success (its ``stop`` flushes, for ever).
        producer._message_accumulator.fail_all(kafka.KafkaConnectionError("given up"))
        task = asyncio.get_running_loop().create_task(_ended(producer))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _take(self, size: int) -> None:
        while self._free < size:
            self._freed.clear()
            await self._freed.wait()
        self._free -= size

    def _give(self, size: int) -> None:
        self._free += size
        self._freed.set()


async def _ended(producer: Any) -> None:
    sender = producer._sender.sender_task
    if sender is not None:
        sender.cancel()
        await asyncio.wait([sender], timeout=GIVE_UP_SECONDS)
    with suppress(asyncio.TimeoutError, OSError, kafka.KafkaError):
        await asyncio.wait_for(producer.client.close(), GIVE_UP_SECONDS)
