"""The released schemas: complete against the domain's table, unchanged, readable by any Avro tool, and never broken."""

import hashlib
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest

from broker.errors import ConfigError
from broker.event.catalogue import Catalogue, TypeSpec
from broker.event.codec import BlockCodec, block_codec, decode_block, encode_block
from broker.event.kinds import Reader
from broker.event.record import to_native
from broker.event.shapes import field_kind
from broker.names import PERSON_SCOPED, Compartment, PersonRef

TESTS = Path(__file__).parents[2]
SCHEMAS = TESTS.parent / "schemas"
EXPECTED: dict[str, Any] = json.loads((TESTS / "data" / "event_fields.json").read_text("utf-8"))
CATALOGUE = Catalogue.load()
RELEASED = sorted(CATALOGUE.by_id.values(), key=lambda spec: spec.schema_id)
P1 = PersonRef(bytes(range(16)))


def exemplar(spec: TypeSpec) -> dict[str, Any]:
    path = TESTS / "vectors" / "schemas" / spec.name / f"v{spec.version}.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert found, f"{path} is empty"
    return found


def read(spec: TypeSpec, native: dict[str, Any]) -> dict[str, Any]:
    at = Reader("en-IN", lambda _: None, lambda alias: P1 if alias == "P-1" else None)
    fields = {
        name: value if value == "unknown" else field_kind(spec.schema_id, name).read(value, at, name)
        for name, value in native.items()
    }
    assert not at.problems
    return fields


def test_the_corpus_is_not_empty() -> None:
    """Seventeen event types and seven controls are released, and the table that they are held against is as long."""
    assert len([spec for spec in RELEASED if not spec.control]) == 17
    assert len([spec for spec in RELEASED if spec.control]) == 7
    assert EXPECTED.keys() == {spec.name for spec in RELEASED}


def test_numbers_say_what_they_number() -> None:
    """Events are numbered from 100, controls from 200; below 100 is the envelope's; an event names its amend schema."""
    for spec in RELEASED:
        assert spec.schema_id // 100 == (2 if spec.control else 1)
        assert (spec.amend_id is None) == spec.control
        assert spec.control or CATALOGUE.by_id[spec.amend_id or 0].name == "amend"


@pytest.mark.parametrize("spec", RELEASED, ids=lambda spec: f"{spec.name} v{spec.version}")
class TestEachVersion:
    def test_any_avro_tool_parses_it(self, spec: TypeSpec) -> None:
        """The file is an Avro schema by itself; every field is a union that begins with null and Unknown."""
        assert fastavro.parse_schema(dict(spec.record))
        for member in spec.record["fields"]:
            assert member["type"][0] == "null"
            assert member["default"] is None
            second = member["type"][1]
            assert (second if isinstance(second, str) else second["name"]).endswith("Unknown")
            assert member["doc"].endswith(".")

    def test_it_has_exactly_the_fields_of_the_domain(self, spec: TypeSpec) -> None:
        """Name, compartment, personal, requirement, variants and what it is about are those of the domain's table."""
        expected = EXPECTED[spec.name]
        assert list(spec.variants) == expected["variants"]
        assert [spec.persons_min, spec.persons_max] == expected["persons"]
        assert [
            {"variant": sorted(n.variants), "compartments": [c.label for c in sorted(n.compartments)], "field": n.field}
            for n in spec.needs
        ] == expected["needs"]
        assert [
            [
                member.name,
                member.compartment.label,
                member.personal,
                member.requirement,
                sorted(member.variants) if member.variants else None,
                member.about or None,
            ]
            for member in spec.fields
        ] == [row[:6] for row in expected["fields"]]

    def test_personal_follows_the_compartment(self, spec: TypeSpec) -> None:
        """A field is personal exactly where its compartment is sealed once for each person."""
        assert all(member.personal == (member.compartment in PERSON_SCOPED) for member in spec.fields)

    def test_a_code_list_can_grow(self, spec: TypeSpec) -> None:
        """Every code list has a default symbol for what a later version adds, and a word for each other symbol."""
        lists = [named for named in spec.types.values() if named["type"] == "enum" and named["name"] != "Unknown"]
        for named in lists:
            assert named["default"] == "not_listed"
            assert [*named["codes"], "not_listed"] == named["symbols"]
            assert len(set(named["codes"].values())) == len(named["codes"])

    def test_its_exemplar_is_written_and_read_to_the_byte(self, spec: TypeSpec) -> None:
        """The exemplar fills every field; its blocks are the stored bytes, and the stored bytes show it again."""
        given = exemplar(spec)
        assert {name for block in given.values() for name in block} == {member.name for member in spec.fields}
        for label, native in given.items():
            compartment = Compartment.of(label)
            path = TESTS / "vectors" / "schemas" / spec.name / f"v{spec.version}.{label}.avro"
            assert encode_block(spec.schema_id, compartment, read(spec, native)) == path.read_bytes()
            fields = decode_block(spec.schema_id, compartment, path.read_bytes())
            assert to_native(spec.schema_id, compartment, fields, aliases={P1: "P-1"}) == native

    def test_an_older_exemplar_reads_as_every_other_version(self, spec: TypeSpec) -> None:
        """Full transitive: what one version wrote, every other version of the subject reads, both ways."""
        for other in RELEASED:
            if other.name == spec.name:
                assert faults(dict(spec.record), dict(other.record)) == []
                for label, native in exemplar(spec).items():
                    compartment = Compartment.of(label)
                    writer = block_codec(spec.schema_id, compartment)
                    reader = block_codec(other.schema_id, compartment)
                    data = writer.encode(read(spec, native))
                    assert writer.resolve(data, reader).keys() >= native.keys() & {f.name for f in other.fields}


def test_every_field_takes_unknown() -> None:
    """Any field of any type can be sealed as "unknown", so that which blocks exist does not depend on the story."""
    for spec in RELEASED:
        for member in spec.fields:
            data = encode_block(spec.schema_id, member.compartment, {member.name: "unknown"})
            assert decode_block(spec.schema_id, member.compartment, data) == {member.name: "unknown"}


def listing() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / "catalogue.json").read_text("utf-8"))
    return found


def test_a_released_file_never_changes() -> None:
    """The catalogue's hash is that of the file, and no schema file stands outside the catalogue."""
    entries = listing()["schemas"]
    for entry in entries:
        assert hashlib.sha256((SCHEMAS / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    on_disk = {
        str(path.relative_to(SCHEMAS)) for group in ("events", "controls") for path in SCHEMAS.glob(f"{group}/*/*")
    }
    assert on_disk == {entry["file"] for entry in entries}


FIRST_EVENTS = [
    "missing.alert",
    "transit.alert",
    "sighting.report",
    "intercept.request",
    "intercept.result",
    "rescue.notice",
    "cwc.order",
    "shelter.placement",
    "verify.request",
    "verify.report",
    "repatriation.request",
    "repatriation.order",
    "handover.record",
    "followup.report",
    "investigation.request",
    "prosecution.update",
    "legalaid.compensation",
]
FIRST_CONTROLS = [
    "ack",
    "amend",
    "cancel",
    "access.grant",
    "access.withdraw",
    "disclosure.request",
    "disclosure.decision",
]


def test_a_number_never_changes() -> None:
    """The first version of each type keeps the number that it was released with."""
    numbers = {entry["type"]: entry["id"] for entry in listing()["schemas"] if entry["version"] == 1}
    expected = dict(zip(FIRST_EVENTS, range(100, 117), strict=True)) | dict(
        zip(FIRST_CONTROLS, range(200, 207), strict=True)
    )
    assert numbers == expected


def test_a_damaged_file_is_refused_on_loading() -> None:
    """A file that is not the released one is a fault of the installation, not another truth."""
    entries = listing()["schemas"]
    files = {entry["file"]: (SCHEMAS / entry["file"]).read_bytes() for entry in entries}
    files[entries[0]["file"]] += b" "
    with pytest.raises(ConfigError, match="not the file that was released"):
        Catalogue.of(entries, files, b"")
    with pytest.raises(ConfigError, match="lists no schema"):
        Catalogue.of([], {}, b"")


# --- compatibility ----------------------------------------------------------------------------------------------------


def faults(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Why versions of a subject do not read each other, both ways; empty where they do."""
    names = ({}, {})  # type: tuple[dict[str, Any], dict[str, Any]]
    found: list[str] = []
    if one["name"] != other["name"] or one["namespace"] != other["namespace"]:
        found.append("the record has another name")
    _compare(one, other, "", names, found)
    return found


def _full(schema: Any, names: dict[str, Any]) -> Any:
    if isinstance(schema, str):
        return names.get(schema, schema)
    if isinstance(schema, dict) and schema.get("type") in ("record", "enum", "fixed"):
        names[f"{schema['namespace']}.{schema['name']}"] = schema
    return schema


def _compare(one: Any, other: Any, path: str, names: tuple[dict[str, Any], dict[str, Any]], found: list[str]) -> None:
    a, b = _full(one, names[0]), _full(other, names[1])
    if isinstance(a, list) or isinstance(b, list):
        if not (isinstance(a, list) and isinstance(b, list) and len(a) == len(b)):
            found.append(f"{path}: another union")
        else:
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                _compare(x, y, f"{path}|{i}", names, found)
        return
    kinds = [x["type"] if isinstance(x, dict) else x for x in (a, b)]
    if kinds[0] != kinds[1]:
        found.append(f"{path}: another type")
    elif kinds[0] == "record":
        _compare_records(a, b, path, names, found)
    elif kinds[0] == "array":
        _compare(a["items"], b["items"], f"{path}[]", names, found)
    elif kinds[0] == "enum":
        if a.get("default") != b.get("default") or (a["symbols"] != b["symbols"] and "default" not in a):
            found.append(f"{path}: a code list that cannot grow")
        if a["name"] != b["name"]:
            found.append(f"{path}: another name")
    elif kinds[0] == "fixed" and (a["size"], a["name"]) != (b["size"], b["name"]):
        found.append(f"{path}: another size or name")


def _compare_records(a: Any, b: Any, path: str, names: tuple[dict[str, Any], dict[str, Any]], found: list[str]) -> None:
    left, right = ({member["name"]: member for member in side["fields"]} for side in (a, b))
    for name in [*left, *(name for name in right if name not in left)]:
        here = f"{path}.{name}"
        if name in left and name in right:
            _compare(left[name]["type"], right[name]["type"], here, names, found)
            if left[name].get("compartment") != right[name].get("compartment"):
                found.append(f"{here}: another compartment")
        else:
            only = left.get(name) or right[name]
            _full(only["type"], names[0 if name in left else 1])
            if "default" not in only:
                found.append(f"{here}: stands in one version only and has no default")
            if only.get("requirement") == "yes":
                found.append(f"{here}: is required in one version only")


def changed(edit: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(CATALOGUE.type("cancel").record))
    edit(copy)
    return copy


def new_symbol(schema: dict[str, Any]) -> None:
    schema["fields"][0]["type"][2]["symbols"].insert(-1, "transferred")
    schema["fields"][0]["type"][2]["codes"]["transferred"] = "transferred"


def new_optional_field(schema: dict[str, Any]) -> None:
    extra = {"name": "cancel_note", "field": "cancel.note", "doc": "A note.", "requirement": "no", "compartment": "access",
             "personal": False, "default": None, "type": ["null", "casebridge.type.Unknown", "string"], "form": "text", "max": 200}  # fmt: skip
    schema["fields"].append(extra)


def removed_field(schema: dict[str, Any]) -> None:
    schema["fields"].clear()


def other_type(schema: dict[str, Any]) -> None:
    schema["fields"][0]["type"][2] = "string"


def other_compartment(schema: dict[str, Any]) -> None:
    schema["fields"][0]["compartment"] = "case"


def no_default(schema: dict[str, Any]) -> None:
    del schema["fields"][0]["type"][2]["default"]
    new_symbol(schema)


def renamed(schema: dict[str, Any]) -> None:
    schema["namespace"] = "casebridge.control.stop"


def second(edit: Any) -> Catalogue:
    """The released cancel and a second version of it, made by ``edit``."""
    first = next(entry for entry in listing()["schemas"] if entry["type"] == "cancel")
    raw = json.dumps({**changed(edit), "version": 2}).encode()
    entry = {**first, "id": 299, "version": 2, "file": "v2", "sha256": hashlib.sha256(raw).hexdigest()}
    return Catalogue.of([first, entry], {first["file"]: (SCHEMAS / first["file"]).read_bytes(), "v2": raw}, b"")


@pytest.mark.parametrize("edit", [new_symbol, new_optional_field], ids=["a new symbol", "a new optional field"])
def test_growth_is_compatible(edit: Any) -> None:
    """A symbol or an optional field more: either version reads the other's bytes."""
    assert faults(changed(edit), changed(lambda _: None)) == []
    catalogue = second(edit)
    old, new = (BlockCodec(catalogue, number, Compartment.ACCESS) for number in (202, 299))
    assert old.resolve(old.encode({"cancel.reason": "found"}), new) == {"cancel.reason": "found"}
    assert new.resolve(new.encode({"cancel.reason": "found"}), old) == {"cancel.reason": "found"}


def test_a_symbol_that_an_older_version_does_not_know_reads_as_not_listed() -> None:
    """An older reader gets the default symbol for a newer word, not a fault and not another word."""
    catalogue = second(new_symbol)
    old, new = (BlockCodec(catalogue, number, Compartment.ACCESS) for number in (202, 299))
    data = new.encode({"cancel.reason": "transferred"})
    assert new.resolve(data, old) == {"cancel.reason": "not_listed"}


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        pytest.param(removed_field, "required in one version only", id="a required field removed"),
        pytest.param(other_type, "another type", id="a type changed"),
        pytest.param(other_compartment, "another compartment", id="a field moved to another compartment"),
        pytest.param(no_default, "cannot grow", id="a code list without default"),
        pytest.param(renamed, "another name", id="a record renamed"),
    ],
)
def test_breaking_changes_are_found(edit: Any, fault: str) -> None:
    """What would make a version unreadable by another, or change its meaning, is named."""
    assert any(fault in found for found in faults(changed(edit), changed(lambda _: None)))
