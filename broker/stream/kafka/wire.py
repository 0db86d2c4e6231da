"""What the driver says to Kafka beyond the client library's own calls: topic ids, and access lists many at a time.

Kafka's protocol guide gives the layouts: Metadata v12, CreateAcls v1.
"""

from __future__ import annotations

from typing import Any, Final

from aiokafka.protocol.admin import CreateAclsRequest_v1, DescribeAclsRequest_v1
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

NO_ID: Final = bytes(16)
_ANY: Final = 1


class Uuid(AbstractType):  # type: ignore[misc]
    """Sixteen bytes as they are."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """The bytes."""
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        """The bytes.

        Raises:
            ValueError: fewer than sixteen are left.
        """
        value: bytes = data.read(16)
        if len(value) != 16:
            raise ValueError("an id is cut off")
        return value


class MetadataResponseV12(Response):  # type: ignore[misc]
    """Brokers and topics, each topic with its id."""

    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class MetadataRequestV12(RequestStruct):  # type: ignore[misc]
    """Asks for topics by name; none is made by asking."""

    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = MetadataResponseV12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", Uuid), ("name", CompactString()), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class Fixed:
    """A request of one version, as the client library sends it."""

    def __init__(self, struct: Any) -> None:
        self._struct = struct

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """The request, whatever versions the node speaks besides."""
        return self._struct


def describe(name: str) -> Fixed:
    """Asks for one topic."""
    return Fixed(MetadataRequestV12([(NO_ID, name, {})], False, False, {}))


def create_acls(entries: list[tuple[int, str, int, str, str, int, int]]) -> Fixed:
    """Adds access list entries: resource type, name, pattern type, principal, host, operation, permission."""
    return Fixed(CreateAclsRequest_v1(entries))


def describe_acls() -> Fixed:
    """Asks for every access list entry."""
    return Fixed(DescribeAclsRequest_v1(_ANY, None, _ANY, None, None, _ANY, _ANY))
