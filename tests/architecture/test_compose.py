"""The Compose file and the image are valid, closed, pinned, and run Kafka with the settings that the tests run with."""

from __future__ import annotations

import json
import shlex
from typing import Any, Final

import jsonschema
import pytest
import yaml

from deploy.kafka.local import ADDRESSES, PROPERTIES, properties
from deploy.pki.authority import REVOCATION
from tests.fault.processes import ROOT

FOLDER: Final = ROOT / "deploy" / "compose"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
SCHEMA: Final = json.loads((ROOT / "tests/data/compose/compose-spec.json").read_text("utf-8"))
NODES: Final = {name: said for name, said in COMPOSE["services"].items() if name.startswith("kafka-")}
OURS: Final = {name: said for name, said in COMPOSE["services"].items() if name not in NODES}
OF_THE_IMAGE: Final = {"CLUSTER_ID", "KAFKA_HEAP_OPTS", "KAFKA_OPTS"}


def lines(word: str) -> list[str]:
    """What follows this instruction of the Dockerfile, wherever it stands."""
    text = (FOLDER / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    found = [line.removeprefix(word).strip() for line in text.splitlines() if line.startswith(f"{word} ")]
    assert found, word
    return found


def test_the_file_is_what_compose_takes() -> None:
    """It passes the schema of Compose files, which refuses unknown fields."""
    jsonschema.validate(COMPOSE, SCHEMA, cls=jsonschema.Draft7Validator)


def test_a_file_with_a_fault_is_noticed() -> None:
    """The validator does refuse."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"services": {"broker": {"imago": "x"}}}, SCHEMA, cls=jsonschema.Draft7Validator)


def test_a_node_runs_with_the_settings_of_the_tests() -> None:
    """``server.properties`` is mounted as it is; each node replaces addresses, and nothing else."""
    assert len(NODES) == 3
    shipped = properties(PROPERTIES.read_text("utf-8"))
    for number, (name, said) in enumerate(sorted(NODES.items()), 1):
        assert "../kafka/server.properties:/mnt/shared/config/server.properties:ro" in said["volumes"]
        own = {
            key.removeprefix("KAFKA_").lower().replace("_", "."): value
            for key, value in said["environment"].items()
            if key not in OF_THE_IMAGE
        }
        assert own.keys() <= ADDRESSES & shipped.keys()
        assert (own["node.id"], own["advertised.listeners"]) == (str(number), f"CLIENTS://{name}:9093")
        assert said["environment"]["KAFKA_OPTS"].split() == list(REVOCATION)
        for setting in ("ssl.keystore.location", "ssl.truststore.location"):
            assert any(f":{shipped[setting]}:" in volume for volume in said["volumes"])


def test_each_process_has_what_it_needs_and_no_more() -> None:
    """No capability, no new privilege, a bound on memory; ours: not root, nothing to write but their folder, no swap."""
    for said in COMPOSE["services"].values():
        assert said["cap_drop"] == ["ALL"]
        assert said["security_opt"] == ["no-new-privileges:true"]
        assert said["mem_limit"]
        assert "ports" not in said
        assert not said.get("privileged")
    for said in OURS.values():
        assert said["read_only"]
        assert said["user"] == "10001:10001"
        assert said["memswap_limit"] == said["mem_limit"]
        assert {need["condition"] for need in said["depends_on"].values()} == {"service_healthy"}
        assert set(said["depends_on"]) == set(NODES)


def test_images_are_named_exactly() -> None:
    """Kafka's is the release that the tests run; no tag means "the newest"."""
    tested = PROPERTIES.with_name("jars.sha256").read_text("utf-8")
    for said in NODES.values():
        assert f"kafka_2.13-{said['image'].removeprefix('apache/kafka:')}.jar" in tested
    for image in lines("FROM"):
        assert ":" in image
        assert ":latest" not in image


def test_the_image_installs_what_the_lock_names_and_is_not_root() -> None:
    """Every installation by pip goes by hashes, but for our own wheel; the last user is an ordinary one."""
    installs = [shlex.split(part) for run in lines("RUN") for part in run.split("&&") if "pip install" in part]
    assert installs
    for words in installs:
        assert "--no-deps" in words
        assert "--require-hashes" in words or words[-1] == "/wheel/*.whl"
    assert lines("USER") == ["10001:10001"]
