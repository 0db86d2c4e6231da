"""A principal's connections to a cluster: requests with deadlines, topics, ends of partitions, a group's positions.

Leaves messages to ``reader`` and ``writer``. Every failure of the client library becomes one of ``broker.errors``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from aiokafka import errors as kafka
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.offset import OffsetRequest

from broker.errors import InputError, Refused, StreamError
from broker.stream.kafka import wire
from broker.stream.kafka.settings import Identity, Settings, group_name, kafka_name
from broker.stream.topics import Principal

REQUEST_SECONDS: Final = 10.0
"""One request; then its connection counts as broken."""
CALL_SECONDS: Final = 20.0
"""A whole call other than ``publish``, its retries included: long enough for another node to take over."""
RETRY_SECONDS: Final = 0.1
RENEWAL_SECONDS: Final = 30.0
"""Between two looks at the certificate's file."""

CLOSING_SECONDS: Final = 0.01
"""The library waits for its connections to end, but for the one with which it found the cluster."""

READ_COMMITTED: Final = 1
_LATEST, _EARLIEST = -1, -2
_GROUP: Final = 0
_LANE: Final = "calls"
"""Requests that never wait have a connection of their own: Kafka answers those of one connection one by one."""

_T = TypeVar("_T")

# Whoever embeds the driver decides what is logged; without a handler Python would print it.
logging.getLogger("aiokafka").addHandler(logging.NullHandler())


class NotNow(StreamError):
    """A state of the cluster that passes."""


@dataclass(slots=True)
class Topic:
    """A topic as the cluster has it; ``leaders`` is partition to node, -1 where there is none just now."""

    name: str
    physical: str
    topic_id: bytes
    leaders: dict[int, int]

    @property
    def partitions(self) -> int:
        """How many it has."""
        return len(self.leaders)


@dataclass(slots=True)
class Connection:
    """Connections of one principal. ``open`` it, ``close`` it."""

    settings: Settings
    principal: Principal
    identity: Identity
    client: Any
    _topics: dict[str, Topic] = field(default_factory=dict)
    _looked: float = 0.0

    @classmethod
    async def open(cls, settings: Settings, principal: Principal) -> Self:
        """Connects.

        Raises:
            ConfigError: the certificate cannot be used.
            StreamError: no node answers, or none lets this certificate in.
        """
        identity = Identity.load(settings, kafka_name(principal))
        client = AIOKafkaClient(client_id=identity.name, **client_options(settings, identity))
        made = cls(settings, principal, identity, client)
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
            await asyncio.wait_for(self.client.close(), REQUEST_SECONDS)
        await asyncio.sleep(CLOSING_SECONDS)

    def renew(self) -> None:
        """Takes up a renewed certificate; looks no more often than every ``RENEWAL_SECONDS``."""
        now = asyncio.get_running_loop().time()
        if now - self._looked >= RENEWAL_SECONDS:
            self._looked = now
            self.identity.renew()

    async def send(self, node: int, request: Any, lane: str = _LANE) -> Any:
        """One request to one node on the connection ``lane``; raises what the client library raises."""
        self.renew()
        return await self.client.send(node, request, group=lane)

    async def insist(self, work: Callable[[], Awaitable[_T]], *, seconds: float = CALL_SECONDS) -> _T:
        """Does the work again, with fresh metadata, while what it raises may pass.

        Raises:
            Refused: the cluster's access lists do not allow it.
            StreamError: not within the time, or for a reason that stays.
        """
        with failures("did not answer in time"):
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return await work()
                    except (TimeoutError, kafka.KafkaError, OSError, NotNow) as error:
                        if not _may_pass(error):
                            raise
                    self._topics.clear()
                    await asyncio.sleep(RETRY_SECONDS)
                    with suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(self.client.force_metadata_update(), REQUEST_SECONDS)

    async def topic(self, name: str, *, seconds: float = CALL_SECONDS) -> Topic:
        """The topic of this name.

        Raises:
            StreamError: the cluster has none, or does not let this principal know of it.
        """
        found = self._topics.get(name)
        return found if found is not None else await self.insist(lambda: self._described(name), seconds=seconds)

    async def current(self, name: str) -> Topic:
        """The topic of this name, for use within ``insist``: raises what the client library raises."""
        return self._topics.get(name) or await self._described(name)

    async def ends(self, name: str, *, first: bool = False) -> dict[int, int]:
        """Partition to the offset of its next message; of its first one that is kept, where so asked."""

        async def ask() -> dict[int, int]:
            topic = await self.current(name)
            found: dict[int, int] = {}
            for node, partitions in by_leader(topic, topic.leaders).items():
                wanted = [(partition, _EARLIEST if first else _LATEST) for partition in partitions]
                answer = await self.send(node, OffsetRequest(-1, READ_COMMITTED, [(topic.physical, wanted)]))
                for _, parts in answer.topics:
                    for partition, code, _, offset in parts:
                        require_ok(code)
                        found[partition] = offset
            return found

        return await self.insist(ask)

    async def commit(self, name: str, positions: Mapping[int, int]) -> None:
        """Keeps positions of this principal; only while no process shares the topic (``sharing``)."""

        async def ask() -> None:
            topic = await self.current(name)
            parts = [(partition, offset, "") for partition, offset in positions.items()]
            request = OffsetCommitRequest(self._group, -1, "", -1, [(topic.physical, parts)])
            answer = await self.send(await self._coordinator(), request)
            for _, partitions in answer.topics:
                for _, code in partitions:
                    require_ok(code)

        await self.insist(ask)

    async def committed(self, name: str) -> dict[int, int]:
        """The positions kept for this principal; 0 where there is none."""

        async def ask() -> dict[int, int]:
            topic = await self.current(name)
            request = OffsetFetchRequest(self._group, [(topic.physical, list(topic.leaders))])
            answer = await self.send(await self._coordinator(), request)
            require_ok(answer.error_code)
            found = dict.fromkeys(topic.leaders, 0)
            for _, partitions in answer.topics:
                for partition, offset, _, code in partitions:
                    require_ok(code)
                    found[partition] = max(0, offset)
            return found

        return await self.insist(ask)

    @property
    def _group(self) -> str:
        return self.settings.physical(group_name(self.principal))

    async def _coordinator(self) -> int:
        answer = await self.send(self._any_node(), FindCoordinatorRequest(self._group, _GROUP))
        require_ok(answer.error_code)
        return int(answer.coordinator_id)

    async def _described(self, name: str) -> Topic:
        physical = self.settings.physical(name)
        answer = await self.send(self._any_node(), wire.describe(physical))
        ((code, _, topic_id, _, partitions, _, _),) = answer.topics
        error = kafka.for_code(code)
        if error in (kafka.UnknownTopicOrPartitionError, kafka.TopicAuthorizationFailedError):
            # Whoever may not know of a topic is told no more than that.
            raise StreamError(
                f"the stream has no topic {name}; its operator enrols the agency first", kafka=error.__name__
            )
        require_ok(code)
        leaders = {partition: leader for _, partition, leader, *_ in partitions}
        found = self._topics[name] = Topic(name, physical, topic_id, dict(sorted(leaders.items())))
        return found

    def _any_node(self) -> int:
        node = self.client.get_random_node()
        if node is None:
            raise NotNow("the Kafka cluster has no node that answers; try again")
        return int(node)


def client_options(settings: Settings, identity: Identity) -> dict[str, Any]:
    """What every client of the library is given."""
    return {
        "bootstrap_servers": list(settings.bootstrap),
        "security_protocol": "SSL",
        "ssl_context": identity.context,
        "request_timeout_ms": int(REQUEST_SECONDS * 1_000),
        "metadata_max_age_ms": 60_000,
        "retry_backoff_ms": int(RETRY_SECONDS * 1_000),
    }


def by_leader(topic: Topic, partitions: Mapping[int, Any]) -> dict[int, list[int]]:
    """Node to the partitions that it leads, in the order given.

    Raises:
        NotNow: one has none just now.
    """
    found: dict[int, list[int]] = {}
    for partition in partitions:
        leader = topic.leaders[partition]
        if leader < 0:
            raise NotNow("a partition has no node that leads it just now; try again")
        found.setdefault(leader, []).append(partition)
    return found


def require_ok(code: int) -> None:
    """Raises what a code of Kafka's means, unless it means success."""
    error = kafka.for_code(code)
    if error is not kafka.NoError:
        raise error


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Turns what the client library raises within into ours."""
    try:
        yield
    except (kafka.TopicAuthorizationFailedError, kafka.GroupAuthorizationFailedError) as error:
        raise Refused("the cluster's access lists do not allow it; ask its operator", kafka=_named(error)) from error
    except kafka.ClusterAuthorizationFailedError as error:
        raise Refused("the cluster's access lists do not allow it; ask its operator", kafka=_named(error)) from error
    except kafka.MessageSizeTooLargeError as error:
        raise InputError("a message is larger than the cluster takes", field="value") from error
    except (TimeoutError, kafka.KafkaError, OSError) as error:
        raise StreamError(f"the Kafka cluster {what}; try again", kafka=_named(error)) from error


def _may_pass(error: BaseException) -> bool:
    return (
        not isinstance(error, kafka.KafkaError)
        or bool(getattr(error, "retriable", False))
        or isinstance(error, _PASSING)
    )


_PASSING: Final = (
    kafka.NotLeaderForPartitionError,
    kafka.GroupCoordinatorNotAvailableError,
    kafka.GroupLoadInProgressError,
    kafka.NotCoordinatorForGroupError,
    kafka.KafkaConnectionError,
)


def _named(error: BaseException) -> str:
    return type(error).__name__
