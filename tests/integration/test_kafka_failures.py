"""A node that dies, certificates that run out, processes that come and go: what was acknowledged is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from broker.clock import SystemClock
from broker.errors import StreamError
from broker.stream import topics
from broker.stream.kafka import connection
from broker.stream.kafka.driver import KafkaStream
from broker.stream.kafka.settings import Settings
from broker.stream.protocol import Message
from deploy.kafka import jars, pki
from deploy.kafka.local import CLIENT_FILE, Cluster
from tests.streams import made_topics
from tests.unit.stream.contract import AGENCIES, CWC, case, event, everything

SECONDS: Final = 2.0
"""What a ``publish`` is given here before it is given up."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node of this module's own, which its tests may kill."""
    try:
        made = Cluster.create(tmp_path_factory.mktemp("own") / "cluster")
    except jars.Missing as error:
        pytest.skip(f"Kafka is left out: {error}")
    made.brief = True
    made.start()
    try:
        yield made
    finally:
        made.destroy()


@pytest.fixture(scope="module")
def settings(cluster: Cluster) -> Iterator[Settings]:
    """The exchange on it."""
    yield from made_topics(cluster.folder, cluster.folder / CLIENT_FILE, AGENCIES)


async def opened(settings: Settings, principal: topics.Principal) -> KafkaStream:
    """A handle that soon gives up."""
    return await KafkaStream.open(settings, principal=principal, clock=SystemClock(), publish_seconds=SECONDS)


async def restart(cluster: Cluster) -> None:
    """The node is there again."""
    cluster.start_node(1)
    await asyncio.to_thread(cluster.wait_for, 1)


async def insist(stream: KafkaStream, message: Message) -> None:
    """Publishes again and again, as the outbox does."""
    while True:
        try:
            await stream.publish([message])
        except StreamError:
            continue
        return


def slow(story: object) -> None:
    """Runs a story that waits for a node to start."""
    asyncio.run(asyncio.wait_for(story, 100))  # type: ignore[arg-type]


def test_a_dead_node_ends_every_call_in_time_and_loses_nothing(cluster: Cluster, settings: Settings) -> None:
    """A publish ends by its deadline, the handle can be closed, and later everything acknowledged is there, in order."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        member, other = await opened(settings, topics.member(CWC)), await opened(settings, topics.member(CWC))
        broker = await opened(settings, topics.BROKER)
        await member.publish([event(0)])
        waiting = asyncio.create_task(broker.read(topics.EVENTS, await broker.ends(topics.EVENTS), wait=60))
        cluster.kill(1)
        begun = loop.time()
        attempts = await asyncio.gather(
            *(member.publish([event(n)]) for n in range(1, 4)), other.publish([event(9)]), return_exceptions=True
        )
        assert [type(one) for one in attempts] == [StreamError] * 4
        assert loop.time() - begun < SECONDS + 1
        await other.close()
        assert loop.time() - begun < SECONDS + 8
        assert not waiting.done()
        await restart(cluster)
        for number in range(1, 4):
            await insist(member, event(number))
        assert await waiting, "a reader that waited is woken by what comes afterwards"
        found = [one.message.value for one in await everything(broker, topics.EVENTS) if one.message.key == case(0)]
        once = list(dict.fromkeys(found))
        assert [one for one in once if one != b"0/9"] == [b"0/%d" % number for number in range(4)]
        await member.close()
        await broker.close()

    slow(story())


def test_a_renewed_certificate_serves_without_a_restart(
    cluster: Cluster, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handle outlives its first certificate where the file is renewed in time, and does not where it is not."""
    monkeypatch.setattr(connection, "RENEWAL_SECONDS", 0.0)
    seconds = 8.0

    async def story() -> None:
        handles = []
        for name in ("renewed", "forgotten"):
            folder = tmp_path / name
            folder.mkdir()
            pki.issue(cluster.folder, CWC, folder / f"{CWC}.pem", days=seconds / 86_400)
            own = Settings(settings.bootstrap, settings.authority, folder, settings.prefix)
            handles.append(await opened(own, topics.member(CWC)))
            await handles[-1].publish([event(1, of=7)])
        pki.issue(cluster.folder, CWC, tmp_path / "renewed" / f"{CWC}.pem")
        cluster.kill(1)
        await asyncio.gather(restart(cluster), asyncio.sleep(seconds))
        renewed, forgotten = handles
        await insist(renewed, event(2, of=7))
        with pytest.raises(StreamError):
            await forgotten.publish([event(3, of=7)])
        for handle in handles:
            await handle.close()

    slow(story())


def test_processes_divide_a_topic_and_take_over_from_each_other(settings: Settings) -> None:
    """Every partition is exactly one process's; when one leaves, the other has them all and goes on where it was."""

    async def story() -> None:
        everyone = set(range(8))
        one = await opened(settings, topics.BROKER)
        assert await one.share(topics.EVENTS) == everyone
        start = await one.ends(topics.EVENTS)
        await one.commit(topics.EVENTS, start)
        two = await opened(settings, topics.BROKER)
        theirs = await two.share(topics.EVENTS)
        while not (await one.share(topics.EVENTS)).isdisjoint(theirs := await two.share(topics.EVENTS)):
            await asyncio.sleep(0.1)
        assert await one.share(topics.EVENTS) | theirs == everyone
        lost = min(theirs)
        with pytest.raises(StreamError):
            await one.commit(topics.EVENTS, {lost: 0})
        assert (await two.committed(topics.EVENTS))[lost] == start[lost]
        await two.close()
        while await one.share(topics.EVENTS) != everyone:
            await asyncio.sleep(0.1)
        assert await one.committed(topics.EVENTS) == start
        await one.close()

    slow(story())


def test_a_process_that_vanished_is_replaced_within_its_session(settings: Settings) -> None:
    """One that dies without a word loses its partitions to the others, and can commit nothing that it still held."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        one, two = await opened(settings, topics.BROKER), await opened(settings, topics.BROKER)
        await one.share(topics.EVENTS)
        theirs = await two.share(topics.EVENTS)
        while not theirs or not (await one.share(topics.EVENTS)).isdisjoint(theirs):
            theirs = await two.share(topics.EVENTS)
            await asyncio.sleep(0.1)
        # Its signs of life stop, as when the process hangs or its network is gone.
        coordinator = two._memberships[topics.EVENTS].consumer._coordinator
        coordinator._heartbeat_task.cancel()
        coordinator._do_heartbeat = asyncio.Event().wait
        begun = loop.time()
        while len(await one.share(topics.EVENTS)) < 8:
            await asyncio.sleep(0.2)
        assert loop.time() - begun < 25
        with pytest.raises(StreamError):
            await two.commit(topics.EVENTS, {min(theirs): 0})
        await one.close()
        await two.close()

    slow(story())
