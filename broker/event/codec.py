"""The bytes of one block: the fields of one compartment of a type, as schemaless Avro in its one canonical form.

Only here and in ``broker.event.avro`` is fastavro known. Values are those of the Avro schema without logical types:
a dateTime is ``Millis``, a date a number of days, a code its symbol, a reference its bytes; ``"unknown"`` stands for
a value of any field. Leaves the values that people write to ``broker.event.kinds``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

import fastavro

from broker.checks import Check
from broker.errors import InputError, Invalid
from broker.event.catalogue import NAMED, UNKNOWN, UNKNOWN_TYPE, Catalogue, FieldSpec
from broker.names import Compartment

_UNKNOWN_VALUE: Final = (UNKNOWN_TYPE, UNKNOWN)


class BlockCodec:
    """Encodes and decodes the blocks of one compartment of one schema; holds what can be worked out once."""

    __slots__ = ("_branch", "_names", "_schema", "allowed")

    def __init__(self, catalogue: Catalogue, schema_id: int, compartment: Compartment) -> None:
        spec = catalogue.holder(schema_id, compartment)
        members = [member for member in spec.fields if member.compartment is compartment]
        self._schema = fastavro.parse_schema(spec.block_schema(compartment))
        self._names = {member.avro_name: member.name for member in members}
        self._branch = {member.name: (member.avro_name, _branch(member)) for member in members}
        self.allowed = {
            variant: frozenset(member.name for member in members if member.in_variant(variant))
            for variant in spec.variants
        }
        """Names of the fields by variant."""

    def encode(self, fields: Mapping[str, Any]) -> bytes:
        """The block's bytes; see ``encode_block``."""
        branch = self._branch
        record: dict[str, Any] = {}
        out = BytesIO()
        try:
            for name, value in fields.items():
                avro_name, kind = branch[name]
                # Naming the branch spares fastavro from validating the value against each branch in turn.
                if value == UNKNOWN:
                    record[avro_name] = _UNKNOWN_VALUE
                else:
                    record[avro_name] = value if kind is None else (kind, value)
            fastavro.schemaless_writer(out, self._schema, record)
        except Exception as error:  # noqa: BLE001  fastavro raises whatever the value makes it stumble over
            raise InputError("the fields are not of the block's schema", kind=type(error).__name__) from None
        return out.getvalue()

    def decode(self, data: bytes) -> dict[str, Any]:
        """The block's fields; see ``decode_block``."""
        source = BytesIO(data)
        try:
            record: Any = fastavro.schemaless_reader(source, self._schema, None)
            names = self._names
            fields = {names[name]: value for name, value in record.items() if value is not None}
            again = self.encode(fields)
        except Exception as error:  # noqa: BLE001  fastavro raises whatever the bytes make it stumble over
            raise Invalid(
                Check.CONTENT, "the block is not of the form that its schema gives", kind=type(error).__name__
            ) from None
        # The end of the data is proved too: what was read is written again and must be all there was.
        if again != data:
            raise Invalid(Check.CONTENT, "the block is not in canonical form")
        return fields

    def resolve(self, data: bytes, reader: BlockCodec) -> dict[str, Any]:
        """The fields of ``data``, which ``decode`` accepted, as the reader's version of the block has them."""
        resolved: Any = fastavro.schemaless_reader(BytesIO(data), self._schema, reader._schema)
        return {reader._names[name]: value for name, value in resolved.items() if value is not None}


def _branch(member: FieldSpec) -> str | None:
    """How fastavro names the one branch of the field's union, or None where the value itself must tell."""
    if len(member.branches) != 1:
        return None
    schema = member.branches[0]
    if isinstance(schema, str):
        return schema
    if schema["type"] in NAMED:
        return f"{schema['namespace']}.{schema['name']}"
    return str(schema["type"])


@functools.cache
def block_codec(schema_id: int, compartment: Compartment) -> BlockCodec:
    """The codec of this compartment of this released schema.

    Raises:
        InputError: there is no such schema, or it has no field in that compartment.
    """
    return BlockCodec(Catalogue.load(), schema_id, compartment)


def encode_block(schema_id: int, compartment: Compartment, fields: Mapping[str, Any]) -> bytes:
    """The bytes of a block with these fields (name to value); a field that is left out is absent.

    For the compartment access of an event that is amended, ``schema_id`` is that of the amended type.

    Raises:
        InputError: there is no such block, or a field or value is not of its schema.
    """
    return block_codec(schema_id, compartment).encode(fields)


def decode_block(
    schema_id: int,
    compartment: Compartment,
    data: bytes,
    *,
    variant: str | None = None,
    reader_id: int | None = None,
) -> dict[str, Any]:
    """The fields (name to value) of a block that was written under ``schema_id``; only those that were given.

    Strict: the bytes must be exactly what ``encode_block`` makes of the result. With ``variant``, fields that do not
    exist in it are refused. With ``reader_id``, the fields come as that version of the same type has them.

    Raises:
        Invalid: check CONTENT.
        InputError: there is no such schema or block.
    """
    codec = block_codec(schema_id, compartment)
    reader = None if reader_id is None else block_codec(reader_id, compartment)
    fields = codec.decode(data)
    if variant is not None and not fields.keys() <= codec.allowed.get(variant, frozenset()):
        raise Invalid(Check.CONTENT, "the block has a field that its variant does not have")
    return fields if reader is None or reader is codec else codec.resolve(data, reader)
