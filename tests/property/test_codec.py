"""The bytes of blocks: every value comes back, in one form only, and any Avro tool agrees."""

from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.checks import Check
from broker.errors import InputError, Invalid
from broker.event import kinds, shapes
from broker.event.binary import compile_type, read_long
from broker.event.catalogue import Catalogue, TypeSpec
from broker.event.codec import block_codec, decode_block, encode_block
from broker.event.kinds import FORMS, Kind, Reader
from broker.event.record import to_native
from broker.event.shapes import field_kind
from broker.names import CaseRef, Compartment, PersonRef

CATALOGUE = Catalogue.load()
BLOCKS = [
    (spec.schema_id, compartment)
    for spec in CATALOGUE.by_id.values()
    for compartment in sorted({member.compartment for member in spec.fields})
]
MOMENTS = st.integers(min_value=0, max_value=4_102_444_800_000)


def texts(longest: int) -> st.SearchStrategy[str]:
    form = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=min(longest, 40))
    return form.filter(lambda text: bool(text.strip()) and text != "unknown")


def avro_values(kind: Kind) -> st.SearchStrategy[Any]:
    """Values of the kind as the codec takes them."""
    match kind:
        case kinds.Text(form="text", longest=longest):
            return texts(longest)
        case kinds.Text(form=form, longest=longest):
            known = st.from_regex(FORMS[form][0], fullmatch=True)
            return known.filter(lambda text: len(text) <= longest and bool(text.strip()) and text != "unknown")
        case kinds.Code():
            return st.sampled_from(sorted(kind.words))
        case kinds.LangTexts():
            text = st.fixed_dictionaries(
                {"lang": st.sampled_from(["hi", "en-IN", "gon"]), "text": texts(40), "machine": st.booleans()}
            )
            return st.lists(text, min_size=1, max_size=3, unique_by=lambda item: item["lang"])
        case kinds.Number():
            return st.integers(kind.least, kind.most)
        case kinds.Degrees():
            return st.integers(-kind.most, kind.most)
        case kinds.Flag():
            return st.booleans()
        case kinds.Time():
            return MOMENTS
        case kinds.Day():
            return st.integers(0, 47_000)
        case kinds.DateOrYear():
            return st.one_of(
                st.fixed_dictionaries(
                    {"year": st.integers(1900, 2200), "month": st.integers(1, 12), "day": st.integers(1, 28)}
                ),
                st.fixed_dictionaries({"year": st.integers(1900, 2200), "month": st.none(), "day": st.none()}),
            )
        case _:
            return made_values(kind)


def made_values(kind: Kind) -> st.SearchStrategy[Any]:
    """Values of kinds that are bytes or are made of others."""
    match kind:
        case kinds.Hex():
            return st.binary(min_size=kind.size, max_size=kind.size)
        case kinds.Base64():
            return st.binary(max_size=60).filter(lambda data: b"Exif" not in data)
        case shapes.EventRef() | shapes.CaseName() | shapes.PersonName():
            return st.binary(min_size=16, max_size=16)
        case shapes.Items():
            return st.lists(avro_values(kind.kind), min_size=kind.least, max_size=min(kind.most, kind.least + 2))
        case shapes.Record():
            return st.fixed_dictionaries(
                {
                    name: st.one_of(
                        avro_values(member.kind),
                        *([] if member.required else [st.none()]),
                        *([st.just("unknown")] if member.unknown else []),
                    )
                    for name, member in kind.members.items()
                }
            )
        case shapes.Either():
            return st.one_of(*map(avro_values, kind.options))
    raise AssertionError(f"no values for {kind}")


def member_values(spec: TypeSpec, compartment: Compartment) -> dict[str, st.SearchStrategy[Any]]:
    return {
        member.name: st.one_of(st.just("unknown"), avro_values(field_kind(spec.schema_id, member.name)))
        for member in spec.fields
        if member.compartment is compartment
    }


@st.composite
def blocks(draw: st.DrawFn) -> tuple[int, Compartment, dict[str, Any]]:
    """Any block of any type, with any of its fields."""
    schema_id, compartment = draw(st.sampled_from(BLOCKS))
    values = member_values(CATALOGUE.by_id[schema_id], compartment)
    return schema_id, compartment, draw(st.fixed_dictionaries({}, optional=values))


def accepted(schema_id: int, compartment: Compartment, data: bytes) -> dict[str, Any] | None:
    """The fields, or None where the bytes are refused as they must be."""
    try:
        return decode_block(schema_id, compartment, data)
    except Invalid as error:
        refused = error
    assert refused.check == Check.CONTENT
    return None


def test_there_are_blocks() -> None:
    """The corpus of blocks is that of the catalogue, not an empty list."""
    assert len(BLOCKS) > 100


@given(blocks())
def test_what_is_encoded_is_decoded(block: tuple[int, Compartment, dict[str, Any]]) -> None:
    """Decoding gives back exactly the fields that were encoded."""
    schema_id, compartment, fields = block
    assert decode_block(schema_id, compartment, encode_block(schema_id, compartment, fields)) == fields


@given(blocks())
def test_fastavro_writes_and_reads_the_same(block: tuple[int, Compartment, dict[str, Any]]) -> None:
    """The bytes are plain Avro: an independent implementation reads them so, and writes the same."""
    schema_id, compartment, fields = block
    schema = fastavro.parse_schema(CATALOGUE.holder(schema_id, compartment).block_schema(compartment))
    ours = encode_block(schema_id, compartment, fields)
    theirs: Any = fastavro.schemaless_reader(BytesIO(ours), schema, None)
    names = block_codec(schema_id, compartment).names
    assert {names[name]: value for name, value in theirs.items() if value is not None} == fields
    out = BytesIO()
    fastavro.schemaless_writer(out, schema, theirs)
    assert out.getvalue() == ours


@given(blocks(), st.integers(0, 10_000), st.integers(0, 255))
def test_other_bytes_are_refused_or_are_canonical(
    block: tuple[int, Compartment, dict[str, Any]], where: int, byte: int
) -> None:
    """A changed byte gives Invalid(CONTENT), or a block whose encoding is again exactly those bytes."""
    schema_id, compartment, fields = block
    data = bytearray(encode_block(schema_id, compartment, fields))
    data[where % len(data)] = byte
    found = accepted(schema_id, compartment, bytes(data))
    assert found is None or encode_block(schema_id, compartment, found) == data


@given(st.sampled_from(BLOCKS), st.binary(max_size=80))
@example((100, Compartment.SPOTTING), b"")
def test_any_bytes_are_refused_or_are_canonical(block: tuple[int, Compartment], data: bytes) -> None:
    """No bytes make the reader fail otherwise than by Invalid(CONTENT)."""
    found = accepted(*block, data)
    assert found is None or encode_block(*block, found) == data


@given(blocks())
def test_a_block_cut_or_lengthened_is_refused(block: tuple[int, Compartment, dict[str, Any]]) -> None:
    """Every shorter beginning and every longer form is invalid."""
    schema_id, compartment, fields = block
    data = encode_block(schema_id, compartment, fields)
    for other in [*(data[:end] for end in range(len(data))), data + b"\x00"]:
        with pytest.raises(Invalid) as refused:
            decode_block(schema_id, compartment, other)
        assert refused.value.check == Check.CONTENT


@given(blocks())
def test_what_is_shown_is_read_again(block: tuple[int, Compartment, dict[str, Any]]) -> None:
    """The JSON form of an opened block, read as a record's fields, is the same block."""
    schema_id, compartment, fields = block
    at = Reader("en-IN", lambda text: CaseRef(bytes.fromhex(text)), lambda text: PersonRef(bytes.fromhex(text)))
    for name, native in to_native(schema_id, compartment, fields).items():
        if native == "unknown":
            assert fields[name] == native
            continue
        again = field_kind(schema_id, name).read(native, at, name)
        # A file's hash, media type and size, an interval's order, an event id's version: rules that drawn values break.
        if not any(path.startswith(name) for path, _ in at.problems):
            assert again == fields[name]


STRICT: list[tuple[str, bytes]] = [
    ("a number in more bytes than needed", b"\x82\x00\x00"),
    ("a branch that the union does not have", b"\x08"),
    ("a negative branch", b"\x01"),
    ("a code beyond the list", b"\x04\x50"),
    ("a negative code", b"\x04\x01"),
    ("the symbol that stands for newer words", b"\x04\x0a"),
]


@pytest.mark.parametrize("data", [data for _, data in STRICT], ids=[name for name, _ in STRICT])
def test_other_forms_of_a_code_are_refused(data: bytes) -> None:
    """A code has one form; the list here has five words and not_listed."""
    assert decode_block(202, Compartment.ACCESS, b"\x04\x08") == {"cancel.reason": "case_closed"}
    with pytest.raises(Invalid):
        decode_block(202, Compartment.ACCESS, data)


LISTS: list[tuple[str, bytes]] = [
    ("in two pieces", b"\x02\x02a\x02\x02b\x00"),
    ("with its size in bytes", b"\x01\x04\x02a\x00"),
    ("with an end missing", b"\x02\x02a"),
    ("with text that is not UTF-8", b"\x02\x02\xff\x00"),
    ("with a negative length", b"\x02\x01\x00"),
]


@pytest.mark.parametrize("data", [data for _, data in LISTS], ids=[name for name, _ in LISTS])
def test_other_forms_of_a_list_are_refused(data: bytes) -> None:
    """A list has one form: one piece, its count, its items, its end."""
    read = compile_type({"type": "array", "items": "string"}, {}).read
    assert read(b"\x04\x02a\x02b\x00", 0) == (["a", "b"], 6)
    with pytest.raises((ValueError, IndexError)):
        read(data, 0)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_every_long_has_its_shortest_form(number: int) -> None:
    """All of 64 bits come back, as fastavro writes them."""
    out = bytearray()
    compile_type("long", {}).write(number, out)
    theirs = BytesIO()
    fastavro.schemaless_writer(theirs, "long", number)
    assert out == theirs.getvalue()
    assert read_long(bytes(out), 0) == (number, len(out))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"spot.agBand": "F"}, id="a field that is not of the block"),
        pytest.param({"spot.sex": None}, id="a field without a value"),
        pytest.param({"spot.sex": "X"}, id="a word that is not of the list"),
        pytest.param({"spot.sex": "not_listed"}, id="the symbol that is never written"),
        pytest.param({"seen.lastAt": "2026-02-01"}, id="a text for a time"),
        pytest.param({"seen.lastAt": True}, id="a truth for a time"),
        pytest.param({"seen.lastAt": 1 << 63}, id="a time beyond 64 bits"),
        pytest.param({"spot.marks": "text"}, id="a text for a text in languages"),
        pytest.param({"spot.marks": [{"lang": "hi", "text": "x"}]}, id="a part missing"),
        pytest.param({"spot.heightCm": {"from": 1, "to": 2, "by": 3}}, id="a part too many"),
    ],
)
def test_wrong_values_are_not_written(fields: dict[str, Any]) -> None:
    """What is not of the schema is an input error that does not repeat the value."""
    with pytest.raises(InputError) as refused:
        encode_block(100, Compartment.SPOTTING, fields)
    assert all(repr(value) not in str(refused.value) for value in fields.values())


def test_a_union_that_does_not_tell_its_branch_is_not_compiled() -> None:
    """Two branches with values of one Python type would be a guess: the schema is refused."""
    with pytest.raises(ValueError, match="does not tell"):
        compile_type(["null", "int", "long"], {})


def test_a_field_of_another_variant_is_refused() -> None:
    """A block with a field that its variant does not have is invalid though its bytes are well formed."""
    data = encode_block(200, Compartment.ACCESS, {"ack.reason": "unsafe"})
    assert decode_block(200, Compartment.ACCESS, data, variant="declined") == {"ack.reason": "unsafe"}
    for variant in ("opened", "no-such-variant"):
        with pytest.raises(Invalid, match="variant"):
            decode_block(200, Compartment.ACCESS, data, variant=variant)


def test_the_access_of_an_amended_event_is_that_of_amend() -> None:
    """Under an event's schema id, access is the control amend's: the amended type has no such block of its own."""
    fields = {"amend.of": bytes(16)}
    assert decode_block(105, Compartment.ACCESS, encode_block(201, Compartment.ACCESS, fields)) == fields
    with pytest.raises(InputError, match="no fields in medical"):
        encode_block(201, Compartment.MEDICAL, {})
    with pytest.raises(InputError, match="not a schema"):
        encode_block(99, Compartment.ACCESS, {})
