"""The manifests that are shipped are valid, closed, free of secrets, and say what the declared cluster says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest
import yaml

from adapters.kafka import TOPICS_FILE
from broker.names import AgencyId
from broker.stream.kafka.plan import Plan
from deploy.kafka import manifests
from deploy.kafka.local import HERE, PROPERTIES, properties
from tests.fault.processes import ROOT

KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
FILES: Final = sorted([*KUBERNETES.glob("*.yaml"), *KUBERNETES.glob("generated/*.json")])
STRIMZI: Final = {path.stem: json.loads(path.read_text()) for path in (ROOT / "tests/data/strimzi").glob("*.json")}
SCENARIO: Final = ROOT / "adapters" / "demo" / "scenario.json"
KUBERNETES_VERSION: Final = "1.34"


def objects(path: Path) -> list[dict[str, Any]]:
    """Every object of a file, those of a list one by one."""
    found = [one for one in yaml.safe_load_all(path.read_text("utf-8")) if one]
    return [item for one in found for item in (one["items"] if one["kind"] == "List" else [one])]


def every(kind: str) -> list[dict[str, Any]]:
    """Every shipped object of this kind; there is at least one."""
    found = [one for path in FILES for one in objects(path) if one["kind"] == kind]
    assert found, kind
    return found


def closed(schema: Any) -> Any:
    """The schema, refusing every field that it does not name."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: closed(value) for name, value in schema.items()}
    named = isinstance(made.get("properties"), dict) and "additionalProperties" not in made
    if named and "x-kubernetes-preserve-unknown-fields" not in made:
        made["additionalProperties"] = False
    return made


def require_valid(thing: dict[str, Any]) -> None:
    """Raises where the API server would refuse it."""
    if thing["kind"] in STRIMZI:
        assert thing["apiVersion"] == manifests.API
        schema = STRIMZI[thing["kind"]]
        jsonschema.validate(thing["spec"], closed(schema["properties"]["spec"]))
    else:
        kubernetes_validate.validate(thing, KUBERNETES_VERSION, strict=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_manifest_is_what_the_cluster_takes(path: Path) -> None:
    """Every object passes the schema of its kind, with unknown fields refused."""
    for thing in objects(path):
        require_valid(thing)


FAULTS: Final = [
    ("an unknown field of Strimzi", "KafkaUser", lambda spec: spec.update(rights="all")),
    ("an unknown kind of authentication", "KafkaUser", lambda spec: spec["authentication"].update(type="none")),
    ("an unknown field of Kubernetes", "StatefulSet", lambda spec: spec.update(replica=2)),
]


@pytest.mark.parametrize(("kind", "spoil"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_manifest_with_a_fault_is_noticed(kind: str, spoil: Any) -> None:
    """The validators do refuse."""
    (thing, *_) = every(kind)
    spoil(thing["spec"])
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        require_valid(thing)


def test_what_is_generated_is_what_is_shipped(tmp_path: Path) -> None:
    """After a change: python -m deploy.kafka manifests deploy/kubernetes/generated --agencies adapters/demo/scenario.json."""
    names = manifests.write(tmp_path, SCENARIO)
    shipped = KUBERNETES / "generated"
    assert {path.name for path in shipped.iterdir()} == set(names)
    for name in names:
        assert (tmp_path / name).read_text() == (shipped / name).read_text(), name


def test_kubernetes_has_every_setting_of_a_node() -> None:
    """What ``server.properties`` says is in the ``Kafka`` object, or is one of those that Strimzi writes itself."""
    (kafka,) = every("Kafka")
    config = kafka["spec"]["kafka"]["config"]
    said = properties(PROPERTIES.read_text("utf-8"))
    assert config.items() <= said.items()
    assert all(name.startswith(manifests.STRIMZI_SAYS) for name in set(said) - set(config))
    assert config["allow.everyone.if.no.acl.found"] == "false"
    for listener in kafka["spec"]["kafka"]["listeners"]:
        assert (listener["tls"], listener["authentication"]) == (True, {"type": "tls"})


def test_kubernetes_gives_the_rights_of_the_plan_and_no_other() -> None:
    """Topic by topic and right by right, with the names that Kafka knows."""
    agencies = json.loads(SCENARIO.read_text("utf-8"))["agencies"]
    ids = [AgencyId(one["id"]) for one in agencies]
    plan = Plan.load(HERE / TOPICS_FILE)
    grants = plan.grants(ids, [AgencyId(one["id"]) for one in agencies if one["kind"] == "auditor"])
    given = {
        (
            user["metadata"]["name"],
            acl["resource"]["patternType"] == "prefix",
            acl["resource"]["name"],
            *acl["operations"],
        )
        for user in every("KafkaUser")
        for acl in user["spec"]["authorization"]["acls"]
    }
    assert given == {(one.principal, one.kind == "prefix", one.name, one.right.capitalize()) for one in grants}
    assert {topic["spec"]["topicName"] for topic in every("KafkaTopic")} == {one.name for one in plan.topics(ids)}


def test_an_agency_that_kubernetes_cannot_name_has_a_topic_and_a_user() -> None:
    """Objects carry the digest, the topic its own name."""
    odd = AgencyId("in.a-." + "x" * 70)
    made = manifests.manifests(Plan.load(HERE / TOPICS_FILE), [odd])
    for thing in [*made["topics.json"], *made["users.json"]]:
        require_valid(thing)
        for part in thing["metadata"]["name"].split("."):
            assert part.strip("-") == part
    assert f"casebridge.in.{odd}" in {one["spec"]["topicName"] for one in made["topics.json"]}


def containers() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every container of ours, with its pod."""
    for one in every("StatefulSet"):
        pod = one["spec"]["template"]["spec"]
        yield from ((pod, each) for each in pod["containers"] + pod["initContainers"])


def test_a_container_has_no_privilege() -> None:
    """Not root, nothing to write but its volumes, no capability, no token of the cluster, a bound on memory."""
    for pod, each in containers():
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["automountServiceAccountToken"] is False
        said = each["securityContext"]
        assert (said["allowPrivilegeEscalation"], said["readOnlyRootFilesystem"]) == (False, True)
        assert said["capabilities"] == {"drop": ["ALL"]}
        assert each["resources"]["limits"]["memory"]


def test_no_manifest_holds_a_secret() -> None:
    """No ``Secret``, no value in the environment: what is secret is mounted, and made by hand."""
    assert not [one for path in FILES for one in objects(path) if one["kind"] == "Secret"]
    assert not [each for _, each in containers() if "env" in each]


def test_a_namespace_is_closed_by_default() -> None:
    """In each namespace a policy takes everything away from every pod."""
    closing = {
        one["metadata"]["namespace"]
        for one in every("NetworkPolicy")
        if one["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    }
    assert closing == {one["metadata"]["name"] for one in every("Namespace")}
