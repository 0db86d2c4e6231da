"""What a cluster has against what a plan declares: topics, their settings, and every right in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from aiokafka import errors as kafka
from aiokafka.protocol.admin import DescribeConfigsRequest

from broker.errors import StreamError
from broker.stream.kafka import wire
from broker.stream.kafka.admin import Admin, Entry
from broker.stream.kafka.plan import Grant, TopicPlan
from broker.stream.kafka.settings import ADMIN

_TOPIC: Final = 2
_ALLOW: Final = 3
_KINDS: Final = {1: "anything", 2: "topic", 3: "group", 4: "cluster", 5: "transaction", 6: "token", 7: "user"}
_RIGHTS: Final = {2: "everything", 3: "read", 4: "write", 5: "create", 6: "delete", 7: "alter", 8: "describe"}


class Difference(NamedTuple):
    """One thing: what it is about, what the plan declares and what the cluster has; empty where there is none."""

    about: str
    planned: str
    found: str


async def differences(admin: Admin, planned: Sequence[TopicPlan], grants: Sequence[Grant]) -> list[Difference]:
    """Everything in which the cluster is not as planned, a right too many included; empty where it is.

    Rights are looked for in all topics and groups whose name begins as the settings' prefix says, and in the cluster
    itself; those of ``admin`` are not counted.

    Raises:
        StreamError: the cluster is out of reach, or refused.
    """
    found = []
    there: list[TopicPlan] = []
    for one in planned:
        shape = await _shape(admin, one.name)
        want = f"{one.partitions} partitions, {one.replicas} replicas"
        if shape != want:
            found.append(Difference(f"topic {one.name}", want, shape))
        if shape:
            there.append(one)
    found += await _settings(admin, there)
    return found + await _rights(admin, grants)


async def _shape(admin: Admin, name: str) -> str:
    answer = await admin.ask(wire.describe(admin.settings.physical(name)))
    ((code, _, _, _, partitions, *_),) = answer.topics
    error = kafka.for_code(code)
    if error is kafka.UnknownTopicOrPartitionError:
        return ""
    if error is not kafka.NoError:
        raise StreamError(f"the Kafka cluster does not say how {name} is made", kafka=error.__name__)
    replicas = sorted({len(one[4]) for one in partitions})
    return f"{len(partitions)} partitions, {'/'.join(map(str, replicas))} replicas"


async def _settings(admin: Admin, planned: Sequence[TopicPlan]) -> list[Difference]:
    found = []
    for one in planned:
        name = admin.settings.physical(one.name)
        answer = await admin.ask(DescribeConfigsRequest([(_TOPIC, name, list(one.config))]))
        ((code, _, _, _, entries),) = answer.resources
        if kafka.for_code(code) is not kafka.NoError:
            raise StreamError(f"the Kafka cluster does not tell the settings of {one.name}")
        has: Mapping[str, str] = {entry[0]: entry[1] for entry in entries}
        found += [
            Difference(f"topic {one.name}: {setting}", value, has.get(setting, ""))
            for setting, value in sorted(one.config.items())
            if has.get(setting) != value
        ]
    return found


async def _rights(admin: Admin, grants: Sequence[Grant]) -> list[Difference]:
    answer = await admin.ask(wire.describe_acls())
    prefix = admin.settings.prefix
    has: set[Entry] = {
        (kind, name, pattern, *one)
        for kind, name, pattern, entries in answer.resources
        for one in entries
        if (kind not in (2, 3) or name.startswith(prefix)) and one[0] != f"User:{ADMIN}"
    }
    want = {admin.entry(grant) for grant in grants}
    missing = [Difference(_words(one), "allowed", "") for one in _sorted(want - has)]
    return missing + [
        Difference(_words(one), "", "allowed" if one[6] == 3 else "denied") for one in _sorted(has - want)
    ]


def _sorted(entries: Iterable[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda one: (one[3], one[0], one[1], one[5]))


def _words(one: Entry) -> str:
    kind, name, pattern, principal, host, right, _ = one
    which = f"{_KINDS.get(kind, str(kind))}s that begin with" if pattern == 4 else _KINDS.get(kind, str(kind))
    where = "" if host == "*" else f" from {host}"
    return f"{principal.removeprefix('User:')}: {_RIGHTS.get(right, f'operation {right}')} {which} {name}{where}"
