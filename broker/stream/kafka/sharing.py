"""Several processes of one principal divide a topic among them: a Kafka consumer group, for its membership alone.

The library's consumer keeps the membership alive; it is paused and reads nothing. Messages are read by ``reader``, and
a position is committed under the membership's generation: a process that was counted out cannot set it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka import errors as kafka
from aiokafka.structs import TopicPartition

from broker.errors import StreamError
from broker.stream.kafka.connection import CALL_SECONDS, Connection, Topic, client_options, failures
from broker.stream.kafka.settings import group_name

SESSION_MS: Final = 10_000
"""Without a sign of life for so long, a process's partitions go to the others."""
HEARTBEAT_MS: Final = 3_000
JOIN_SECONDS: Final = 30.0
LEAVE_SECONDS: Final = 5.0


class _Paused(ConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps the consumer from reading anything itself, and wakes whoever waits for partitions."""

    def __init__(self) -> None:
        self.consumer: Any = None
        self.assigned = asyncio.Event()

    def on_partitions_revoked(self, revoked: Any) -> None:
        self.assigned.clear()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.consumer.pause(*assigned)
        self.assigned.set()


@dataclass(slots=True)
class Membership:
    """One process's part in a topic. ``join`` it, ``leave`` it."""

    topic: Topic
    consumer: Any
    listener: _Paused

    @classmethod
    async def join(cls, connection: Connection, topic: Topic) -> Self:
        """Enters the group of this principal.

        Raises:
            Refused: the cluster's access lists do not allow it.
            StreamError: the cluster is out of reach.
        """
        listener = _Paused()
        consumer = AIOKafkaConsumer(
            **client_options(connection.settings, connection.identity),
            client_id=connection.identity.name,
            group_id=connection.settings.physical(group_name(connection.principal)),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            # It is paused; should it fetch before it is, then one batch.
            fetch_max_bytes=1,
            max_partition_fetch_bytes=1,
        )
        listener.consumer = consumer
        consumer.subscribe([topic.physical], listener=listener)
        try:
            with failures("did not let this process join"):
                await asyncio.wait_for(consumer.start(), JOIN_SECONDS)
        except BaseException:
            await _stopped(consumer)
            raise
        return cls(topic, consumer, listener)

    async def partitions(self) -> frozenset[int]:
        """Those that are this process's now; waits while they are being divided anew.

        Raises:
            StreamError: they are not divided in time.
        """
        try:
            await asyncio.wait_for(self.listener.assigned.wait(), JOIN_SECONDS)
        except TimeoutError:
            raise StreamError("the processes that share the topic do not agree who reads what; try again") from None
        with failures("has counted this process out"):
            # A sign that this process still works, beside that it is alive.
            await self.consumer.getmany(timeout_ms=0)
        return frozenset(one.partition for one in self.consumer.assignment())

    async def commit(self, positions: Mapping[int, int]) -> None:
        """Keeps positions, if their partitions are still this process's.

        Raises:
            StreamError: they are not, or it is not known to be kept.
        """
        offsets = {TopicPartition(self.topic.physical, one): offset for one, offset in positions.items()}
        try:
            with failures("did not keep the position"):
                await asyncio.wait_for(self.consumer.commit(offsets), CALL_SECONDS)
        except (kafka.IllegalStateError, ValueError) as error:
            raise StreamError("the partition went to another process; that one goes on with it") from error

    async def leave(self) -> None:
        """Leaves the group, so that the others take over at once."""
        await _stopped(self.consumer)


async def _stopped(consumer: Any) -> None:
    try:
        await asyncio.wait_for(consumer.stop(), LEAVE_SECONDS)
    except (TimeoutError, kafka.KafkaError, OSError):
        return
