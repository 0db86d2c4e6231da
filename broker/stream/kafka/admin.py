"""Setting up a cluster: the topics and access lists of a plan, made where they are missing.

It works under the principal ``admin``, which the cluster's settings name, and never changes or removes what is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateTopicsRequest, DeleteTopicsRequest

from broker.errors import StreamError
from broker.stream.kafka import wire
from broker.stream.kafka.connection import CALL_SECONDS, CLOSING_SECONDS, client_options, failures
from broker.stream.kafka.plan import Grant, TopicPlan
from broker.stream.kafka.settings import ADMIN, Identity, Settings

_TOPIC, _GROUP = 2, 3
_LITERAL, _PREFIXED = 3, 4
_READ, _WRITE = 3, 4
_ALLOW: Final = 3
_ANY_HOST: Final = "*"
_BATCH: Final = 200
_LOOK_SECONDS: Final = 0.01
Entry = tuple[int, str, int, str, str, int, int]
"""An access list entry as ``wire.create_acls`` writes it."""
_SENDER_TIME: Final = {
    "message.timestamp.type": "CreateTime",
    "message.timestamp.after.max.ms": str(2**63 - 1),
    "retention.ms": "-1",  # played time may lie long ago
}


@dataclass(slots=True)
class Admin:
    """A connection of the principal ``admin``. ``open`` it, ``close`` it."""

    settings: Settings
    client: Any

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Connects.

        Raises:
            ConfigError: the certificate of ``admin`` is not here.
            StreamError: the cluster is out of reach.
        """
        identity = Identity.load(settings, ADMIN)
        client = AIOKafkaClient(client_id=ADMIN, **client_options(settings, identity))
        made = cls(settings, client)
        try:
            with failures("cannot be reached"):
                await asyncio.wait_for(client.bootstrap(), CALL_SECONDS)
        except BaseException:
            await made.close()
            raise
        return made

    async def close(self) -> None:
        """Let go."""
        with suppress(asyncio.TimeoutError, OSError, kafka.KafkaError):
            await asyncio.wait_for(self.client.close(), CALL_SECONDS)
        await asyncio.sleep(CLOSING_SECONDS)

    async def make_topics(self, planned: Sequence[TopicPlan]) -> list[str]:
        """Makes the topics that are missing; their names. One that is there stays as it is.

        Raises:
            StreamError: the cluster refused one.
        """
        extra = _SENDER_TIME if self.settings.unsafe_sender_time else {}
        wanted: list[Any] = [
            (self.settings.physical(one.name), one.partitions, one.replicas, [], list({**one.config, **extra}.items()))
            for one in planned
        ]
        request = CreateTopicsRequest(wanted, int(CALL_SECONDS * 1_000), False)
        made = []
        answer = await self.ask(request)
        for (name, code, *_), one in zip(sorted(answer.topic_errors), sorted(planned), strict=True):
            error = kafka.for_code(code)
            if error is kafka.NoError:
                made.append(one.name)
            elif error is not kafka.TopicAlreadyExistsError:
                raise StreamError(f"the Kafka cluster did not make the topic {name}", kafka=error.__name__)
        await self._until(lambda node: self._has_topics(node, planned))
        return made

    async def give_rights(self, grants: Sequence[Grant]) -> None:
        """Adds the access list entries; one that is there stays.

        Raises:
            StreamError: the cluster refused one.
        """
        entries = [self.entry(grant) for grant in grants]
        for start in range(0, len(entries), _BATCH):
            answer = await self.ask(wire.create_acls(entries[start : start + _BATCH]))
            for code, _ in answer.creation_responses:
                error = kafka.for_code(code)
                if error is not kafka.NoError:
                    raise StreamError("the Kafka cluster did not take an access list", kafka=error.__name__)
        await self._until(lambda node: self._has_rights(node, set(entries)))

    async def _has_rights(self, node: int, entries: set[Entry]) -> bool:
        answer = await self.ask(wire.describe_acls(), node)
        found = {(kind, name, pattern, *one) for kind, name, pattern, acls in answer.resources for one in acls}
        return entries <= found

    async def _has_topics(self, node: int, planned: Sequence[TopicPlan]) -> bool:
        for one in planned:
            answer = await self.ask(wire.describe(self.settings.physical(one.name)), node)
            if any(kafka.for_code(code) is not kafka.NoError for code, *_ in answer.topics):
                return False
        return True

    async def _until(self, there: Callable[[int], Awaitable[bool]]) -> None:
        """Each node learns of a change a moment after the cluster has accepted it."""
        with failures("did not take up the change in time"):
            async with asyncio.timeout(CALL_SECONDS):
                for broker in self.client.cluster.brokers():
                    while not await there(broker.nodeId):
                        await asyncio.sleep(_LOOK_SECONDS)

    async def unsafe_remove_topics(self, names: Collection[str]) -> None:
        """Removes topics with all that is in them: for a demo or a test that is over."""
        physical = [self.settings.physical(name) for name in names]
        await self.ask(DeleteTopicsRequest(physical, int(CALL_SECONDS * 1_000)))

    def entry(self, grant: Grant) -> Entry:
        """A right as the cluster keeps it."""
        return (
            _GROUP if grant.kind == "group" else _TOPIC,
            self.settings.physical(grant.name),
            _PREFIXED if grant.kind == "prefix" else _LITERAL,
            f"User:{grant.principal}",
            _ANY_HOST,
            _WRITE if grant.right == "write" else _READ,
            _ALLOW,
        )

    async def ask(self, request: Any, node: int | None = None) -> Any:
        """The answer of a node, of any where none is named.

        Raises:
            StreamError: the cluster is out of reach.
        """
        with failures("did not do it"):
            node = self.client.get_random_node() if node is None else node
            if node is None:
                raise StreamError("the Kafka cluster has no node that answers; try again")
            return await asyncio.wait_for(self.client.send(node, request), 2 * CALL_SECONDS)
