"""What needs a real Kafka and nothing else."""

from tests.streams import DRIVERS, kafka_folder

__all__ = ["kafka_folder"]

collect_ignore_glob = [] if "kafka" in DRIVERS else ["test_kafka_*"]
