"""Record batches, well made and not: what Kafka may hold is read to its end."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from broker.errors import StreamError
from broker.stream.kafka.records import decode
from broker.stream.protocol import Message, Stored
from broker.stream.topics import EVENTS

LOG_APPEND_TIME = 0x08
NAME = b"a-name-that-is-altered"


def batch(
    *values: bytes | None, offset: int = 0, attributes: int = LOG_APPEND_TIME, producer: int = -1, codec: int = 0
) -> bytearray:
    """A batch as a node stores it."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=producer, producer_epoch=0, base_sequence=0,
        batch_size=1 << 20,
    )  # fmt: skip
    for number, value in enumerate(values):
        builder.append(number, timestamp=1_000 + number, key=b"k", value=value, headers=[(NAME.decode(), b"h")])
    data = bytearray(builder.build())
    data[0:8] = offset.to_bytes(8, "big")
    data[21:23] = (int.from_bytes(data[21:23], "big") | attributes).to_bytes(2, "big")
    return sealed(data)


def sealed(data: bytearray) -> bytearray:
    """The batch with the checksum of what it holds now, as a client that does mischief makes it."""
    data[17:21] = calc_crc32c(bytes(data[21:])).to_bytes(4, "big")
    return data


def read(data: bytes | bytearray, *, start: int = 0, **more: object) -> tuple[list[Stored], int]:
    """What a reader makes of it."""
    found = decode(bytes(data), topic=EVENTS, partition=3, start=start, **more)  # type: ignore[arg-type]
    return found.stored, found.following


def test_a_batch_is_read_from_the_position_on() -> None:
    """What stands before the position in the same batch is left out; offsets and times are the node's."""
    stored, following = read(batch(b"0", b"1", b"2", offset=40) + batch(b"3", offset=43), start=41)
    assert [(one.offset, one.message.value) for one in stored] == [(41, b"1"), (42, b"2"), (43, b"3")]
    assert {one.appended_at for one in stored[:2]} == {1_002}
    assert stored[0].message == Message(EVENTS, b"k", b"1", ((NAME.decode(), b"h"),))
    assert following == 44


def test_a_batch_that_is_cut_off_is_read_next_time() -> None:
    """A fetch may end within a batch; what is whole is read, the rest from where it begins."""
    whole, more = batch(b"0"), batch(b"1", offset=1)
    for end in range(len(whole), len(whole) + len(more)):
        stored, following = read((whole + more)[:end])
        assert (len(stored), following) == (1, 1)


def test_a_record_without_a_value_is_an_empty_message() -> None:
    """What other topics use to delete is a message like any other here: refused by its readers, deleting nothing."""
    stored, _ = read(batch(b"0", None, b"2"))
    assert [one.message.value for one in stored] == [b"0", b"", b"2"]


def test_a_header_name_that_is_not_text_stops_nothing() -> None:
    """Any member can write one; the message is read with the name made readable, and so is what follows."""
    data = batch(b"0", b"1", b"2")
    at = data.index(NAME, data.index(NAME) + 1)
    data[at] = 0xFF
    stored, following = read(sealed(data) + batch(b"3", offset=3))
    assert [one.message.value for one in stored] == [b"0", b"1", b"2", b"3"]
    assert [one.offset for one in stored] == [0, 1, 2, 3]
    assert stored[1].message.headers[0][0].startswith("\\xff")
    assert following == 4


def test_a_record_that_lies_about_its_parts_stops_nothing() -> None:
    """One that cannot be read is an empty message in its place; those beside it are whole."""
    data = batch(b"0", b"1" * 40, b"2")
    at = data.index(b"1" * 40)
    data[at - 1] = 0x7F  # the length of the value: beyond the record
    stored, _ = read(sealed(data))
    assert [(one.offset, one.message.value) for one in stored] == [(0, b"0"), (1, b""), (2, b"2")]


def test_markers_of_transactions_are_stepped_over() -> None:
    """A control batch gives no message, and the reader goes on after it."""
    stored, following = read(batch(b"x", offset=5, attributes=LOG_APPEND_TIME | 0x30), start=5)
    assert (stored, following) == ([], 6)


def test_what_was_called_back_is_no_message() -> None:
    """Messages of a transaction that was aborted are left out, those of others are not."""
    data = batch(b"gone", attributes=LOG_APPEND_TIME | 0x10, producer=7)
    data += batch(b"kept", offset=1, attributes=LOG_APPEND_TIME | 0x10, producer=8)
    stored, following = read(data, aborted=[(7, 0)])
    assert ([one.message.value for one in stored], following) == ([b"kept"], 2)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(batch(b"0")[:-1] + b"x", "damaged", id="a byte altered on the way"),
        pytest.param(batch(b"0" * 99, codec=1), "packed", id="a packed batch, which could grow without bound"),
        pytest.param(batch(b"0", attributes=0), "times from senders", id="a time that the sender set"),
    ],
)
def test_what_the_topic_should_not_hold_is_not_read(data: bytes, says: str) -> None:
    """A topic that is not set up as declared, or bytes that were altered on the way, are an error and not a message."""
    with pytest.raises(StreamError, match=says):
        read(data)


def test_a_played_case_takes_the_time_of_its_senders() -> None:
    """With the setting that says so, and only with it."""
    stored, _ = read(batch(b"0", b"1", attributes=0), unsafe_sender_time=True)
    assert [one.appended_at for one in stored] == [1_000, 1_001]
