"""Opening the stream that a configuration names, whichever driver it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from broker.clock import Clock
from broker.stream import topics
from broker.stream.embedded import EmbeddedStream
from broker.stream.protocol import Stream

KAFKA_SUFFIX: Final = ".json"


def is_kafka(path: Path) -> bool:
    """Whether this names the settings of a Kafka cluster (``kafka.json``), and not a stream's own file."""
    return path.suffix == KAFKA_SUFFIX


async def open_stream(path: Path, *, principal: topics.Principal, clock: Clock) -> Stream:
    """A handle for this principal on the stream file, or on the cluster whose settings stand there.

    Raises:
        ConfigError: the settings or the certificate cannot be used.
        StreamError: the stream is out of reach, or not one.
    """
    if not is_kafka(path):
        return await EmbeddedStream.open(path, principal=principal, clock=clock)
    # Here, since most commands never use it and its client library takes long to load.
    from broker.stream.kafka.driver import KafkaStream
    from broker.stream.kafka.settings import Settings

    return await KafkaStream.open(Settings.load(path), principal=principal, clock=clock)
