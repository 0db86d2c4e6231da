"""An ordinary Kafka client that has nothing of casebridge but the published schemas."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from pathlib import Path
from typing import Any
from uuid import UUID

import confluent_kafka
import fastavro
import pytest

from broker.names import AgencyId
from broker.stream.kafka.settings import Settings, group_name
from broker.stream.topics import EVENTS, auditor, in_topic, member
from tests import streams
from tests.story.small_exchange import AUDITOR, HOME, OTHER, alert, world

SCHEMAS = Path(__file__).parents[2] / "schemas" / "envelope"
END = 20.0
"""Seconds within which everything must have come."""


def published(name: str) -> Any:
    """A schema with those that it names, from the published files alone."""
    named: dict[str, Any] = {}
    fastavro.parse_schema(json.loads((SCHEMAS / "header.avsc").read_text("utf-8")), named_schemas=named)
    return fastavro.parse_schema(json.loads((SCHEMAS / f"{name}.avsc").read_text("utf-8")), named_schemas=named)


FORMS = {1: published("envelope"), 2: published("slice")}


def consume(settings: Settings, agency: AgencyId, topic: str, group: str) -> list[dict[str, Any]]:
    """Five records of a topic, decoded with the schema whose number stands before them."""
    pem = str(settings.clients / f"{agency}.pem")
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": ",".join(settings.bootstrap),
            "security.protocol": "ssl",
            "ssl.ca.location": str(settings.authority),
            "ssl.certificate.location": pem,
            "ssl.key.location": pem,
            "group.id": settings.physical(group),
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    try:
        consumer.subscribe([settings.physical(topic)])
        found: list[dict[str, Any]] = []
        for message in consumer.consume(5, END):
            assert message.error() is None
            magic, schema = struct.unpack_from(">bI", message.value())
            assert magic == 0
            body = io.BytesIO(message.value()[5:])
            record = fastavro.schemaless_reader(body, FORMS[schema], None)
            assert body.read() == b""
            assert isinstance(record, dict)
            found.append(record["header"] | {"key": message.key(), "hints": dict(message.headers())})
        return found
    finally:
        consumer.close()


def test_a_plain_consumer_reads_the_clear_part_of_every_record(
    kafka_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A desk its own slices, an auditor every envelope: with a client library, a certificate and the schemas alone."""
    monkeypatch.setattr(streams, "_cluster", kafka_folder)

    async def story() -> None:
        async with world(tmp_path) as made:
            sent = [made.publish(HOME, alert()) for _ in range(5)]
            await made.settle()
            settings = Settings.load(made.exchange.folder / made.exchange.stream_file)
            group = group_name(member(OTHER))
            slices = await asyncio.to_thread(consume, settings, OTHER, in_topic(OTHER), group)
            group = group_name(auditor(AUDITOR))
            envelopes = await asyncio.to_thread(consume, settings, AUDITOR, EVENTS, group)
            for found in (slices, envelopes):
                assert {(one["event_id"], one["key"]) for one in found} == {(one.event_id, one.case) for one in sent}
                for one in found:
                    assert (one["type"], one["agency"], one["post"]) == ("missing.alert", HOME, "duty-officer")
                    assert one["case_ref"] == one["key"]
                    assert one["hints"]["ce_id"].decode() == str(UUID(bytes=one["event_id"]))

    asyncio.run(story())
