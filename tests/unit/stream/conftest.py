"""The drivers that the contract is held against."""

from tests.streams import kafka, kafka_folder

__all__ = ["kafka", "kafka_folder"]
