"""What may be said: every event type and control, its variants and its fields, as the released schemas state them.

The Avro files under ``schemas/`` are the one truth; ``schemas/catalogue.json`` gives each released version its
number for ever and the hash of its file. Leaves bytes to ``broker.event.codec``, the values that people write to
``broker.event.kinds`` and who may say what to ``broker.policy``.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Final, Self

from broker.errors import ConfigError, InputError
from broker.names import NO_VARIANT, Compartment

UNKNOWN: Final = "unknown"
"""Stands for a value of any field that exists but is not known yet."""

UNKNOWN_TYPE: Final = "casebridge.type.Unknown"
NAMED: Final = ("record", "enum", "fixed")
_STRUCTURE: Final = frozenset({"type", "name", "fields", "items", "symbols", "size", "default"})


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a type.

    ``branches`` are its Avro types without the two that every field has (null for absent, and Unknown); a field
    with several takes any of them. ``variants`` is None where the field exists in every variant. ``attributes``
    are what the schema states beside (``max``, ``form``, ``maxItems``, ``mime``, ``maxBytes``, ``visible``).
    """

    name: str
    avro_name: str
    compartment: Compartment
    personal: bool
    requirement: str
    variants: frozenset[str] | None
    about: str
    doc: str
    branches: tuple[Any, ...]
    attributes: Mapping[str, Any]

    def in_variant(self, variant: str) -> bool:
        """Whether the field exists in this variant."""
        return self.variants is None or variant in self.variants


@dataclass(frozen=True, slots=True)
class Need:
    """In these variants, the compartments stay empty unless ``field`` is given."""

    variants: frozenset[str]
    compartments: frozenset[Compartment]
    field: str


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """One released version of an event type or control.

    ``persons_max`` is None where there is no bound but ``limits.PERSONS``. ``defaults`` are the header fields that
    a record may leave out (``msgType``, ``urgency``, ``severity``, ``certainty``, ``tlp``). ``amend_id`` is the
    schema of the compartment access where this type is amended (an amend carries the schema id of the amended
    type, so that its blocks are read like those of the event it replaces); None for controls.
    """

    name: str
    schema_id: int
    version: int
    control: bool
    variants: tuple[str, ...]
    fields: tuple[FieldSpec, ...]
    persons_min: int
    persons_max: int | None
    needs: tuple[Need, ...]
    defaults: Mapping[str, str]
    amend_id: int | None
    record: Mapping[str, Any] = field(repr=False)
    """The released Avro schema."""
    types: Mapping[str, Any] = field(repr=False)
    """Its named types by full name."""

    def find(self, name: str) -> FieldSpec | None:
        """The field of this name, or None."""
        return next((spec for spec in self.fields if spec.name == name), None)

    def in_variant(self, variant: str) -> tuple[FieldSpec, ...]:
        """The fields that exist in this variant."""
        return tuple(spec for spec in self.fields if spec.in_variant(variant))

    def block_schema(self, compartment: Compartment) -> dict[str, Any]:
        """The Avro schema of one block: a record ``<type>.<compartment>`` with the fields of that compartment.

        Named types stand in full where they come first. Logical types are left out: inside the exchange a dateTime
        is ``Millis`` and a date a number of days.

        Raises:
            InputError: the type has no field in that compartment.
        """
        chosen = [spec.avro_name for spec in self.fields if spec.compartment is compartment]
        if not chosen:
            raise InputError(f"{self.name} has no fields in {compartment.label}", field="compartment")
        by_name = {member["name"]: member for member in self.record["fields"]}
        seen: set[str] = set()
        return {
            "type": "record",
            "name": f"{self.record['namespace']}.{compartment.label.replace('-', '_')}",
            "fields": [
                {"name": name, "type": _bare(by_name[name]["type"], self.types, seen), "default": None}
                for name in chosen
            ],
        }


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every released version, by number and by name."""

    by_id: Mapping[int, TypeSpec]
    newest: Mapping[str, TypeSpec]
    digest: bytes
    """SHA-256 of ``catalogue.json``; it pins every released file, so it stands for the schemas as a whole."""

    @classmethod
    @functools.cache
    def load(cls) -> Self:
        """The catalogue that this installation carries; read once.

        Raises:
            ConfigError: a file is missing, or is not the one that was released.
        """
        root = resources.files("schemas")
        try:
            listing = root.joinpath("catalogue.json").read_bytes()
            entries = json.loads(listing)["schemas"]
            files = {entry["file"]: root.joinpath(entry["file"]).read_bytes() for entry in entries}
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError("the schemas of this installation are incomplete; install it again") from error
        return cls.of(entries, files, listing)

    @classmethod
    def of(cls, entries: Iterable[Mapping[str, Any]], files: Mapping[str, bytes], listing: bytes) -> Self:
        """A catalogue of these entries and the bytes of their files.

        Raises:
            ConfigError: a file is not the one that was released, a number is given twice, or nothing is listed.
        """
        by_id: dict[int, TypeSpec] = {}
        newest: dict[str, TypeSpec] = {}
        for entry in entries:
            raw = files[entry["file"]]
            if hashlib.sha256(raw).hexdigest() != entry["sha256"]:
                raise ConfigError(f"schemas/{entry['file']} is not the file that was released; restore it")
            spec = _type_spec(entry, json.loads(raw))
            if spec.schema_id in by_id or spec.name != entry["type"] or spec.version != entry["version"]:
                raise ConfigError(f"schemas/catalogue.json and {entry['file']} do not agree")
            by_id[spec.schema_id] = spec
            if spec.name not in newest or newest[spec.name].version < spec.version:
                newest[spec.name] = spec
        if not by_id:
            raise ConfigError("schemas/catalogue.json lists no schema")
        return cls(by_id, newest, hashlib.sha256(listing).digest())

    def type(self, name: str) -> TypeSpec:
        """The newest version of a type.

        Raises:
            InputError: there is no such type.
        """
        try:
            return self.newest[name]
        except KeyError:
            raise InputError(f"{name!r} is not an event type or control of the catalogue", field="type") from None

    def by_schema_id(self, schema_id: int) -> TypeSpec:
        """The version with this number.

        Raises:
            InputError: there is no such number.
        """
        try:
            return self.by_id[schema_id]
        except KeyError:
            raise InputError(f"{schema_id} is not a schema of the catalogue", field="schema_id") from None

    def holder(self, schema_id: int, compartment: Compartment) -> TypeSpec:
        """The version whose record holds this block: the numbered one, or, for the compartment access of an event
        that is amended, the control amend.

        Raises:
            InputError: there is no such number.
        """
        spec = self.by_schema_id(schema_id)
        if compartment is Compartment.ACCESS and spec.amend_id is not None:
            return self.by_schema_id(spec.amend_id)
        return spec

    def compartments(self, name: str, variant: str = NO_VARIANT) -> tuple[Compartment, ...]:
        """The compartments that hold a field of this type in this variant, in the order of their numbers.

        Routing is left out: its fields ride in the slots, not in a block.

        Raises:
            InputError: there is no such type or variant.
        """
        spec = self.type(name)
        if variant not in spec.variants:
            raise InputError(f"{variant!r} is not a variant of {name}", field="variant")
        held = {member.compartment for member in spec.in_variant(variant)}
        return tuple(sorted(held - {Compartment.ROUTING}))


def _type_spec(entry: Mapping[str, Any], record: dict[str, Any]) -> TypeSpec:
    return TypeSpec(
        name=record["eventType"],
        schema_id=entry["id"],
        version=record["version"],
        control=record["kind"] == "control",
        variants=tuple(record["variants"]),
        fields=tuple(_field_spec(member) for member in record["fields"]),
        persons_min=record["persons"]["min"],
        persons_max=record["persons"]["max"],
        needs=tuple(
            Need(frozenset(need["variant"]), frozenset(map(Compartment.of, need["compartments"])), need["field"])
            for need in record.get("needs", ())
        ),
        defaults=record["defaults"],
        amend_id=entry.get("amend"),
        record=record,
        types=dict(_named(record)),
    )


_FIELD_KEYS: Final = frozenset(
    {"name", "doc", "type", "default", "field", "compartment", "personal", "requirement", "variants", "about"}
)


def _field_spec(member: Mapping[str, Any]) -> FieldSpec:
    return FieldSpec(
        name=member["field"],
        avro_name=member["name"],
        compartment=Compartment.of(member["compartment"]),
        personal=member["personal"],
        requirement=member["requirement"],
        variants=frozenset(member["variants"]) if "variants" in member else None,
        about=member.get("about", ""),
        doc=member["doc"],
        branches=tuple(member["type"][2:]),
        attributes={key: value for key, value in member.items() if key not in _FIELD_KEYS},
    )


def full_name(schema: Mapping[str, Any]) -> str:
    """The full name of a named type; the released files always give the namespace beside the name."""
    return f"{schema['namespace']}.{schema['name']}" if "namespace" in schema else str(schema["name"])


def _named(schema: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, list):
        for item in schema:
            yield from _named(item)
    elif isinstance(schema, dict):
        if schema.get("type") in NAMED:
            yield full_name(schema), schema
        for key in ("type", "items", "fields"):
            if isinstance(schema.get(key), dict | list):
                yield from _named(schema[key])


def _bare(schema: Any, types: Mapping[str, Any], seen: set[str]) -> Any:
    """The schema with structure only, each named type in full at its first place and by name afterwards."""
    if isinstance(schema, list):
        return [_bare(item, types, seen) for item in schema]
    if isinstance(schema, str):
        return _bare(types[schema], types, seen) if schema in types else schema
    if schema.get("type") in NAMED:
        name = full_name(schema)
        if name in seen:
            return name
        seen.add(name)
        bare = {key: value for key, value in schema.items() if key in _STRUCTURE} | {"name": name}
        if "fields" in bare:
            bare["fields"] = [_bare_field(member, types, seen) for member in bare["fields"]]
        return bare
    if schema["type"] == "array":
        return {"type": "array", "items": _bare(schema["items"], types, seen)}
    return _bare(schema["type"], types, seen)


def _bare_field(member: Mapping[str, Any], types: Mapping[str, Any], seen: set[str]) -> dict[str, Any]:
    bare = {key: value for key, value in member.items() if key in {"name", "default"}}
    return bare | {"type": _bare(member["type"], types, seen)}
