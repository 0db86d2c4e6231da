"""``casebridge broker topics`` on a real cluster: what is missing is told and made, what is too much is told."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import errors as kafka

from adapters.exchange import DIRECTORY_FILE, Exchange
from broker.clock import SystemClock, SystemRandom
from broker.names import AgencyId
from broker.stream.kafka.admin import Admin
from broker.stream.kafka.plan import Grant, Plan, TopicPlan
from broker.stream.kafka.settings import Settings, group_name
from broker.stream.topics import EVENTS, RECORDS, in_topic, member
from deploy.kafka.local import TOPICS
from tests.fault.processes import ROOT
from tests.integration.test_kafka_certificates import certificate
from tests.integration.test_kafka_rights import read, write
from tests.story.small_exchange import AGENCIES, AUDITOR, CWC, HOME
from tests.streams import own_settings

COMMAND: Final = [sys.executable, "-c", "from adapters.cli.main import main; main()", "broker", "topics"]


@pytest.fixture
def cluster(kafka_folder: Path, tmp_path: Path) -> Iterator[Path]:
    """The settings of a part of the cluster in which nothing is yet; removed afterwards."""
    path = own_settings(kafka_folder, tmp_path / "cluster")
    yield path
    plan = Plan.load(kafka_folder / TOPICS.name)
    names = [one.name for one in plan.topics([AgencyId(one["id"]) for one in AGENCIES])]
    asyncio.run(_admin(path, lambda admin: admin.unsafe_remove_topics(names)))


async def _admin(path: Path, work: Callable[[Admin], Awaitable[object]]) -> None:
    admin = await Admin.open(Settings.load(path))
    try:
        await work(admin)
    finally:
        await admin.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name a signed directory of eight agencies."""
    return directory_of(AGENCIES, tmp_path_factory.mktemp("directory"))


def directory_of(agencies: list[dict[str, Any]], where: Path) -> list[str]:
    """The options that name a signed directory of these agencies."""
    folder = where / "exchange"

    async def create() -> bytes:
        exchange = await Exchange.create(folder, agencies, clock=SystemClock(), random=SystemRandom())
        await exchange.close()
        return exchange.registrar_key.signing.public

    key = base64.b64encode(asyncio.run(create())).decode()
    return ["--directory", str(folder / DIRECTORY_FILE), "--trust", key]


def command(word: str, cluster: Path, kafka_folder: Path, directory: list[str]) -> tuple[int, list[dict[str, str]]]:
    """Exit code and JSON of one command."""
    done = subprocess.run(
        [*COMMAND, word, "--cluster", str(cluster), "--declared", str(kafka_folder / TOPICS.name), *directory, "--json"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_what_is_missing_is_told_then_made_then_not_missed(
    cluster: Path, kafka_folder: Path, directory: list[str]
) -> None:
    """``plan`` changes nothing, ``apply`` makes every topic and right, ``verify`` finds nothing, twice is once."""
    for _ in range(2):
        code, found = command("plan", cluster, kafka_folder, directory)
        assert code == 1
        abouts = {one["about"] for one in found}
        assert f"topic {in_topic(CWC)}" in abouts
        assert any(about.startswith(f"{AUDITOR}: read topic") for about in abouts)
        assert {one["found"] for one in found} == {""}
    for _ in range(2):
        assert command("apply", cluster, kafka_folder, directory) == (0, [])
        assert command("verify", cluster, kafka_folder, directory) == (0, [])


def test_an_agency_that_joins_publishes_and_reads_its_own_topic_alone(
    cluster: Path, kafka_folder: Path, directory: list[str], tmp_path: Path
) -> None:
    """A certificate for its own request and ``apply`` with the new directory are all that docs/operate.md asks for."""
    before = directory_of([one for one in AGENCIES if one["id"] != CWC], tmp_path)
    assert command("apply", cluster, kafka_folder, before) == (0, [])
    own = certificate(Settings.load(cluster), CWC, tmp_path / "agency")
    with pytest.raises((kafka.TopicAuthorizationFailedError, kafka.ClusterAuthorizationFailedError)):
        asyncio.run(write(own, CWC, EVENTS))
    assert command("apply", cluster, kafka_folder, directory) == (0, [])
    asyncio.run(write(own, CWC, EVENTS))
    asyncio.run(read(own, CWC, in_topic(CWC), group=group_name(member(CWC))))
    for topic in (in_topic(HOME), EVENTS, RECORDS):
        with pytest.raises(kafka.TopicAuthorizationFailedError):
            asyncio.run(read(own, CWC, topic))


def test_what_is_too_much_or_otherwise_is_told_and_left(
    cluster: Path, kafka_folder: Path, directory: list[str]
) -> None:
    """A right that nobody declared, and a topic of another shape: told, exit 1, and not touched."""
    spy = Grant("in.xx.spy", "topic", RECORDS, "read")
    small = TopicPlan(RECORDS, 2, 1, {"retention.ms": "1000"})
    asyncio.run(_admin(cluster, lambda admin: admin.make_topics([small])))
    asyncio.run(_admin(cluster, lambda admin: admin.give_rights([spy])))
    for word in ("apply", "verify"):
        code, found = command(word, cluster, kafka_folder, directory)
        assert code == 1
        said = {one["about"]: (one["planned"], one["found"]) for one in found}
        assert said[f"topic {RECORDS}"] == ("8 partitions, 1 replicas", "2 partitions, 1 replicas")
        assert said[f"topic {RECORDS}: retention.ms"] == ("-1", "1000")
        (right,) = (about for about in said if about.startswith("in.xx.spy"))
        assert right.startswith("in.xx.spy: read topic ")
        assert said[right] == ("", "allowed")


def test_a_directory_of_somebody_else_is_not_believed(cluster: Path, kafka_folder: Path, directory: list[str]) -> None:
    """No topic is made for agencies that the registrar did not sign."""
    wrong = [*directory[:3], base64.b64encode(bytes(32)).decode()]
    done = subprocess.run(
        [*COMMAND, "apply", "--cluster", str(cluster), "--declared", str(kafka_folder / TOPICS.name), *wrong],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (6, "")
    assert "Traceback" not in done.stderr
