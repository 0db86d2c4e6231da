"""Record batches as Kafka stores them (format v2), turned into messages. One that is badly made stops nothing.

The library decodes what is well made. What it cannot, such as a header whose name is not UTF-8, any member may have
written: those batches are read again here, with strange names made readable, and the ends refuse what is in them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.errors import KafkaError
from aiokafka.record.memory_records import MemoryRecords

from broker.errors import StreamError
from broker.names import Millis
from broker.stream.protocol import Message, Stored

_PREFIX: Final = struct.Struct(">qi")  # base offset, length of what follows
_COUNT: Final = struct.Struct(">i")
_HEADER_BYTES: Final = 61
_LOG_APPEND_TIME: Final = 1

Field = tuple[int, int, bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


class Decoded(NamedTuple):
    """Messages, and the offset to go on from, which may lie beyond them: markers of transactions are no messages."""

    stored: list[Stored]
    following: int


def decode(
    data: bytes,
    *,
    topic: str,
    partition: int,
    start: int,
    aborted: Sequence[tuple[int, int]] = (),
    unsafe_sender_time: bool = False,
) -> Decoded:
    """The messages from ``start`` on in what a fetch gave.

    Args:
        aborted: (producer, first offset) of transactions that were called back; what they wrote is no message.
        unsafe_sender_time: take times that senders set.

    Raises:
        StreamError: damaged, packed, or with times that senders set.
    """
    stored: list[Stored] = []
    following, at, gone = start, 0, set[int]()
    waiting = sorted(aborted, key=lambda one: one[1])
    while at + _HEADER_BYTES <= len(data):
        _, length = _PREFIX.unpack_from(data, at)
        raw = data[at : at + _PREFIX.size + length]
        if len(raw) < _PREFIX.size + length:
            break  # the rest of a batch comes with the next fetch
        at += len(raw)
        batch: Any = MemoryRecords(raw).next_batch()
        _require_sound(batch, topic, unsafe_sender_time=unsafe_sender_time)
        while waiting and waiting[0][1] <= batch.base_offset:
            gone.add(waiting.pop(0)[0])
        if batch.is_control_batch:
            gone.discard(batch.producer_id)
        elif not (batch.is_transactional and batch.producer_id in gone):
            stored += (
                _stored(topic, partition, field) for field in _fields(batch, raw) if field[0] >= max(start, following)
            )
        following = max(following, batch.next_offset)
    return Decoded(stored, following)


def _require_sound(batch: Any, topic: str, *, unsafe_sender_time: bool) -> None:
    if batch.magic != 2 or not batch.validate_crc():
        raise StreamError(f"a batch of {topic} arrived damaged; read again", topic=topic)
    if batch.compression_type:
        raise StreamError(f"{topic} holds packed batches: its compression.type must be uncompressed", topic=topic)
    if batch.timestamp_type != _LOG_APPEND_TIME and not unsafe_sender_time:
        raise StreamError(
            f"{topic} takes times from senders: its message.timestamp.type must be LogAppendTime", topic=topic
        )


def _fields(batch: Any, raw: bytes) -> list[Field]:
    try:
        return [(one.offset, one.timestamp, one.key, one.value, one.headers) for one in batch]
    except (KafkaError, ValueError, IndexError, TypeError):
        return list(_by_hand(batch, raw))


def _stored(topic: str, partition: int, field: Field) -> Stored:
    offset, timestamp, key, value, headers = field
    message = Message(topic, key or b"", value or b"", tuple((name, given or b"") for name, given in headers))
    return Stored(message, partition, offset, Millis(timestamp))


def _by_hand(batch: Any, raw: bytes) -> Iterator[Field]:
    """Each record by its stated length; what of it cannot be read is left out, and its offset is kept."""
    reader = _Reader(raw, _HEADER_BYTES)
    (count,) = _COUNT.unpack_from(raw, _HEADER_BYTES - _COUNT.size)
    for number in range(count):
        length = reader.number()
        end = reader.at + length
        try:
            yield _record(batch, reader)
        except (ValueError, IndexError):
            yield batch.base_offset + number, batch.max_timestamp, None, None, ()
        reader.at = end


def _record(batch: Any, reader: _Reader) -> Field:
    reader.at += 1  # attributes, none in use
    time, offset = reader.number(), reader.number()
    timestamp = batch.max_timestamp if batch.timestamp_type == _LOG_APPEND_TIME else batch.first_timestamp + time
    key, value = reader.bytes(), reader.bytes()
    count = reader.number()
    headers = [((reader.bytes() or b"").decode("utf-8", "backslashreplace"), reader.bytes()) for _ in range(count)]
    return batch.base_offset + offset, timestamp, key, value, headers


class _Reader:
    """Zigzag varints and what they measure (Kafka's protocol guide, "Message sets")."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
            if shift > 63:
                raise ValueError("a number does not end")

    def bytes(self) -> bytes | None:
        length = self.number()
        if length < 0:
            return None
        found = self.data[self.at : self.at + length]
        if len(found) != length:
            raise ValueError("cut off")
        self.at += length
        return found
