"""Every story is played on every driver of the stream."""

from tests.streams import exchange_on, kafka, kafka_folder

__all__ = ["exchange_on", "kafka", "kafka_folder"]
