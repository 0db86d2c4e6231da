"""Whatever a member writes to the events topic of a real cluster, the partition goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest

from adapters.exchange import Exchange
from broker.dispatch import Accepted, Quarantined
from broker.stream.kafka.connection import client_options, require_ok
from broker.stream.kafka.settings import Identity, Settings
from broker.stream.topics import EVENTS, OPERATOR, QUARANTINE, partition_of
from tests import streams
from tests.story.small_exchange import HOME, OTHER, alert, world
from tests.unit.stream.test_kafka_records import NAME, batch, sealed


async def write_raw(exchange: Exchange, data: bytes, partition: int) -> None:
    """Puts a batch on the events topic as it is, with the certificate of a member."""
    settings = Settings.load(exchange.folder / exchange.stream_file)
    client = AIOKafkaClient(**client_options(settings, Identity.load(settings, HOME)))
    await client.bootstrap()
    try:
        topic = settings.physical(EVENTS)
        await client.add_topic(topic)
        request = ProduceRequest(
            transactional_id=None, required_acks=-1, timeout=5_000, topics=[(topic, [(partition, data)])]
        )
        answer = await client.send(client.get_random_node(), request)
        require_ok(answer.topics[0][1][0][1])
    finally:
        await client.close()
        await asyncio.sleep(0.02)


def _strange_header() -> bytes:
    data = batch(b"not an envelope", attributes=0)
    data[data.index(NAME)] = 0xFF
    return bytes(sealed(data))


POISON = {
    "random bytes": bytes(batch(b"\x8b\x1f\xe2\x00" * 50, attributes=0)),
    "a tombstone": bytes(batch(None, attributes=0)),
    "a megabyte of zeros": bytes(batch(bytes(1_000_000), attributes=0)),
    "another schema": bytes(batch(b"\x00\x00\x00\x27\x0f" + b"x" * 40, attributes=0)),
    "a header whose name is not text": _strange_header(),
    "a packed batch": bytes(batch(b"0" * 5_000, attributes=0, codec=1)),
}


def test_poison_is_quarantined_with_its_place_and_stops_nothing(
    kafka_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ends in quarantine under its partition and offset; the messages before and after arrive."""
    monkeypatch.setattr(streams, "_cluster", kafka_folder)

    async def story() -> None:
        async with world(tmp_path) as made:
            first = made.publish(HOME, alert())
            await made.settle()
            partition = partition_of(first.case, 8)
            for data in POISON.values():
                await write_raw(made.exchange, data, partition)
            last = made.publish(HOME, alert())
            verdicts = await made.settle()
            refused = [one for one in verdicts if isinstance(one, Quarantined)]
            assert {(one.stored.partition, one.stored.offset) for one in refused} == {
                (partition, offset) for offset in range(1, 1 + len(POISON))
            }
            assert [one.statement.root for one in verdicts if isinstance(one, Accepted)] == [last.root]
            assert made.adapter(OTHER).home.inbox.by_root(last.root) is not None
            operator = await made.exchange.open_stream(OPERATOR)
            held = await operator.read(QUARANTINE, {})
            assert len(held) == len(POISON)
            await operator.close()

    asyncio.run(story())
