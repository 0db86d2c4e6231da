"""A cluster's settings, topics and rights as files say them: read strictly, and the same as the program has them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from broker.errors import ConfigError
from broker.names import AgencyId
from broker.stream import topics
from broker.stream.kafka.plan import Grant, Plan
from broker.stream.kafka.settings import Identity, Settings, common_name, kafka_name
from deploy.kafka import jars, local, pki
from deploy.pki.authority import PkiError
from tests.unit.stream.contract import AGENCIES, CWC, PRINCIPALS, RIGHTS

GOOD = {"version": 1, "bootstrap": ["k1:9093", "[::1]:9093"], "authority": "authority.pem", "clients": "clients"}


def test_settings_are_seen_from_their_folder(tmp_path: Path) -> None:
    """Paths in the file are relative to it; what it leaves out is safe."""
    (tmp_path / "kafka.json").write_text(json.dumps(GOOD))
    found = Settings.load(tmp_path / "kafka.json")
    assert (found.authority, found.clients) == (tmp_path / "authority.pem", tmp_path / "clients")
    assert (found.prefix, found.unsafe_sender_time) == ("", False)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"bootstrap": []},
        {"bootstrap": ["k1"]},
        {"bootstrap": "k1:9093"},
        {"authority": None},
        {"clients": 1},
        {"prefix": "Exercise."},
        {"unsafe_sender_time": "yes"},
        {"password": "x"},
    ],
    ids=lambda change: json.dumps(change),
)
def test_settings_that_are_not_understood_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is guessed, and nothing that is not known is passed over."""
    (tmp_path / "kafka.json").write_text(json.dumps(GOOD | change))
    with pytest.raises(ConfigError, match=r"kafka\.json"):
        Settings.load(tmp_path / "kafka.json")


def test_the_declared_rights_are_those_of_the_table() -> None:
    """Each row of the table of rights is in the plan, and nothing else is."""
    plan = Plan.load(local.TOPICS)
    grants = plan.grants([CWC], [CWC])
    expected = {Grant(name, "group", f"casebridge.{name}", "read") for name in ("broker", "notary", "operator")}
    expected |= {Grant(CWC, "group", f"casebridge.{office}.{CWC}", "read") for office in ("member", "auditor")}
    for who, topic, writes, reads in RIGHTS:
        principal = PRINCIPALS[who].agency or who
        if writes:
            own = topic.startswith(topics.IN_PREFIX)
            expected.add(Grant(principal, "prefix" if own else "topic", topics.IN_PREFIX if own else topic, "write"))
        if reads:
            expected.add(Grant(principal, "topic", topic, "read"))
    assert Counter(grants) == Counter(expected)


def test_every_agency_has_a_topic_of_its_own() -> None:
    """Topics are those of the exchange, three times over, and never with a sender's time or packed."""
    made = Plan.load(local.TOPICS).topics(AGENCIES)
    assert [one.name for one in made] == [*topics.CENTRAL, *map(topics.in_topic, AGENCIES)]
    for one in made:
        assert one.partitions == topics.partition_count(one.name)
        assert one.replicas == 3
        assert one.config["min.insync.replicas"] == "2"
        assert one.config["message.timestamp.type"] == "LogAppendTime"
        assert one.config["compression.type"] == "uncompressed"
        assert one.config["cleanup.policy"] == "delete"
        kept = "15552000000" if one.name.startswith(topics.IN_PREFIX) else "-1"
        assert one.config["retention.ms"] == kept


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('reads = ["own"]', 'reads = ["member"]'),
        ("partitions = 4", "partitions = 6"),
        ('[topics."casebridge.audit"]', '[topics."casebridge.ledger"]'),
        ("min_insync_replicas = 2", "min_insync_replicas = 4"),
        ("retention_days = 180", "retention_days = 0"),
        ("version = 1", "version = 2"),
        ("replicas = 3", "replicas ="),
    ],
)
def test_a_plan_that_says_otherwise_is_refused(old: str, new: str, tmp_path: Path) -> None:
    """A cluster is never given other topics or rights than the program has."""
    text = local.TOPICS.read_text("utf-8")
    assert old in text
    (tmp_path / "topics.toml").write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(ConfigError, match="does not declare"):
        Plan.load(tmp_path / "topics.toml")


def test_a_local_node_has_the_settings_that_are_shipped() -> None:
    """Only addresses and sizes may differ, and each of them is a setting of the file."""
    shipped = local.properties(local.PROPERTIES.read_text("utf-8"))
    assert shipped.keys() >= local.ADDRESSES | local.SIZES
    for nodes in (1, 3):
        cluster = local.Cluster(Path("somewhere"), "id", [(1, 2)] * nodes, {})
        own = cluster.own_settings(nodes)
        assert own.keys() <= local.ADDRESSES | local.SIZES
        replicas = {name for name in own if name.endswith((".factor", ".isr", ".replicas"))}
        assert bool(replicas) is (nodes == 1)


def test_jars_that_are_not_the_listed_ones_are_not_used(tmp_path: Path) -> None:
    """A file with another digest, one too many and one too few are named."""
    (tmp_path / "a.jar").write_bytes(b"a")
    (tmp_path / "b.jar").write_bytes(b"b")
    digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert jars.wrong(tmp_path, {"a.jar": digest, "b.jar": digest, "c.jar": digest}) == ["c.jar", "b.jar"]
    assert jars.wrong(tmp_path, {"a.jar": digest}) == ["b.jar"]
    assert len(jars.listed()) > 50


def _identity(folder: Path) -> Identity:
    pki.create_authority(folder)
    pki.issue_clients(folder, [CWC])
    return Identity.load(Settings(("k:1",), folder / pki.AUTHORITY, folder / pki.CLIENTS), CWC)


def test_a_renewed_certificate_is_taken_up_and_a_bad_one_is_not(tmp_path: Path) -> None:
    """The file counts when it changes; a damaged one, or one that others may read, leaves the old in force."""
    identity = _identity(tmp_path)
    assert not identity.renew()
    pki.issue(tmp_path, CWC, identity.path)
    assert identity.renew()
    assert not identity.renew()
    identity.path.chmod(0o644)
    assert not identity.renew()
    identity.path.unlink()
    assert not identity.renew()
    pki.issue(tmp_path, CWC, identity.path)
    identity.path.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    assert not identity.renew()


@pytest.mark.parametrize("fault", ["missing", "open to others", "a folder", "damaged"])
def test_a_certificate_that_cannot_be_used_is_named(fault: str, tmp_path: Path) -> None:
    """Without it nothing is opened, and the operator is told which file it is."""
    identity = _identity(tmp_path)
    match fault:
        case "missing":
            identity.path.unlink()
        case "open to others":
            identity.path.chmod(0o640)
        case "a folder":
            identity.path.unlink()
            identity.path.mkdir()
        case _:
            identity.path.write_bytes(b"nothing")
            identity.path.chmod(0o600)
    with pytest.raises(ConfigError, match=str(CWC)):
        Identity.load(Settings(("k:1",), tmp_path / pki.AUTHORITY, tmp_path / pki.CLIENTS), CWC)


def test_a_name_that_no_certificate_can_hold_is_refused(tmp_path: Path) -> None:
    """X.509 ends a common name at 64 characters."""
    pki.create_authority(tmp_path)
    with pytest.raises(PkiError, match="64"):
        pki.issue(tmp_path, "in." + "a" * 62, tmp_path / "x.pem")


LONG = AgencyId("in.zz." + "x" * 74)
NAMED = [
    ("an ordinary id is its own name", str(CWC), str(CWC)),
    ("64 characters still fit", "in." + "a" * 61, "in." + "a" * 61),
    ("65 do not", "in." + "a" * 62, hashlib.sha256(b"in." + b"a" * 62).hexdigest()),
    ("a part that ends with a dash is no host's", "in.a-.b", hashlib.sha256(b"in.a-.b").hexdigest()),
]


@pytest.mark.parametrize(("agency", "name"), [row[1:] for row in NAMED], ids=[row[0] for row in NAMED])
def test_an_agency_is_named_by_its_id_or_by_its_digest(agency: str, name: str) -> None:
    """What cannot be a common name is replaced by 64 hex digits, which no agency id can be."""
    assert common_name(agency) == name
    assert len(name) <= 64


def test_an_agency_with_a_long_id_has_a_certificate_and_its_rights(tmp_path: Path) -> None:
    """Its file, its certificate and its access lists carry the same name; topic and group keep the id."""
    pki.create_authority(tmp_path)
    pki.issue_clients(tmp_path, [LONG])
    name = kafka_name(topics.member(LONG))
    Identity.load(Settings(("k:1",), tmp_path / pki.AUTHORITY, tmp_path / pki.CLIENTS), name)
    grants = Plan.load(local.TOPICS).agency_grants(LONG)
    assert {grant.principal for grant in grants} == {name}
    assert topics.in_topic(LONG) in {grant.name for grant in grants}
