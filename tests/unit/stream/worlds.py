"""An empty stream for the contract: in a file, or on the run's Kafka node."""

from __future__ import annotations

from pathlib import Path

from broker.clock import SetClock, SystemClock, SystemRandom
from broker.names import Millis
from broker.stream import embedded_file, topics
from broker.stream.embedded import EmbeddedStream
from broker.stream.kafka.driver import KafkaStream
from broker.stream.kafka.settings import Settings
from tests.unit.stream.contract import AGENCIES


class Embedded:
    """A stream file in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stream.db"
        self.clock = SetClock(Millis(1_770_000_000_000))
        embedded_file.create(self.path, agencies=AGENCIES, random=SystemRandom())

    async def open(self, principal: topics.Principal) -> EmbeddedStream:
        return await EmbeddedStream.open(self.path, principal=principal, clock=self.clock)


class Kafka:
    """Topics of their own on a real node."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def open(self, principal: topics.Principal) -> KafkaStream:
        return await KafkaStream.open(self.settings, principal=principal, clock=SystemClock())
