"""Names of topics, the partition of a key, and the table of rights."""

from __future__ import annotations

import pytest

from broker.errors import InputError
from broker.names import AgencyId
from broker.stream import topics

# Values of Kafka's own tests: org.apache.kafka.common.utils.UtilsTest.testMurmur2.
KAFKA = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "number"), KAFKA)
def test_a_key_has_the_partition_that_kafka_gives_it(key: bytes, number: int) -> None:
    """The partition of a case is the same on every driver."""
    for partitions in (1, 8, 4, 1_000_003):
        assert topics.partition_of(key, partitions) == (number & 0x7FFFFFFF) % partitions


def test_cases_spread_over_all_partitions() -> None:
    """Among 200 cases no partition of eight is empty."""
    assert {topics.partition_of(n.to_bytes(16, "big"), 8) for n in range(200)} == set(range(8))


@pytest.mark.parametrize(
    "agency", ["", "broker", "In.kl.cwc", "in..kl", "in.kl/../x", "in.kl.", "in.kl.ü", "in.kl cwc", "in." + "a" * 80]
)
def test_what_is_no_agency_id_has_no_topic_and_no_handle(agency: str) -> None:
    """Whatever could be mistaken for another topic, or for an office of the exchange, is refused."""
    for make in (topics.in_topic, topics.member, topics.auditor):
        with pytest.raises(InputError):
            make(AgencyId(agency))


@pytest.mark.parametrize("topic", ["", "casebridge", "casebridge.in.", "casebridge.in.Broker", "casebridge.events2"])
def test_a_topic_outside_the_table_has_no_rights(topic: str) -> None:
    """Every question about an unknown topic is an error, for every office."""
    for check in (topics.require_read, topics.require_write):
        with pytest.raises(InputError):
            check(topics.BROKER, topic)
    with pytest.raises(InputError):
        topics.partition_count(topic)


def test_a_member_has_the_name_of_no_office() -> None:
    """Positions of agencies and offices are kept apart."""
    names = {
        p.name
        for p in (
            topics.BROKER,
            topics.NOTARY,
            topics.OPERATOR,
            topics.member(AgencyId("in.a.b")),
            topics.auditor(AgencyId("in.a.b")),
        )
    }
    assert names == {"broker", "notary", "operator", "member:in.a.b", "auditor:in.a.b"}
