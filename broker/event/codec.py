"""The bytes of one block: the fields of one compartment of a type, as schemaless Avro in its one canonical form.

``broker.event.binary`` makes and reads the bytes; fastavro shows a block as another version of its type has it. Values
are those of the Avro schema without logical types: a dateTime is ``Millis``, a date a number of days, a code its
symbol, a reference its bytes; ``"unknown"`` stands for a value of any field. Leaves the values that people write to
``broker.event.kinds``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import fastavro

from broker.checks import Check
from broker.errors import InputError, Invalid
from broker.event.binary import Compiled, compile_type
from broker.event.catalogue import Catalogue
from broker.names import Compartment


class BlockCodec:
    """Encodes and decodes the blocks of one compartment of one schema; holds what can be worked out once."""

    __slots__ = ("_readers", "_schema", "_writers", "allowed", "names")

    def __init__(self, catalogue: Catalogue, schema_id: int, compartment: Compartment) -> None:
        spec = catalogue.holder(schema_id, compartment)
        members = [member for member in spec.fields if member.compartment is compartment]
        self._schema = spec.block_schema(compartment)
        self.names = {member.avro_name: member.name for member in members}
        """Avro name to name of each field."""
        named: dict[str, Compiled] = {}
        parts = [(self.names[part["name"]], compile_type(part["type"], named)) for part in self._schema["fields"]]
        self._writers = tuple((name, part.write) for name, part in parts)
        self._readers = tuple((name, part.read) for name, part in parts)
        self.allowed = {
            variant: frozenset(member.name for member in members if member.in_variant(variant))
            for variant in spec.variants
        }
        """Names of the fields by variant."""

    def encode(self, fields: Mapping[str, Any]) -> bytes:
        """The block's bytes; see ``encode_block``."""
        out = bytearray()
        absent = 0
        try:
            for name, write in self._writers:
                value = fields.get(name)
                if value is None:
                    out.append(0)
                    absent += 1
                else:
                    write(value, out)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            # The error's own text could repeat the value: only its kind is kept.
            raise InputError("a value is not of the block's schema", field=name, kind=type(error).__name__) from None
        if len(self._writers) - absent != len(fields):
            raise InputError("the block has a field that its schema does not have, or one without a value")
        return bytes(out)

    def decode(self, data: bytes) -> dict[str, Any]:
        """The block's fields; see ``decode_block``."""
        fields: dict[str, Any] = {}
        at = 0
        try:
            for name, read in self._readers:
                if data[at]:
                    fields[name], at = read(data, at)
                else:
                    at += 1
        except (ValueError, IndexError, KeyError) as error:
            raise Invalid(
                Check.CONTENT, "the block is not of the form that its schema gives", kind=type(error).__name__
            ) from None
        if at != len(data):
            raise Invalid(Check.CONTENT, "the block has bytes behind its end")
        return fields

    def resolve(self, data: bytes, reader: BlockCodec) -> dict[str, Any]:
        """The fields of ``data``, which ``decode`` accepted, as the reader's version of the block has them."""
        writer = fastavro.parse_schema(self._schema)
        resolved: Any = fastavro.schemaless_reader(BytesIO(data), writer, fastavro.parse_schema(reader._schema))
        return {reader.names[name]: value for name, value in resolved.items() if value is not None}


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

    Strict: bytes that ``encode_block`` would not make of the result are refused while they are read. With
    ``variant``, fields that do not exist in it are refused. With ``reader_id``, the fields come as that version of the
    same type has them.

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
