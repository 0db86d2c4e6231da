"""Avro bytes of one record schema, strictly: what is read must be what would have been written.

The only place, with ``broker.event.codec``, that knows fastavro. Logical types are left as numbers: the exchange
counts in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from io import BytesIO
from typing import Any

import fastavro

from broker.checks import Check
from broker.errors import Invalid


def _plain(schema: Any) -> Any:
    """The schema without logical types."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    return schema


class RecordCodec:
    """Encodes and decodes records of one schema as binary Avro without a container."""

    __slots__ = ("_schema",)

    def __init__(self, file: str, *needs: str) -> None:
        """Reads ``schemas/<file>``, after the files that it needs for named types."""
        named: dict[str, Any] = {}
        root = resources.files("schemas")
        for name in (*needs, file):
            raw = json.loads(root.joinpath(name).read_text("utf-8"))
            schema = fastavro.parse_schema(_plain(raw), named_schemas=named)
        self._schema = schema

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """The record's bytes."""
        out = BytesIO()
        fastavro.schemaless_writer(out, self._schema, record)
        return out.getvalue()

    def decode_from(self, data: bytes, at: int) -> tuple[dict[str, Any], int]:
        """The record whose bytes start at ``at``, and the position behind it.

        Raises:
            Invalid: check WIRE: not such a record; check CANONICAL: not the bytes that ``encode`` makes of it.
        """
        source = BytesIO(data)
        source.seek(at)
        try:
            record: dict[str, Any] = fastavro.schemaless_reader(source, self._schema, None)  # type: ignore[assignment]
            again = self.encode(record)
        except Exception as error:  # noqa: BLE001 - fastavro raises whatever the bytes make it stumble over
            kind = type(error).__name__
            raise Invalid(Check.WIRE, "the bytes are not a record of the expected form", kind=kind) from None
        end = source.tell()
        if data[at:end] != again:
            raise Invalid(Check.CANONICAL, "the bytes are not in canonical form")
        return record, end
