"""The ``Stream`` on a Kafka cluster. Rights are Kafka's: each principal has a certificate, access lists say the rest.

The handle checks them too, so that a mistake is told at once and in our words; a check here protects nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Self

from broker.clock import Clock
from broker.errors import InputError, StreamError
from broker.stream import checks, topics
from broker.stream.kafka.connection import Connection, Topic
from broker.stream.kafka.reader import Reader
from broker.stream.kafka.settings import Settings
from broker.stream.kafka.sharing import Membership
from broker.stream.kafka.writer import PUBLISH_SECONDS, Row, Writer
from broker.stream.protocol import READ_BYTES, Message, Position, Stored

READERS: Final = 2
"""Of each topic, so many readers are kept between calls; concurrent calls beyond that have their own."""


class KafkaStream:
    """A ``Stream`` on Kafka. Offsets may have holes; what is stored of a failed ``publish`` is any part of it."""

    def __init__(self, connection: Connection, *, clock: Clock, seconds: float) -> None:
        """Use ``open``."""
        self._connection, self._clock = connection, clock
        self._writer = Writer(connection, seconds)
        self._idle: dict[str, list[Reader]] = {}
        self._lanes = 0
        self._memberships: dict[str, Membership] = {}
        self._calls: set[object] = set()
        self._done = asyncio.Event()
        self._closed = False

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        principal: topics.Principal,
        clock: Clock,
        publish_seconds: float = PUBLISH_SECONDS,
    ) -> Self:
        """A handle for this principal.

        Args:
            clock: the sender's time of what is published; the cluster puts its own in its place.
            publish_seconds: how long a ``publish`` may take before it is given up.

        Raises:
            ConfigError: there is no certificate for this principal here, or it cannot be used.
            StreamError: the cluster is out of reach, or does not let the certificate in.
        """
        return cls(await Connection.open(settings, principal), clock=clock, seconds=publish_seconds)

    async def publish(self, messages: Sequence[Message]) -> list[Position]:
        """See ``Stream.publish``."""
        with self._call():
            rows: list[Row] = []
            for message in messages:
                topics.require_write(self._principal, message.topic)
                checks.require_within_limits(message)
            for message in messages:
                topic = await self._connection.topic(message.topic, seconds=self._writer.seconds)
                rows.append(Row(topic.physical, topics.partition_of(message.key, topic.partitions), message))
            if not rows:
                return []
            offsets = await self._writer.publish(rows, self._clock.now())
            return [
                Position(row.message.topic, row.partition, offset) for row, offset in zip(rows, offsets, strict=True)
            ]

    async def read(
        self,
        topic: str,
        positions: Mapping[int, int],
        *,
        partitions: Collection[int] | None = None,
        limit_bytes: int = READ_BYTES,
        wait: float = 0.0,
    ) -> list[Stored]:
        """See ``Stream.read``."""
        with self._call():
            found = await self._readable(topic)
            wanted = checks.partitions(found.partitions, found.leaders if partitions is None else partitions)
            start = checks.positions(found.partitions, positions)
            reader = self._reader(topic)
            try:
                return await reader.read(start, wanted, limit_bytes, wait)
            finally:
                await self._keep(reader)

    async def partitions(self, topic: str) -> int:
        """See ``Stream.partitions``."""
        with self._call():
            return (await self._known(topic)).partitions

    async def topic_id(self, topic: str) -> bytes:
        """See ``Stream.topic_id``."""
        with self._call():
            return (await self._known(topic)).topic_id

    async def ends(self, topic: str) -> dict[int, int]:
        """See ``Stream.ends``."""
        with self._call():
            await self._readable(topic)
            return await self._connection.ends(topic)

    async def commit(self, topic: str, positions: Mapping[int, int]) -> None:
        """See ``Stream.commit``."""
        with self._call():
            found = await self._readable(topic)
            kept = checks.positions(found.partitions, positions)
            if not kept:
                return
            ends = await self._connection.ends(topic)
            if any(offset > ends[partition] for partition, offset in kept.items()):
                raise InputError("a position beyond the end of its partition", field="positions")
            membership = self._memberships.get(topic)
            if membership is not None:
                await membership.commit(kept)
            else:
                await self._connection.commit(topic, kept)

    async def committed(self, topic: str) -> dict[int, int]:
        """See ``Stream.committed``."""
        with self._call():
            await self._readable(topic)
            return await self._connection.committed(topic)

    async def share(self, topic: str) -> frozenset[int]:
        """See ``Stream.share``."""
        with self._call():
            found = await self._readable(topic)
            if topic not in self._memberships:
                self._memberships[topic] = await Membership.join(self._connection, found)
            return await self._memberships[topic].partitions()

    async def close(self) -> None:
        """See ``Stream.close``."""
        if self._closed:
            return
        self._closed = True
        while self._calls:
            self._done.clear()
            await self._done.wait()
        for membership in self._memberships.values():
            await membership.leave()
        for readers in self._idle.values():
            for reader in readers:
                await reader.close()
        await self._writer.close()
        await self._connection.close()

    @property
    def _principal(self) -> topics.Principal:
        return self._connection.principal

    @contextmanager
    def _call(self) -> Iterator[None]:
        if self._closed:
            raise StreamError("this handle on the stream was closed; open another")
        token = object()
        self._calls.add(token)
        try:
            yield
        finally:
            self._calls.discard(token)
            self._done.set()

    async def _readable(self, name: str) -> Topic:
        topics.require_read(self._principal, name)
        return await self._connection.topic(name)

    async def _known(self, name: str) -> Topic:
        topics.require_known(self._principal, name)
        return await self._connection.topic(name)

    def _reader(self, topic: str) -> Reader:
        idle = self._idle.get(topic)
        if idle:
            return idle.pop()
        self._lanes += 1
        return Reader(self._connection, topic, f"wait-{self._lanes}")

    async def _keep(self, reader: Reader) -> None:
        idle = self._idle.setdefault(reader.topic, [])
        if len(idle) < READERS:
            idle.append(reader)
        else:
            await reader.close()
