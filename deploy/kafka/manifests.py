"""The same cluster for Kubernetes: manifests for Strimzi's operators, from ``topics.toml`` and ``server.properties``.

They are JSON, which ``kubectl apply -f`` takes as it takes YAML. Certificates are issued by ``deploy/pki``, never by
the cluster (``tls-external``), and no manifest holds a secret.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from broker.names import AgencyId
from broker.stream.kafka.plan import Grant, Plan, TopicPlan
from broker.stream.kafka.settings import common_name
from broker.stream.topics import IN_PREFIX
from deploy.kafka.local import PROPERTIES, TOPICS, properties

API: Final = "kafka.strimzi.io/v1"
CLUSTER: Final = "exchange"
NAMESPACE: Final = "exchange"
VERSION: Final = "4.3.1"
POOL: Final = "node"
NODES: Final = 3
EXTERNAL_NAME: Final = "kafka.exchange.example"
_LABELS: Final = {"strimzi.io/cluster": CLUSTER}

STRIMZI_SAYS: Final = (
    "node.id",
    "listeners",
    "advertised.listeners",
    "controller.",
    "log.dirs",
    "process.roles",
    "inter.broker.listener.name",
    "listener.",
    "ssl.client.auth",
    "ssl.keystore.",
    "ssl.truststore.",
    "ssl.endpoint.identification.algorithm",
    "ssl.principal.mapping.rules",
    "authorizer.",
    "super.users",
)
"""Settings, or their beginnings, that Strimzi writes itself and refuses from others."""


def write(folder: Path, agencies: Path) -> list[str]:
    """Writes the manifests for the agencies of a file; their names.

    Args:
        agencies: JSON with a list ``agencies``, each with ``id`` and ``kind`` (``adapters/demo/scenario.json``).
    """
    listed = json.loads(agencies.read_text("utf-8"))["agencies"]
    ids = [AgencyId(one["id"]) for one in listed]
    auditors = [AgencyId(one["id"]) for one in listed if one["kind"] == "auditor"]
    made = manifests(Plan.load(TOPICS), ids, auditors)
    folder.mkdir(parents=True, exist_ok=True)
    for name, items in made.items():
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1)
        (folder / name).write_text(text + "\n", "utf-8")
    return list(made)


def manifests(
    plan: Plan, agencies: Sequence[AgencyId], auditors: Sequence[AgencyId] = ()
) -> dict[str, list[dict[str, Any]]]:
    """File name to the objects in it."""
    return {
        "kafka.json": [node_pool(), cluster()],
        "topics.json": [topic(one) for one in plan.topics(agencies)],
        "users.json": users(plan.grants(agencies, auditors)),
    }


def config() -> dict[str, str]:
    """What ``server.properties`` says and Strimzi leaves to us."""
    said = properties(PROPERTIES.read_text("utf-8"))
    return {name: value for name, value in said.items() if not name.startswith(STRIMZI_SAYS)}


def cluster() -> dict[str, Any]:
    """Strimzi's ``Kafka``: two listeners, certificates on both sides; what no access list gives is refused."""
    mutual = {"tls": True, "authentication": {"type": "tls"}}
    inside = {"name": "inside", "port": 9093, "type": "internal", **mutual}
    outside = {"name": "agencies", "port": 9094, "type": "loadbalancer", **mutual}
    kafka = {
        "version": VERSION,
        "listeners": [
            inside | {"networkPolicyPeers": [{"podSelector": {"matchLabels": {"app": "casebridge-broker"}}}]},
            outside | {"configuration": {"bootstrap": {"alternativeNames": [EXTERNAL_NAME]}}},
        ],
        "authorization": {"type": "simple", "superUsers": ["CN=admin"]},
        "config": config(),
    }
    return _object(
        "Kafka",
        CLUSTER,
        {
            "kafka": kafka,
            # Agencies' certificates are of an authority whose key is not in the cluster: deploy/pki/README.md.
            "clientsCa": {"generateCertificateAuthority": False},
            "entityOperator": {"topicOperator": {}, "userOperator": {}},
        },
        labels={},
    )


def node_pool() -> dict[str, Any]:
    """Three nodes, each broker and controller, no two on one machine."""
    apart = {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": {"strimzi.io/pool-name": POOL}},
                    "topologyKey": "kubernetes.io/hostname",
                }
            ]
        }
    }
    volume = {"id": 0, "type": "persistent-claim", "size": "500Gi", "deleteClaim": False, "kraftMetadata": "shared"}
    return _object(
        "KafkaNodePool",
        POOL,
        {
            "replicas": NODES,
            "roles": ["controller", "broker"],
            "storage": {"type": "jbod", "volumes": [volume]},
            "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "4Gi"}},
            "jvmOptions": {"-Xms": "1g", "-Xmx": "1g"},
            "template": {"pod": {"affinity": apart}},
        },
    )


def topic(planned: TopicPlan) -> dict[str, Any]:
    """Strimzi's ``KafkaTopic``. Its object is named as Kubernetes can; the topic's own name stands in ``topicName``."""
    spec = {"topicName": planned.name, "partitions": planned.partitions, "replicas": planned.replicas}
    return _object("KafkaTopic", _object_name(planned.name), spec | {"config": dict(planned.config)})


def users(grants: Sequence[Grant]) -> list[dict[str, Any]]:
    """Strimzi's ``KafkaUser`` of each principal, with the rights of the plan and no other."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for grant in grants:
        right = _right(grant)
        held = by_name.setdefault(grant.principal, [])
        if right not in held:
            held.append(right)
    return [
        _object(
            "KafkaUser",
            name,
            {"authentication": {"type": "tls-external"}, "authorization": {"type": "simple", "acls": acls}},
        )
        for name, acls in by_name.items()
    ]


def _object_name(topic: str) -> str:
    """An agency id may be no name for Kubernetes; its principal always is one."""
    agency = topic.removeprefix(IN_PREFIX)
    return topic if agency == topic else IN_PREFIX + common_name(agency)


def _right(grant: Grant) -> dict[str, Any]:
    resource = {
        "type": "group" if grant.kind == "group" else "topic",
        "name": grant.name,
        "patternType": "prefix" if grant.kind == "prefix" else "literal",
    }
    return {"type": "allow", "resource": resource, "operations": [grant.right.capitalize()]}


def _object(kind: str, name: str, spec: dict[str, Any], *, labels: dict[str, str] = _LABELS) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}
