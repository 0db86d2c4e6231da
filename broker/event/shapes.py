"""Kinds that are made of others (references, lists, records, alternatives), and the kind of every Avro type.

Continues ``broker.event.kinds``, whose rules hold here too.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from broker import limits
from broker.errors import InputError
from broker.event import kinds
from broker.event.catalogue import UNKNOWN, UNKNOWN_TYPE, Catalogue, full_name
from broker.event.kinds import Kind, Reader
from broker.names import PersonRef

_HEX16: Final = re.compile("[0-9a-f]{32}")


def read_event_id(value: Any, at: Reader, path: str) -> bytes | None:
    """An event id as UUID text; None after a fault."""
    try:
        found = UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or str(found) != value or found.version != 7:
        at.wrong(path, "write the id of an event as the exchange shows it, a UUID in lower case")
        return None
    return found.bytes


@dataclass(frozen=True, slots=True)
class EventRef:
    """An event, by its id."""

    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> bytes | None:
        return read_event_id(value, at, path)

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return str(UUID(bytes=value))


@dataclass(frozen=True, slots=True)
class CaseName:
    """A case, by its name where the sender knows it, or by its 32 hexadecimal digits."""

    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> bytes | None:
        if isinstance(value, str) and _HEX16.fullmatch(value):
            return bytes.fromhex(value)
        found = at.case(value) if isinstance(value, str) else None
        if found is None:
            at.wrong(path, "is not a case that you know; write its name, or its 32 hexadecimal digits")
        return found

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return value.hex()


@dataclass(frozen=True, slots=True)
class PersonName:
    """A person of the case, by alias or by 32 hexadecimal digits."""

    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> bytes | None:
        found = at.person(value) if isinstance(value, str) else None
        if found is None:
            at.wrong(path, 'is not a person of this case; write an alias of its list, for example "P-1"')
        return found

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return aliases.get(value) or value.hex()


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    kind: Kind
    least: int
    most: int
    takes: tuple[type, ...] = (list,)

    def read(self, value: Any, at: Reader, path: str) -> list[Any] | None:
        if not isinstance(value, list):
            at.wrong(path, "write a list, in square brackets")
        elif not self.least <= len(value) <= self.most:
            at.wrong(path, f"write a list of {self.least} to {self.most} items")
        else:
            return [self.kind.read(item, at, f"{path}[{i}]") for i, item in enumerate(value)]
        return None

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return [self.kind.show(item, aliases) for item in value]


@dataclass(frozen=True, slots=True)
class Member:
    """One key of a record; ``unknown`` where the word "unknown" may stand for its value."""

    kind: Kind
    required: bool
    unknown: bool


Check = Callable[[dict[str, Any], Reader, str], None]


@dataclass(frozen=True, slots=True)
class Record:
    """An object with known keys."""

    members: Mapping[str, Member]
    checks: tuple[Check, ...]
    takes: tuple[type, ...] = (dict,)

    def read(self, value: Any, at: Reader, path: str) -> dict[str, Any] | None:
        keys = ", ".join(name if member.required else f"{name} (optional)" for name, member in self.members.items())
        if not isinstance(value, dict):
            at.wrong(path, f"write an object with {keys}")
            return None
        before = len(at.problems)
        for key in sorted(value.keys() - self.members.keys()):
            at.wrong(
                f"{path}.{kinds.safe_key(key)}", f"is not a key here; known are {keys}{kinds.near(key, self.members)}"
            )
        out: dict[str, Any] = {}
        for name, member in self.members.items():
            given = value.get(name)
            if given is None:
                out[name] = None
                if member.required:
                    at.wrong(f"{path}.{name}", "is missing")
            else:
                whole = member.unknown and given == UNKNOWN
                out[name] = UNKNOWN if whole else member.kind.read(given, at, f"{path}.{name}")
        if len(at.problems) == before:
            for check in self.checks:
                check(out, at, path)
        return out

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return {
            name: UNKNOWN if member.unknown and value[name] == UNKNOWN else member.kind.show(value[name], aliases)
            for name, member in self.members.items()
            if value[name] is not None
        }


@dataclass(frozen=True, slots=True)
class Either:
    """One of several kinds, told apart by the form of the value."""

    options: tuple[Kind, ...]
    takes: tuple[type, ...] = (str, list, dict)

    def read(self, value: Any, at: Reader, path: str) -> Any:
        for option in self.options:
            if isinstance(value, option.takes):
                return option.read(value, at, path)
        at.wrong(path, "write a text or an object, as the field's description says")
        return None

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        option = next(option for option in self.options if isinstance(value, option.takes))
        return option.show(value, aliases)


# --- rules inside one value -------------------------------------------------------------------------------------------


def _in_order(value: dict[str, Any], at: Reader, path: str) -> None:
    if value["to"] < value["from"]:
        at.wrong(path, "ends before it begins; exchange from and to")


def _reason(value: dict[str, Any], at: Reader, path: str) -> None:
    if not value["value"] and value["reason"] is None:
        at.wrong(f"{path}.reason", "is missing; say why not")


def _file(mimes: tuple[str, ...]) -> Check:
    def check(value: dict[str, Any], at: Reader, path: str) -> None:
        data = value["bytes"]
        if mimes and value["mime"] not in mimes:
            at.wrong(f"{path}.mime", f"must be {' or '.join(mimes)} here")
        if data is not None:
            if hashlib.sha256(data).digest() != value["sha256"]:
                at.wrong(f"{path}.sha256", "is not the SHA-256 of the bytes")
            if value["size"] is None:
                value["size"] = len(data)
            elif value["size"] != len(data):
                at.wrong(f"{path}.size", "is not the number of the bytes; correct it or leave it out")

    return check


_CHECKS: Final[Mapping[str, Check]] = {
    "casebridge.type.Range": _in_order,
    "casebridge.type.Window": _in_order,
    "casebridge.type.YesOrReason": _reason,
}
_REFS: Final[Mapping[str, Kind]] = {
    "casebridge.type.EventRef": EventRef(),
    "casebridge.type.CaseRef": CaseName(),
    "casebridge.type.PersonRef": PersonName(),
}


# --- from Avro --------------------------------------------------------------------------------------------------------


def kind_of(schema: Any, attributes: Mapping[str, Any], types: Mapping[str, Any]) -> Kind:
    """The kind of an Avro type; ``attributes`` are those of the field that holds it, ``types`` its named types.

    Raises:
        ValueError: no kind is known for the type (a released schema always has one; a test holds it).
    """
    if isinstance(schema, list):
        return Either(tuple(kind_of(option, attributes, types) for option in schema))
    if isinstance(schema, str):
        return kind_of(types[schema], attributes, types) if schema in types else _primitive(schema, attributes)
    match schema["type"]:
        case "record":
            return _record(schema, attributes, types)
        case "array":
            return _array(schema["items"], attributes, types)
        case "enum":
            words = schema["codes"]
            return kinds.Code({word: symbol for symbol, word in words.items()}, words)
        case "fixed":
            return _REFS.get(full_name(schema)) or kinds.Hex(schema["size"])
        case _ if schema.get("logicalType") == "timestamp-millis":
            return kinds.Time()
        case _ if schema.get("logicalType") == "date":
            return kinds.Day()
        case _:
            return _primitive(schema["type"], attributes)


def _primitive(name: str, attributes: Mapping[str, Any]) -> Kind:
    match name:
        case "string":
            return kinds.Text(attributes["form"], attributes.get("max", limits.AGENCY_ID_CHARS))
        case "boolean":
            return kinds.Flag()
        case "bytes":
            return kinds.Base64(attributes.get("maxBytes", limits.INLINE_FILE_BYTES))
        case "int" if attributes.get("form") == "degrees-e6":
            return kinds.Degrees(attributes["max"])
        case "int" | "long":
            return kinds.Number(attributes["min"], attributes["max"])
    raise ValueError(f"no kind for the Avro type {name}")


def _array(items: Any, attributes: Mapping[str, Any], types: Mapping[str, Any]) -> Kind:
    if _resolved(items, types).get("name") == "LangText":
        return kinds.LangTexts(attributes["max"])
    return Items(kind_of(items, attributes, types), attributes.get("minItems", 0), attributes["maxItems"])


def _record(schema: Mapping[str, Any], attributes: Mapping[str, Any], types: Mapping[str, Any]) -> Kind:
    name = full_name(schema)
    if name == "casebridge.type.DateOrYear":
        return kinds.DateOrYear()
    members: dict[str, Member] = {}
    for part in schema["fields"]:
        options = part["type"] if isinstance(part["type"], list) else [part["type"]]
        real = [option for option in options if option != "null" and not _is_unknown(option)]
        kind = kind_of(real[0] if len(real) == 1 else real, part, types)
        members[part["name"]] = Member(kind, "null" not in options, any(map(_is_unknown, options)))
    if name == "casebridge.type.FileRef":
        members["bytes"] = Member(_primitive("bytes", attributes), False, False)
        return Record(members, (_file(tuple(attributes.get("mime", ()))),))
    return Record(members, (_CHECKS[name],) if name in _CHECKS else ())


def _is_unknown(schema: Any) -> bool:
    return schema == UNKNOWN_TYPE or (isinstance(schema, dict) and schema.get("name") == "Unknown")


def _resolved(schema: Any, types: Mapping[str, Any]) -> Mapping[str, Any]:
    found = types.get(schema, {}) if isinstance(schema, str) else schema
    return found if isinstance(found, Mapping) else {}


@functools.cache
def field_kind(schema_id: int, name: str) -> Kind:
    """The kind of a field of a released schema.

    Raises:
        InputError: there is no such schema, or it has no such field.
    """
    spec = Catalogue.load().by_schema_id(schema_id)
    member = spec.find(name)
    if member is None:
        raise InputError(f"{spec.name} has no such field", field=kinds.safe_key(name))
    schema = member.branches[0] if len(member.branches) == 1 else list(member.branches)
    return kind_of(schema, member.attributes, spec.types)
