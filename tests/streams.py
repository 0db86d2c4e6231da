"""Streams for tests: the drivers that a test runs on, and one real Kafka node for a whole run.

``CASEBRIDGE_TEST_STREAM`` names one driver; without it, and always in CI, every test runs on both. The node is started by the first test
that needs it, shared by all workers, and ends with the run. Where it cannot be had the tests on it are left out, and
``make test`` says what to install; in CI that fails the run.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from broker.names import AgencyId
from broker.stream.kafka.admin import Admin
from broker.stream.kafka.plan import Plan
from broker.stream.kafka.settings import Settings
from deploy.kafka import background, jars, pki
from deploy.kafka.local import CLIENT_FILE, TOPICS

_CI: Final = bool(os.environ.get("CI"))
_CHOSEN: Final = None if _CI else os.environ.get("CASEBRIDGE_TEST_STREAM")
LEFT_OUT: Final = "" if _CI or _CHOSEN == "kafka" else jars.missing()
"""Why there are no tests on Kafka in this run; ``make test`` says it. In CI there are always some."""
DRIVERS: Final = (_CHOSEN,) if _CHOSEN else ("embedded",) if LEFT_OUT else ("embedded", "kafka")
_numbers = itertools.count(1)
_cluster: Path | None = None


@pytest.fixture(scope="session")
def kafka_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run's cluster, started."""
    base = tmp_path_factory.getbasetemp()
    worker = "PYTEST_XDIST_WORKER" in os.environ
    found = _started(base.parent if worker else base, os.getppid() if worker else os.getpid())
    if isinstance(found, str):
        pytest.skip(found)
    return found


@cache
def _started(base: Path, owner: int) -> Path | str:
    with (base / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            background.start(base / "kafka", nodes=1, owner=owner)
        except jars.Missing as error:
            return f"Kafka is left out: {error}"
    return base / "kafka"


@pytest.fixture(params=DRIVERS, scope="module")
def kafka(request: pytest.FixtureRequest) -> Path | None:
    """The driver of a test: None for the embedded one, else the folder of the cluster."""
    return None if request.param == "embedded" else request.getfixturevalue("kafka_folder")


@pytest.fixture(autouse=True, scope="module")
def exchange_on(kafka: Path | None) -> Iterator[None]:
    """Exchanges that are made meanwhile are on the driver of the test."""
    global _cluster
    _cluster = kafka
    yield
    _cluster = None


def cluster_for(agencies: Collection[str]) -> Path | None:
    """The settings file of the cluster on which a new exchange of these agencies shall be; None for the embedded stream."""
    if _cluster is None:
        return None
    issue(_cluster, agencies)
    return _cluster / CLIENT_FILE


def own_settings(cluster: Path, folder: Path, **changes: Any) -> Path:
    """A ``kafka.json`` for a test alone: names that no other test has."""
    said = json.loads((cluster / CLIENT_FILE).read_text("utf-8"))
    said |= {"authority": str(cluster / pki.AUTHORITY), "clients": str(cluster / pki.CLIENTS)}
    said |= {"prefix": f"t{os.getpid()}-{next(_numbers)}."}
    folder.mkdir(exist_ok=True)
    path = folder / CLIENT_FILE
    path.write_text(json.dumps(said | changes), "utf-8")
    return path


def issue(cluster: Path, names: Collection[str]) -> None:
    """Certificates for these principals, made by one worker at a time."""
    with (cluster.parent / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pki.issue_clients(cluster, sorted(names))


def made_topics(
    cluster: Path, settings: Path, agencies: Collection[AgencyId], auditors: Collection[AgencyId] = ()
) -> Iterator[Settings]:
    """Topics and rights of an exchange with these agencies; gone when the generator goes on."""
    issue(cluster, agencies)
    plan, own = Plan.load(cluster / TOPICS.name), Settings.load(settings)
    topics = plan.topics(agencies)

    async def make() -> None:
        admin = await Admin.open(own)
        try:
            await admin.make_topics(topics)
            await admin.give_rights(plan.grants(agencies, auditors))
        finally:
            await admin.close()

    async def remove() -> None:
        admin = await Admin.open(own)
        try:
            await admin.unsafe_remove_topics([topic.name for topic in topics])
        finally:
            await admin.close()

    asyncio.run(make())
    try:
        yield own
    finally:
        asyncio.run(remove())
