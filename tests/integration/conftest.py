"""What needs a real Kafka and nothing else."""

from tests.streams import kafka_folder

__all__ = ["kafka_folder"]
