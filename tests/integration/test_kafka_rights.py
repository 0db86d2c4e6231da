"""Kafka itself refuses what the table of rights does not give, whatever program somebody runs."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest

from broker.clock import SystemClock
from broker.errors import ConfigError, Refused, StreamError
from broker.stream import topics
from broker.stream.kafka import wire
from broker.stream.kafka.driver import KafkaStream
from broker.stream.kafka.plan import Plan
from broker.stream.kafka.settings import Identity, Settings, group_name
from deploy.kafka import local, pki
from tests.streams import made_topics, own_settings
from tests.unit.stream.contract import AGENCIES, CWC, POLICE, event, run

IN_CWC: Final = topics.in_topic(CWC)
IN_POLICE: Final = topics.in_topic(POLICE)


@pytest.fixture(scope="module")
def settings(kafka_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Topics and rights of two agencies, of which one is an auditor."""
    folder = tmp_path_factory.mktemp("rights")
    yield from made_topics(kafka_folder, own_settings(kafka_folder, folder), AGENCIES, auditors=[POLICE])


def options(settings: Settings, name: str) -> dict[str, Any]:
    """What a client of this name is given."""
    context = Identity.load(settings, name).context
    return {
        "bootstrap_servers": list(settings.bootstrap),
        "security_protocol": "SSL",
        "ssl_context": context,
        "request_timeout_ms": 5_000,
    }


async def write(settings: Settings, name: str, topic: str) -> None:
    """Writes with the library, past our own checks."""
    producer = AIOKafkaProducer(**options(settings, name), enable_idempotence=True)
    try:
        await producer.start()
        await asyncio.wait_for(producer.send_and_wait(settings.physical(topic), b"forged", partition=0), 10)
    finally:
        await producer.stop()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def client_of(settings: Settings, name: str) -> AsyncIterator[AIOKafkaClient]:
    """Bare connections, on which anything can be asked."""
    client = AIOKafkaClient(**options(settings, name))
    await client.bootstrap()
    try:
        yield client
    finally:
        await client.close()
        await asyncio.sleep(0.02)


_STARTING: Final = (kafka.NotCoordinatorForGroupError, kafka.GroupLoadInProgressError)


async def read(settings: Settings, name: str, topic: str, *, group: str | None = None) -> None:
    """Fetches, asks for the end and keeps a position, past our own checks."""
    physical = settings.physical(topic)
    async with client_of(settings, name) as client:
        node = client.get_random_node()
        fetched = await client.send(node, FetchRequest(0, 1, 1_000, 0, [(physical, [(0, 0, 1_000)])]))
        _require(fetched.topics[0][1][0][1])
        ended = await client.send(node, OffsetRequest(-1, 0, [(physical, [(0, -1)])]))
        _require(ended.topics[0][1][0][1])
        if group:
            request = OffsetCommitRequest(settings.physical(group), -1, "", -1, [(physical, [(0, 0, "")])])
            for attempt in range(50):
                kept = await client.send(node, request)
                code = kept.topics[0][1][0][1]
                if kafka.for_code(code) not in _STARTING or attempt == 49:
                    break
                # The first group of a cluster has a topic of Kafka's own made for it.
                with suppress(kafka.GroupCoordinatorNotAvailableError):
                    await client.coordinator_lookup(0, settings.physical(group))
                await asyncio.sleep(0.1)
            _require(code)


def _require(code: int) -> None:
    error = kafka.for_code(code)
    if error is not kafka.NoError:
        raise error


async def manage(settings: Settings, name: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Does something with the library's client for operators."""
    admin = AIOKafkaAdminClient(**options(settings, name))
    await admin.start()
    try:
        return await work(admin)
    finally:
        await admin.close()
        await asyncio.sleep(0.02)


def test_what_the_table_gives_is_done(settings: Settings) -> None:
    """The attempts below fail for want of rights and for no other reason."""

    async def story() -> None:
        await write(settings, CWC, topics.EVENTS)
        await write(settings, "broker", IN_CWC)
        await read(settings, CWC, IN_CWC, group=group_name(topics.member(CWC)))
        await read(settings, "broker", topics.EVENTS, group=group_name(topics.BROKER))
        await read(settings, POLICE, topics.AUDIT, group=group_name(topics.auditor(POLICE)))

    run(story())


WRITES: Final = [
    ("a member writes its own topic", CWC, IN_CWC),
    ("a member writes another's topic", CWC, IN_POLICE),
    ("a member writes the audit", CWC, topics.AUDIT),
    ("a member writes the quarantine", CWC, topics.QUARANTINE),
    ("the broker writes events", "broker", topics.EVENTS),
    ("the notary writes records", "notary", topics.RECORDS),
    ("the operator writes events", "operator", topics.EVENTS),
    ("an auditor writes the audit", POLICE, topics.AUDIT),
]


@pytest.mark.parametrize(("name", "topic"), [row[1:] for row in WRITES], ids=[row[0] for row in WRITES])
def test_who_may_not_write_does_not(name: str, topic: str, settings: Settings) -> None:
    """Kafka refuses it, and stores nothing."""

    async def story() -> None:
        with pytest.raises((kafka.TopicAuthorizationFailedError, kafka.ClusterAuthorizationFailedError)):
            await write(settings, name, topic)

    run(story())


READS: Final = [
    ("a member reads events", CWC, topics.EVENTS),
    ("a member reads records", CWC, topics.RECORDS),
    ("a member reads another's topic", CWC, IN_POLICE),
    ("a member who is no auditor reads the audit", CWC, topics.AUDIT),
    ("the broker reads what an agency receives", "broker", IN_CWC),
    ("the broker reads records", "broker", topics.RECORDS),
    ("the operator reads events", "operator", topics.EVENTS),
    ("the notary reads what an agency receives", "notary", IN_CWC),
]


@pytest.mark.parametrize(("name", "topic"), [row[1:] for row in READS], ids=[row[0] for row in READS])
def test_who_may_not_read_does_not(name: str, topic: str, settings: Settings) -> None:
    """Kafka refuses it."""

    async def story() -> None:
        with pytest.raises(kafka.TopicAuthorizationFailedError):
            await read(settings, name, topic)

    run(story())


@pytest.mark.parametrize("group", [group_name(topics.member(POLICE)), group_name(topics.BROKER), "casebridge.mine"])
def test_positions_of_others_are_out_of_reach(group: str, settings: Settings) -> None:
    """A group that is not a principal's own is refused: nobody moves another's positions, or hides behind a new name."""

    async def story() -> None:
        with pytest.raises(kafka.GroupAuthorizationFailedError):
            await read(settings, CWC, IN_CWC, group=group)

    run(story())


_NO_RECORDS_REMOVED: Final = (
    kafka.TopicAuthorizationFailedError,
    kafka.UnknownTopicOrPartitionError,
    kafka.NotLeaderForPartitionError,  # what the library says of a topic that it is not told of
)


@pytest.mark.parametrize("name", [CWC, POLICE, "broker", "notary", "operator"])
def test_nobody_alters_or_removes(name: str, settings: Settings) -> None:
    """No topic, no partition count, no setting and no message is changed by anybody who exchanges messages."""
    events, own = settings.physical(topics.EVENTS), settings.physical(IN_CWC)
    short = {"retention.ms": "1"}

    async def story(admin: AIOKafkaAdminClient) -> list[int]:
        removed = await admin.delete_topics([events, own])
        with pytest.raises(kafka.TopicAuthorizationFailedError):
            await admin.create_partitions({events: NewPartitions(9)})
        altered = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, events, configs=short)])
        codes = [code for _, code in removed.topic_error_codes]
        codes += [row[0] for one in altered for row in one.resources]
        with pytest.raises(_NO_RECORDS_REMOVED):
            await admin.delete_records({TopicPartition(events, 0): RecordsToDelete(before_offset=1)})
        return codes

    codes = run(manage(settings, name, story))
    assert len(codes) == 3
    assert {kafka.for_code(code) for code in codes} == {kafka.TopicAuthorizationFailedError}


def test_nobody_gives_rights(settings: Settings) -> None:
    """Access lists are the operator's of the cluster alone; not even the exchange's own offices add to them."""
    entry = (2, settings.physical(topics.EVENTS), 3, f"User:{CWC}", "*", 3, 3)

    async def story(name: str) -> int:
        async with client_of(settings, name) as client:
            answer = await client.send(client.get_random_node(), wire.create_acls([entry]))
            ((code, _),) = answer.creation_responses
            return int(code)

    for name in (CWC, "broker", "operator"):
        assert kafka.for_code(run(story(name))) is kafka.ClusterAuthorizationFailedError


def _stranger(folder: Path, kind: str, cluster: Path) -> None:
    """A certificate of an agency that the cluster should not take."""
    authority = cluster if kind == "expired" else folder
    if kind != "expired":
        pki.create_authority(folder)
    pki.issue(authority, CWC, folder / f"{CWC}.pem", days=-1 if kind == "expired" else 1)


@pytest.mark.parametrize("kind", ["expired", "of a foreign authority"])
def test_a_certificate_that_is_not_good_opens_nothing(
    kind: str, settings: Settings, kafka_folder: Path, tmp_path: Path
) -> None:
    """The connection is refused, whatever name the certificate gives."""
    _stranger(tmp_path, kind, kafka_folder)
    strange = Settings(settings.bootstrap, settings.authority, tmp_path, settings.prefix)

    async def story() -> None:
        with pytest.raises(StreamError, match="cannot be reached"):
            await KafkaStream.open(strange, principal=topics.member(CWC), clock=SystemClock())
        await asyncio.sleep(0.05)

    run(story())


def test_without_a_certificate_there_is_no_answer(settings: Settings) -> None:
    """A client that shows none is closed out before it has asked anything."""
    context = ssl.create_default_context(cafile=settings.authority)

    async def story() -> None:
        host, port = settings.bootstrap[0].split(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff")
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await reader.readexactly(4)
        writer.close()

    run(story())


def test_a_cluster_of_another_authority_is_not_believed(settings: Settings, kafka_folder: Path, tmp_path: Path) -> None:
    """A client sends nothing to a node whose certificate its authority did not sign."""
    pki.create_authority(tmp_path)
    strange = Settings(settings.bootstrap, tmp_path / pki.AUTHORITY, settings.clients, settings.prefix)

    async def story() -> None:
        with pytest.raises(StreamError, match="cannot be reached"):
            await KafkaStream.open(strange, principal=topics.member(CWC), clock=SystemClock())

    run(story())


def test_rights_that_the_cluster_withholds_are_said(settings: Settings, tmp_path: Path) -> None:
    """Where the access lists lack what the table gives, the handle says so, and that it was not stored."""
    newcomer = topics.member(type(CWC)("in.xx.newcomer"))
    (tmp_path / "clients").mkdir()
    pki.issue(settings.authority.parent, "in.xx.newcomer", tmp_path / "clients" / "in.xx.newcomer.pem")
    own = Settings(settings.bootstrap, settings.authority, tmp_path / "clients", settings.prefix)

    async def story() -> None:
        with pytest.raises(ConfigError, match=str(CWC)):
            await KafkaStream.open(own, principal=topics.member(CWC), clock=SystemClock())
        stream = await KafkaStream.open(own, principal=newcomer, clock=SystemClock())
        with pytest.raises((StreamError, Refused)):
            await stream.publish([event(1)])
        await stream.close()

    run(story())


def test_the_rights_are_those_that_kafkas_own_tool_lists(
    settings: Settings, kafka_folder: Path, tmp_path: Path
) -> None:
    """What was asked of Kafka in its protocol is what its own tool reads back: no right more, none less."""
    client = tmp_path / "client.properties"
    client.write_text(
        "security.protocol=SSL\nssl.keystore.type=PEM\nssl.truststore.type=PEM\n"
        f"ssl.keystore.location={settings.clients / 'admin.pem'}\nssl.truststore.location={settings.authority}\n"
    )
    command = local.java(
        "org.apache.kafka.tools.AclCommand",
        "--bootstrap-server", settings.bootstrap[0], "--command-config", str(client), "--list",
    )  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: set[tuple[str, str, str, str]] = set()
    name = pattern = ""
    for line in said.splitlines():
        if "resourceType=" in line:
            name, pattern = line.split("name=")[1].split(",")[0], line.split("patternType=")[1].split(")")[0]
        elif "principal=User:" in line and name.startswith(settings.prefix):
            assert "permissionType=ALLOW" in line
            assert "host=*" in line
            found.add((name, pattern, line.split("User:")[1].split(",")[0], line.split("operation=")[1].split(",")[0]))
    grants = Plan.load(kafka_folder / local.TOPICS.name).grants(AGENCIES, [POLICE])
    assert found == {
        (
            settings.physical(one.name),
            "PREFIXED" if one.kind == "prefix" else "LITERAL",
            one.principal,
            one.right.upper(),
        )
        for one in grants
    }
