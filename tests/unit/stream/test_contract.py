"""Every driver keeps the contract of ``Stream``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.streams import made_topics, own_settings
from tests.unit.stream.contract import AGENCIES, CWC, StreamContract, World
from tests.unit.stream.worlds import Embedded, Kafka


@pytest.fixture
def world(kafka: Path | None, tmp_path: Path) -> Iterator[World]:
    """An empty stream of each driver."""
    if kafka is None:
        yield Embedded(tmp_path)
        return
    for settings in made_topics(kafka, own_settings(kafka, tmp_path), AGENCIES, auditors=[CWC]):
        yield Kafka(settings)


class TestContract(StreamContract):
    """All of it."""
