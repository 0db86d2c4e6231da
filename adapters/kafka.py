"""An exchange of its own on a Kafka cluster, for the demo and for tests: topics, rights, and the settings of its homes.

A real exchange is set up by its operator, with the same plan (``deploy/kafka/topics.toml``).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Final

from broker.clock import Random
from broker.errors import ConfigError
from broker.keys import disk
from broker.names import AgencyId
from broker.stream.kafka.admin import Admin
from broker.stream.kafka.plan import Plan
from broker.stream.kafka.settings import Settings, common_name

SETTINGS_FILE: Final = "kafka.json"
TOPICS_FILE: Final = "topics.toml"


async def set_up(
    cluster: Path, own: Path, *, agencies: Collection[AgencyId], auditors: Collection[AgencyId], random: Random
) -> None:
    """Makes topics and rights under names that no other exchange has, and writes the settings file ``own``.

    The times of messages are the senders': whoever plays a case plays its time too.

    Args:
        cluster: the settings file of a cluster, with the certificates of these agencies, of the offices and of
            ``admin``, and ``topics.toml`` beside it.

    Raises:
        ConfigError: one of these is not there.
        StreamError: the cluster is out of reach, or refused.
    """
    base = Settings.load(cluster)
    missing = [one for one in agencies if not (base.clients / f"{common_name(one)}.pem").exists()]
    if missing:
        raise ConfigError(
            f"{base.clients} has no certificate for {missing[0]}; make it: python -m deploy.kafka issue"
            f" {cluster.parent} {missing[0]}"
        )
    said = {
        "version": 1,
        "bootstrap": list(base.bootstrap),
        "authority": str(base.authority.resolve()),
        "clients": str(base.clients.resolve()),
        "prefix": f"exercise-{random.bytes(4).hex()}.",
        "unsafe_sender_time": True,
    }
    disk.create_private(own, json.dumps(said, indent=1).encode() + b"\n")
    plan = Plan.load(cluster.parent / TOPICS_FILE)
    admin = await Admin.open(Settings.load(own))
    try:
        await admin.make_topics(plan.topics(agencies))
        await admin.give_rights(plan.grants(agencies, auditors))
    finally:
        await admin.close()


def held_files(own: Path) -> list[Path]:
    """The files in which the nodes of a local cluster (``deploy/kafka``) hold this exchange's messages."""
    settings = Settings.load(own)
    return sorted(settings.authority.parent.glob(f"nodes/*/data/{settings.prefix}*/*.log"))


async def unsafe_tear_down(own: Path, *, agencies: Collection[AgencyId]) -> None:
    """Removes the topics of an exchange that ``set_up`` made, with everything in them.

    Raises:
        StreamError: the cluster is out of reach.
    """
    settings = Settings.load(own)
    if not settings.prefix.startswith("exercise-"):
        raise ConfigError(f"{own} is not that of an exercise; its topics stay")
    admin = await Admin.open(settings)
    try:
        plan = Plan.load(settings.authority.parent / TOPICS_FILE)
        await admin.unsafe_remove_topics([one.name for one in plan.topics(agencies)])
    finally:
        await admin.close()
