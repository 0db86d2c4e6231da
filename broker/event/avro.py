"""Avro bytes of one record schema, strictly: what is read must be what would have been written.

The only place, with ``broker.event.codec``, that knows fastavro. Logical types are left as numbers: the exchange
counts in milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from io import BytesIO
from typing import Any

import fastavro

from broker.checks import Check
from broker.errors import Invalid
from broker.event.binary import Compiled, compile_type


def _plain(schema: Any) -> Any:
    """The schema without logical types."""
    if isinstance(schema, dict):
        plain = {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
        return plain["type"] if plain.keys() == {"type"} else plain
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    return schema


class RecordCodec:
    """Encodes and decodes records of one schema as binary Avro without a container.

    ``broker.event.binary`` does it; fastavro only tells what is wrong with bytes that are refused.
    """

    __slots__ = ("_reads", "_schema", "_writes")

    def __init__(self, file: str, *needs: str) -> None:
        """Reads ``schemas/<file>``, after the files that it needs for named types."""
        named: dict[str, Any] = {}
        compiled: dict[str, Compiled] = {}
        root = resources.files("schemas")
        for name in (*needs, file):
            raw = _plain(json.loads(root.joinpath(name).read_text("utf-8")))
            schema = fastavro.parse_schema(raw, named_schemas=named)
            parts = [compile_type(part["type"], compiled) for part in raw["fields"]]
        self._schema = schema
        self._writes = tuple(part.write for part in parts)
        self._reads = tuple(part.read for part in parts)

    def encode(self, values: Sequence[Any]) -> bytes:
        """The bytes of the record with these values, in the order of the schema's fields.

        Raises:
            ValueError, TypeError, KeyError or AttributeError: a value is not of the schema.
        """
        out = bytearray()
        for write, value in zip(self._writes, values, strict=True):
            write(value, out)
        return bytes(out)

    def decode_from(self, data: bytes, at: int) -> tuple[list[Any], int]:
        """The values of the record whose bytes start at ``at``, and the position behind it.

        Raises:
            Invalid: check WIRE: not such a record; check CANONICAL: not the bytes that ``encode`` makes of it.
        """
        values = []
        place = at
        try:
            for read in self._reads:
                value, place = read(data, place)
                values.append(value)
        except (ValueError, IndexError, KeyError) as error:
            raise self._refusal(data, at, error) from None
        return values, place

    def _refusal(self, data: bytes, at: int, error: Exception) -> Invalid:
        """Bytes that a lax reader takes are not in canonical form; others are no record at all."""
        try:
            fastavro.schemaless_reader(BytesIO(data[at:]), self._schema, None)
        except Exception:  # noqa: BLE001 - fastavro raises whatever the bytes make it stumble over
            kind = type(error).__name__
            return Invalid(Check.WIRE, "the bytes are not a record of the expected form", kind=kind)
        return Invalid(Check.CANONICAL, "the bytes are not in canonical form")
