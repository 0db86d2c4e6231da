"""What a stream is: the contract that every driver keeps (``docs/spec/stream.md``).

Leaves the names of topics and the rights in them to ``topics``, and de-duplication to outbox and inbox.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from broker.names import Millis

Headers = tuple[tuple[str, bytes], ...]
"""Names and values in the order of the sender; hints only, the signed header counts."""

READ_BYTES: Final = 4 * 1024 * 1024
"""What one read returns at most, unless its first message alone is larger."""

BEGINNING: Final = 0
"""The offset of the first message of every partition."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is published. ``key`` decides the partition: the case reference, so that a case keeps its order."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()


class Position(NamedTuple):
    """Where a message stands: the ``offset``-th (from 0) of this partition of this topic."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it stands in the stream. ``appended_at`` is the stream's clock, not the sender's."""

    message: Message
    partition: int
    offset: int
    appended_at: Millis

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.message.topic, self.partition, self.offset)


class Stream(Protocol):
    """A handle on a stream, opened for one principal and bound to that principal's rights.

    **Durable when.** ``publish`` returns only after all its messages would survive the loss of power (on
    Kafka: of any minority of the in-sync replicas). What was not returned may or may not be stored.

    **Ordered how.** Within a partition, by offset: ascending from 0, without holes in the embedded driver;
    a reader must accept holes. Messages of one ``publish`` with one key keep their order. Between
    partitions there is no order: a reader sees cases interleaved in any way. A message can be read only
    after all before it in its partition can be.

    **Whose duty is retry.** The caller's. A driver may repeat an attempt within its deadline, but after a
    ``StreamError`` the caller publishes all messages of the call again, byte for byte; any of them may then
    stand in the stream twice. Delivery is at least once; the ends de-duplicate by envelope root.

    **Positions.** The reader keeps them, best in the transaction that stores what was read; ``commit`` is
    for readers that have no store of their own. A position is the offset to read NEXT.

    **Concurrency.** Any number of handles, in any number of processes, may read and write at once. One
    handle serves one event loop; its methods may be awaited concurrently, and two concurrent calls of
    ``publish`` have no order between them. Cancelling ``publish`` does not call its messages back.

    **Rights.** A call outside the rights of the principal (``topics.RIGHTS``) raises ``Refused`` and does
    nothing. There is no way to change or delete a message.
    """

    async def publish(self, messages: Sequence[Message]) -> list[Position]:
        """Append the messages; their positions, in the order given.

        Raises:
            Refused: the principal may not write one of the topics; none was stored.
            InputError: a message is over its limit or not well formed; none was stored.
            StreamError: not known to be stored; publish all of them again.
        """

    async def read(
        self,
        topic: str,
        positions: Mapping[int, int],
        *,
        partitions: Collection[int] | None = None,
        limit_bytes: int = READ_BYTES,
        wait: float = 0.0,
    ) -> list[Stored]:
        """What stands at these positions and after, each partition in its order; all of it is read when none is left.

        Args:
            positions: partition -> offset to read next; a partition that is not named starts at 0.
            partitions: which to read; None for all.
            limit_bytes: of keys, values and headers together; the first message is given whatever its size.
            wait: seconds to wait for a message when there is none; the answer is then possibly empty.

        Raises:
            Refused: the principal may not read the topic.
            StreamError: out of reach; read again from the same positions. Or a position that the stream does not have:
                the stream was replaced or restored, or what stood there is kept no longer.
        """

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has, numbered from 0; the number never changes.

        Raises:
            Refused: the principal may neither write nor read the topic.
            StreamError: there is no such topic, or the stream is out of reach.
        """

    async def topic_id(self, topic: str) -> bytes:
        """The 16 bytes that tell this topic from any other of the same name, as an acceptance names it.

        Raises:
            Refused: the principal may neither write nor read the topic.
            StreamError: there is no such topic, or the stream is out of reach.
        """

    async def ends(self, topic: str) -> dict[int, int]:
        """Partition -> the offset that its next message will have; less a position, it is the reader's lag.

        Raises:
            Refused: the principal may not read the topic.
            StreamError: out of reach.
        """

    async def commit(self, topic: str, positions: Mapping[int, int]) -> None:
        """Keep these positions under the name of the principal; durable on return.

        Raises:
            Refused: the principal may not read the topic.
            InputError: a partition is not of the topic or a position beyond its end.
            StreamError: not known to be kept; commit again.
        """

    async def committed(self, topic: str) -> dict[int, int]:
        """The positions last committed under the name of the principal; 0 where none was.

        Raises:
            Refused: the principal may not read the topic.
            StreamError: out of reach.
        """

    async def share(self, topic: str) -> frozenset[int]:
        """The partitions that this handle is to read, of all handles of its principal that share the topic.

        The first call joins in; from then on the answer may change with every call, and ``commit`` refuses a
        partition that went to another handle. A handle that is alone, or on a driver for one reader, has them all.

        Raises:
            Refused: the principal may not read the topic.
            StreamError: out of reach, or the handles do not agree in time.
        """

    async def close(self) -> None:
        """Let go of files and connections; calls under way are finished first. Twice is allowed."""
