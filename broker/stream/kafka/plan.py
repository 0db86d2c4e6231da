"""The shape of a cluster as ``topics.toml`` declares it: topics, who may write and read them, and positions' groups.

``broker.stream.topics`` says the same of topics and rights to the handles; loading refuses a file that says otherwise.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from broker.errors import ConfigError
from broker.names import AgencyId
from broker.stream import topics
from broker.stream.kafka.settings import group_name, kafka_name
from broker.stream.topics import IN_PREFIX, RIGHTS, Office, Principal

VERSION: Final = 1
OWN: Final = "own"
"""The reader of a topic that is named after it."""
EACH: Final = f"{IN_PREFIX}<agency>"
_DAY_MS: Final = 86_400_000


class TopicPlan(NamedTuple):
    """A topic that is to be there."""

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str]


class Grant(NamedTuple):
    """A right: ``kind`` is ``topic``, ``prefix`` (of topics) or ``group``; ``right`` is ``write`` or ``read``."""

    principal: str
    kind: str
    name: str
    right: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a file declares; ``topics`` holds one entry for all topics of agencies, ``EACH``."""

    replicas: int
    min_insync_replicas: int
    config: Mapping[str, str]
    declared: Mapping[str, Mapping[str, Any]]

    @classmethod
    def load(cls, path: Path) -> Self:
        """The plan of a file.

        Raises:
            ConfigError: it cannot be read, or says otherwise than ``broker.stream.topics``.
        """
        try:
            given = tomllib.loads(path.read_text("utf-8"))
            if given["version"] != VERSION:
                raise ValueError(f"its version is not {VERSION}")
            cluster = given["cluster"]
            plan = cls(cluster["replicas"], cluster["min_insync_replicas"], given["config"], given["topics"])
            plan._require_agreement()
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {(error.strerror or 'refused').lower()}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} does not declare topics as this program has them: {error}") from None
        return plan

    def topics(self, agencies: Collection[AgencyId]) -> list[TopicPlan]:
        """Every topic of an exchange with these agencies."""
        return [*self.central(), *(self.own(agency) for agency in agencies)]

    def central(self) -> list[TopicPlan]:
        """The topics that exist once."""
        return [self._topic(name, name) for name in topics.CENTRAL]

    def own(self, agency: AgencyId) -> TopicPlan:
        """The topic in which an agency receives."""
        return self._topic(topics.in_topic(agency), EACH)

    def _topic(self, name: str, declared: str) -> TopicPlan:
        said = self.declared[declared]
        days = said.get("retention_days")
        config = {
            **self.config,
            "min.insync.replicas": str(self.min_insync_replicas),
            "retention.ms": str(days * _DAY_MS) if days else "-1",
            "retention.bytes": "-1",
        }
        return TopicPlan(name, said["partitions"], self.replicas, config)

    def grants(self, agencies: Collection[AgencyId], auditors: Collection[AgencyId] = ()) -> list[Grant]:
        """Every right of the offices and of these agencies; no other right is to be there."""
        return [*self.central_grants(), *(grant for one in agencies for grant in self.agency_grants(one))] + [
            grant for one in auditors for grant in self._grants(topics.auditor(one))
        ]

    def central_grants(self) -> list[Grant]:
        """The rights of the exchange's own offices. The broker writes every agency's topic: one grant by prefix."""
        offices = (topics.BROKER, topics.NOTARY, topics.OPERATOR)
        return [grant for office in offices for grant in self._grants(office)]

    def agency_grants(self, agency: AgencyId) -> list[Grant]:
        """The rights of one member."""
        return list(self._grants(topics.member(agency)))

    def _grants(self, principal: Principal) -> Iterator[Grant]:
        name, office = kafka_name(principal), principal.office.value
        for declared, said in self.declared.items():
            topic = IN_PREFIX if declared == EACH else declared
            if office in said["writes"]:
                yield Grant(name, "prefix" if declared == EACH else "topic", topic, "write")
            if office in said["reads"]:
                yield Grant(name, "topic", topic, "read")
            if OWN in said["reads"] and principal.office is Office.MEMBER and principal.agency is not None:
                yield Grant(name, "topic", topics.in_topic(principal.agency), "read")
        yield Grant(name, "group", group_name(principal), "read")

    def _require_agreement(self) -> None:
        if set(self.declared) != {EACH if name == IN_PREFIX else name for name in RIGHTS}:
            raise ValueError("the names of the topics differ")
        for name, rights in RIGHTS.items():
            said = self.declared[EACH if name == IN_PREFIX else name]
            partitions = topics.partition_count(name + "a.b" if name == IN_PREFIX else name)
            reads = {one.value for one in rights.reads} | ({OWN} if rights.reads_own else set())
            found = (said["partitions"], set(said["writes"]), set(said["reads"]))
            if found != (partitions, {one.value for one in rights.writes}, reads):
                raise ValueError(f"{name} has other partitions or rights")
            if not isinstance(said.get("retention_days", 1), int) or said.get("retention_days", 1) < 1:
                raise ValueError(f"retention_days of {name} is no number of days")
        if not 1 <= self.min_insync_replicas <= self.replicas:
            raise ValueError("min_insync_replicas is more than replicas")
