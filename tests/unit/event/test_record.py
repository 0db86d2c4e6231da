"""Native records: what is right becomes an event, and what is wrong is said all at once, each with its path."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from broker import limits
from broker.clock import SetClock, parse_time
from broker.errors import InputError
from broker.event.codec import decode_block, encode_block
from broker.event.model import Event, GivenRole
from broker.event.record import parse, to_native
from broker.names import AgencyId, CaseRef, Compartment, EventId, PersonRef, Role, Status

CASE = CaseRef(bytes(range(16)))
P1, P2 = PersonRef(b"\x01" * 16), PersonRef(b"\x02" * 16)
NOTICE = EventId(bytes.fromhex("019c2a5470007abc8def0123456789ab"))
ACK = EventId(bytes.fromhex("019c2a5470007abc8def0123456789ac"))
NOTICE_ID, ACK_ID = "019c2a54-7000-7abc-8def-0123456789ab", "019c2a54-7000-7abc-8def-0123456789ac"
NOW = parse_time("2026-02-04T06:20:00+05:30")


class Book:
    """A sender that knows one case with one person and two events of it."""

    def resolve_case(self, text: str) -> CaseRef | None:
        return CASE if text in ("C-7Q4K-2M9X", CASE.hex()) else None

    def person(self, case: CaseRef, alias: str) -> PersonRef | None:
        return P1 if alias in ("P-1", P1.hex()) else None

    def aliases(self, case: CaseRef) -> Mapping[PersonRef, str]:
        return {P1: "P-1"}

    def kind_of(self, event: EventId) -> tuple[str, str] | None:
        return {NOTICE: ("missing.alert", "adult"), ACK: ("ack", "opened")}.get(event)


class Twos:
    """Randomness that gives the second person's reference."""

    def bytes(self, size: int) -> bytes:
        return b"\x02" * size


def given(record: Mapping[str, Any] | bytes) -> Event:
    return parse(record, case=Book(), clock=SetClock(NOW), random=Twos())


def problems(record: Mapping[str, Any] | bytes) -> dict[str, str]:
    with pytest.raises(InputError) as refused:
        given(record)
    listed = refused.value.detail["problems"]
    assert isinstance(listed, list)
    assert refused.value.field == listed[0]["field"]
    return {entry["field"]: entry["problem"] for entry in listed}


def alert(**changes: Any) -> dict[str, Any]:
    """A right missing.alert of a child, with these keys changed; a key that is set to None is left out."""
    record: dict[str, Any] = {
        "type": "missing.alert",
        "variant": "child",
        "case": "new",
        "post": "duty-officer",
        "langs": ["hi", "en-IN"],
        "to": ["in.ncrb.mp"],
        "persons": ["P-1"],
        "fields": {"risk.level": "high"},
        "personFields": {"P-1": person()},
    }
    return {key: value for key, value in (record | changes).items() if value is not None}


def person(**changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "spot.ageBand": "12-14",
        "spot.sex": "F",
        "spot.instruction": {"code": "hold-and-call"},
        "seen.lastAt": "2026-02-01T18:00:00+05:30",
        "seen.lastArea": {"state": "IN-MP", "district": 414, "text": "bus stand area"},
    }
    return fields | {name.replace("__", "."): value for name, value in changes.items()}


def with_person(**changes: Any) -> dict[str, Any]:
    return alert(personFields={"P-1": person(**changes)})


def test_a_record_becomes_an_event_by_blocks() -> None:
    """Each field lands in its compartment, for its person where that is personal, as the codec takes it."""
    event = given(alert())
    (who,) = event.persons
    assert (event.case, event.schema_id, event.variant) == (None, 100, "child")
    assert event.aliases == {who: "P-1"}
    assert event.blocks[Compartment.CASE, None] == {"risk.level": "high"}
    spotting = event.blocks[Compartment.SPOTTING, who]
    assert spotting["spot.ageBand"] == "_12_14"
    assert spotting["seen.lastAt"] == parse_time("2026-02-01T12:30:00Z")
    assert spotting["seen.lastArea"]["text"] == [{"lang": "hi", "text": "bus stand area", "machine": False}]
    for (compartment, _), fields in event.blocks.items():
        assert decode_block(100, compartment, encode_block(100, compartment, fields)) == fields


def test_what_is_left_out_of_the_header_is_the_types_default() -> None:
    """Status is Actual, actAt is now, and the rest is what the schema states for the type."""
    clear = given(alert()).clear
    assert (clear.status, clear.act_at, clear.msg_type, clear.urgency) == (Status.ACTUAL, NOW, "Alert", "Immediate")
    assert (clear.severity, clear.certainty, clear.tlp) == ("Severe", "Likely", "AMBER+STRICT")
    assert (clear.desk_phone, clear.reply_by, clear.expires_at, clear.references) == (None, None, None, ())


def test_bytes_and_dict_say_the_same() -> None:
    """A record from a file and the same record from a program give one event."""
    assert given(json.dumps(alert()).encode()).blocks == given(alert()).blocks


def test_a_known_person_keeps_its_reference_and_a_new_one_gets_one() -> None:
    """P-1 is known in the case; P-2 is not, and gets a random reference."""
    event = given(
        {
            "type": "investigation.request",
            "case": "C-7Q4K-2M9X",
            "post": "duty-officer",
            "persons": ["P-1", "P-2"],
            "fields": {"inv.dueAt": "2026-03-01"},
            "personFields": {alias: {"inv.ask": ["locate"], "inv.basis": "section 94"} for alias in ("P-1", "P-2")},
        }
    )
    assert (event.case, event.persons, event.aliases) == (CASE, (P1, P2), {P1: "P-1", P2: "P-2"})


def test_unknown_stands_for_any_value() -> None:
    """A required field is satisfied by the word unknown, of whatever type it is."""
    event = given(alert(fields={"risk.level": "unknown"}, personFields={"P-1": dict.fromkeys(person(), "unknown")}))
    assert set(event.blocks[Compartment.SPOTTING, event.persons[0]].values()) == {"unknown"}


def test_a_role_for_a_person_is_given_for_each_person_left_open() -> None:
    """A person-scoped role without a person is given for every person; a case-scoped one once, without a person."""
    mandates = [{"role": "CH", "agency": "in.mp.cwc.mandla"}, {"role": "TP", "agency": "in.rpf.cr.nagpur"}]
    event = given(alert(mandates=mandates))
    assert event.mandates == (
        GivenRole(Role.CH, AgencyId("in.mp.cwc.mandla"), event.persons[0]),
        GivenRole(Role.TP, AgencyId("in.rpf.cr.nagpur"), None),
    )


def test_routing_fields_stand_apart() -> None:
    """op.preWarned is not a block: it goes into the routing of the event, as agency ids."""
    fields = {
        "op.place": "unknown",
        "op.window": {"from": "2026-02-04T05:00:00+05:30", "to": "2026-02-04T06:00:00+05:30"},
        "op.liaison": {"post": "duty-officer", "phone": "+910000000001"},
        "op.preWarned": ["in.kl.cwc.ernakulam"],
    }
    personal = {"spot.ageBand": "12-14", "spot.sex": "F", "spot.instruction": "unknown", "op.legalBasis": "section 94"}
    record = {"type": "intercept.request", "case": "C-7Q4K-2M9X", "post": "duty-officer", "persons": ["P-1"]}
    event = given({**record, "fields": fields, "personFields": {"P-1": personal}})
    assert event.routing == {"op.preWarned": ("in.kl.cwc.ernakulam",)}
    assert all(compartment is not Compartment.ROUTING for compartment, _ in event.blocks)


def amend(**changes: Any) -> dict[str, Any]:
    fields = {"amend.of": NOTICE_ID, "amend.reason": "age was wrong", "risk.level": "low", "alert.basis": "consent"}
    record = {"type": "amend", "variant": "correction", "case": "C-7Q4K-2M9X", "fields": fields}
    return alert(**(record | changes))


def test_an_amend_carries_the_fields_of_the_amended_event() -> None:
    """Its blocks follow the amended type's schema, its own fields stand in access, and it supersedes that event."""
    event = given(amend())
    assert (event.type, event.variant, event.schema_id) == ("amend", "correction", 100)
    assert event.clear.supersedes == NOTICE
    assert event.blocks[Compartment.ACCESS, None].keys() == {"amend.of", "amend.reason"}
    assert event.blocks[Compartment.CASE, None]["alert.basis"] == "consent"
    for (compartment, _), fields in event.blocks.items():
        assert decode_block(100, compartment, encode_block(100, compartment, fields)) == fields


AMENDS: list[tuple[str, dict[str, Any], str, str]] = [
    ("of an event that is not held", {"amend.of": "019c2a54-7000-7abc-8def-0123456789ff"}, "fields.amend.of", "hold"),
    ("of a control", {"amend.of": ACK_ID}, "fields.amend.of", "control"),
    ("of no id", {"amend.of": "M06"}, "fields.amend.of", "UUID"),
]


@pytest.mark.parametrize(("fields", "path", "says"), [row[1:] for row in AMENDS], ids=[row[0] for row in AMENDS])
def test_a_wrong_amend_is_refused(fields: dict[str, Any], path: str, says: str) -> None:
    """Only an event that the sender holds can be amended."""
    assert says in problems(amend(fields={"amend.reason": "x"} | fields))[path]


def test_an_amend_supersedes_nothing_else() -> None:
    """supersedes is the amended event; another one is refused."""
    assert "amend.of" in problems(amend(supersedes=ACK_ID))["supersedes"]


def test_an_amend_is_held_to_the_variant_that_it_amends() -> None:
    """The amended alert is of an adult: without alert.basis no identity may be given, as in the alert itself."""
    personal = {"P-1": person(person__fullName="A")}
    fields = {"amend.of": NOTICE_ID, "amend.reason": "x", "risk.level": "low"}
    assert "person-identity" in problems(amend(fields=fields, personFields=personal))["fields.alert.basis"]


OUTER: list[tuple[str, dict[str, Any], str, str]] = [
    ("a type that does not exist", {"type": "missing.alrt"}, "type", 'did you mean "missing.alert"?'),
    ("no type", {"type": None}, "type", "is missing"),
    ("a key that does not exist", {"person": ["P-1"]}, "person", 'did you mean "persons"?'),
    ("no post", {"post": None}, "post", "is missing"),
    ("a status that does not exist", {"status": "actual"}, "status", 'did you mean "Actual"?'),
    ("a variant that does not exist", {"variant": "chld"}, "variant", 'did you mean "child"?'),
    ("no variant where the type has some", {"variant": None}, "variant", "write one of child, adult"),
    ("a case that is not known", {"case": "C-0000-0000"}, "case", "not a case that you know"),
    ("an agency that is none", {"to": ["AHTU Mandla"]}, "to[0]", "agency id of the directory"),
    ("an agency twice", {"to": ["in.a", "in.a"]}, "to[1]", "named twice"),
    ("a text for a list", {"to": "in.ncrb.mp"}, "to", "write a list"),
    ("a person twice", {"persons": ["P-1", "P-1"]}, "persons[1]", "named twice"),
    ("an alias that is none", {"persons": ["Tara"]}, "persons[0]", "write an alias"),
    ("a person that nobody knows", {"persons": ["00" * 16]}, "persons[0]", "not a person that you know"),
    ("two persons where one belongs", {"persons": ["P-1", "P-2"]}, "persons", "exactly 1 of them, here are 2"),
    ("no person where one belongs", {"persons": []}, "persons", "exactly 1 of them, here are 0"),
    ("a time without an offset", {"actAt": "2026-02-04T06:20:00"}, "actAt", "with its offset"),
    ("a time that is none", {"actAt": "2026-02-30T06:20:00Z"}, "actAt", "with its offset"),
    ("an answer asked for before the act", {"replyBy": "2026-02-04T00:50:00Z"}, "replyBy", "not after actAt"),
    ("an end before the act", {"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt", "not after actAt"),
    ("a reference that is no id", {"references": ["M01"]}, "references[0]", "UUID"),
    ("a reference twice", {"references": [NOTICE_ID, NOTICE_ID]}, "references", "twice"),
    ("a telephone without country", {"deskPhone": "0141-1234"}, "deskPhone", "country code"),
    ("a language that is none", {"langs": ["Hindi"]}, "langs[0]", "language tag"),
    ("a role that does not exist", {"mandates": [{"role": "XX", "agency": "in.a"}]}, "mandates[0].role", "CH, CJ"),
    ("a standing role", {"mandates": [{"role": "NR", "agency": "in.a"}]}, "mandates[0].role", "can be given"),
    ("a role for a stranger", {"mandates": [{"role": "CH", "agency": "in.a", "person": "P-7"}]},
     "mandates[0].person", "not among the persons"),
    ("a case role for one person", {"mandates": [{"role": "TP", "agency": "in.a", "person": "P-1"}]},
     "mandates[0].person", "whole case"),
    ("a role twice", {"mandates": [{"role": "CH", "agency": "in.a"}] * 2}, "mandates", "twice"),
    ("a key of a mandate that does not exist", {"mandates": [{"role": "CH", "agency": "in.a", "persn": "P-1"}]},
     "mandates[0].persn", 'did you mean "person"?'),
    ("more persons than there may be", {"persons": [f"P-{i}" for i in range(1, 60)]}, "persons", "longer than 50"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "path", "says"), [row[1:] for row in OUTER], ids=[row[0] for row in OUTER])
def test_a_fault_of_the_outer_record_is_named(changes: dict[str, Any], path: str, says: str) -> None:
    """The path is that of the key, the sentence says what to write."""
    assert says in problems(alert(**changes))[path]


JPEG = b"\xff\xd8 an invented picture \xff\xd9"
PHOTO = {
    "name": "a.jpg",
    "mime": "image/jpeg",
    "sha256": hashlib.sha256(JPEG).hexdigest(),
    "bytes": base64.b64encode(JPEG).decode(),
}
EXIF = b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00"
AREA = {"state": "IN-MP", "text": "x"}
VALUES: list[tuple[str, str, Any, str, str]] = [
    ("a word that is not of the list", "spot.ageBand", "12-15", "", 'did you mean "12-14"?'),
    ("a number for a word", "spot.sex", 1, "", "is not one of F, M, T, U"),
    ("the symbol that is never written", "spot.sex", "not_listed", "", "is not one of"),
    ("no value", "spot.build", None, "", "leave it out"),
    ("a number for a text", "spot.marks", 7, "", "write a text, or a list"),
    ("an empty text", "spot.marks", " ", "", "write a text"),
    ("a text that is too long", "spot.marks", "x" * 201, "", "longer than 200"),
    ("a text with a control character", "spot.marks", "a\x00b", "", "control characters"),
    ("a text that is no Unicode", "spot.marks", "\ud800", "", "control characters"),
    ("a text in languages with a part too many", "spot.marks", [{"lang": "hi", "text": "x", "by": 1}], "[0]", "lang"),
    ("a text twice in one language", "spot.marks", [{"lang": "hi", "text": "x"}] * 2, "", "twice in one language"),
    ("a machine that is no truth", "spot.marks", [{"lang": "hi", "text": "x", "machine": "yes"}], "[0].machine", "true"),
    ("a time that is a number", "seen.lastAt", 1770000000, "", "with its offset"),
    ("an area with a house number", "seen.lastArea", {**AREA, "house": "12"}, ".house", "not a key here"),
    ("an area with a key misspelt", "seen.lastArea", {**AREA, "distrct": 1}, ".distrct", 'did you mean "district"?'),
    ("an area without a State", "seen.lastArea", {"text": "x"}, ".state", "is missing"),
    ("a State by name", "seen.lastArea", {"state": "Kerala", "text": "x"}, ".state", "by its code"),
    ("a text for a place", "seen.lastArea", "Mandla", "", "write an object with state"),
    ("a range turned round", "spot.heightCm", {"from": 152, "to": 148}, "", "exchange from and to"),
    ("a truth for a number", "spot.heightCm", {"from": True, "to": 148}, ".from", "whole number from 30 to 260"),
    ("a text for a list", "spot.languages", "gon", "", "write a list"),
    ("an empty list", "spot.languages", [], "", "1 to 20 items"),
    ("a point off the earth", "seen.lastExact", {**AREA, "geo": {"lat": 91, "lon": 0}}, ".geo.lat", "degrees"),
    ("a birthday that is none", "person.dateOfBirth", "2011-02-30", "", "the date or its year"),
    ("a whole identity number", "person.idDocs", [{"type": "aadhaar", "last4": "123412341234", "issuer": "UIDAI"}],
     "[0].last4", "never the whole"),
    ("a template that is a number", "person.templateRef", "123456789012", "", "never the number itself"),
    ("a picture that is no JPEG", "person.photo", {**PHOTO, "mime": "image/png"}, ".mime", "must be image/jpeg"),
    ("a picture with another hash", "person.photo", {**PHOTO, "sha256": "00" * 32}, ".sha256", "not the SHA-256"),
    ("a picture with another size", "person.photo", {**PHOTO, "size": 1}, ".size", "not the number of the bytes"),
    ("a picture with Exif data", "person.photo", {**PHOTO, "bytes": base64.b64encode(EXIF).decode()}, ".bytes", "Exif"),
    ("a picture that is not base64", "person.photo", {**PHOTO, "bytes": "%%"}, ".bytes", "base64"),
    ("a picture that is too large", "person.photo",
     {**PHOTO, "bytes": base64.b64encode(bytes(limits.INLINE_FILE_BYTES + 1)).decode()}, ".bytes", "larger than"),
    ("a telephone without country", "reporter.phone", "0141", "", "country code"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "where", "says"), [r[1:] for r in VALUES], ids=[r[0] for r in VALUES])
def test_a_fault_of_a_value_is_named(name: str, value: Any, where: str, says: str) -> None:
    """Wrong in type or form: the path leads to the part, and the sentence never repeats a text that was given."""
    found = problems(alert(personFields={"P-1": person() | {name: value}}))
    assert list(found) == [f"personFields.P-1.{name}{where}"]
    assert says in found[f"personFields.P-1.{name}{where}"]


PLACES: list[tuple[str, dict[str, Any], str, str]] = [
    ("a personal field among the others", {"fields": {"risk.level": "low", "spot.sex": "F"}}, "fields.spot.sex",
     '"personFields"'),
    ("a field of the case for one person", {"personFields": {"P-1": person(risk__level="low")}},
     "personFields.P-1.risk.level", 'put it in "fields"'),
    ("a field that does not exist", {"personFields": {"P-1": person(spot__ageband="x")}},
     "personFields.P-1.spot.ageband", 'did you mean "spot.ageBand"?'),
    ("a field of another type", {"fields": {"risk.level": "low", "cwc.nextDate": "2026-01-01"}}, "fields.cwc.nextDate",
     "is not a field of missing.alert"),
    ("a field of the other variant", {"fields": {"risk.level": "low", "alert.basis": "consent"}}, "fields.alert.basis",
     "does not exist in the variant child"),
    ("fields of a person who is not named", {"personFields": {"P-1": person(), "P-9": {}}}, "personFields.P-9",
     "not among the persons"),
    ("a required field left out", {"fields": {}}, "fields.risk.level", "is missing"),
    ("a required personal field left out", {"personFields": {}}, "personFields.P-1.spot.sex", "is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "path", "says"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES])
def test_a_field_in_the_wrong_place_is_named(changes: dict[str, Any], path: str, says: str) -> None:
    """Each field has its place, its variants and its persons."""
    assert says in problems(alert(**changes))[path]


def test_an_adult_is_named_only_with_a_basis() -> None:
    """Adult: identity and pictures need alert.basis; unknown is no basis; without them none is needed."""
    named = {"variant": "adult", "personFields": {"P-1": person(person__fullName="A", person__photo="unknown")}}
    basis = {"risk.level": "low", "alert.basis": "consent"}
    assert given(alert(**named, fields=basis)).blocks
    assert given(alert(variant="adult")).blocks
    for fields in ({"risk.level": "low"}, basis | {"alert.basis": "unknown"}):
        found = problems(alert(**named, fields=fields))
        assert found == {"fields.alert.basis": "must be given before biometrics and person-identity may be filled"}


def test_every_fault_is_reported_at_once() -> None:
    """One error lists the faults of the outer record, of values and of what is missing."""
    found = problems(alert(urgency="now", post=None, fields={}, personFields={"P-1": person(spot__sex="X")}))
    assert found.keys() == {"urgency", "post", "fields.risk.level", "personFields.P-1.spot.sex"}


def test_what_follows_from_a_fault_is_not_a_fault_of_its_own() -> None:
    """A key that could not be read is reported once, not again for what is then missing."""
    found = problems(alert(persons="P-1", fields=[], mandates=[{"role": "CH", "agency": "in.a", "person": "P-1"}]))
    assert found.keys() == {"persons", "fields"}
    assert problems(alert(variant=7, personFields=3)).keys() == {"variant", "personFields"}


def test_no_error_repeats_what_was_given() -> None:
    """A secret put in any place of a record does not come back in the error or its detail."""
    canary = "CANARY Tara Dhurwe"
    record = alert(
        post=canary,
        to=[canary],
        persons=[canary],
        case=canary,
        status=canary,
        variant=canary,
        actAt=canary,
        references=[canary],
        mandates=[{"role": canary, "agency": canary, canary: 1}],
        fields={canary: 1, "risk.level": canary},
        personFields={canary: {}, "P-1": {canary: canary}},
    )
    with pytest.raises(InputError) as refused:
        given({**record, canary: canary})
    assert "CANARY" not in str(refused.value) + repr(refused.value.detail) + refused.value.field
    canaried = alert(personFields={"P-1": dict.fromkeys(person(), canary) | {"person.idDocs": [{canary: canary}]}})
    assert "CANARY" not in repr(problems(canaried))


JSON: list[tuple[str, bytes, str]] = [
    ("no JSON", b"{", "not JSON: line 1, column 2"),
    ("no object", b"[]", "one JSON object"),
    ("no UTF-8", b'{"type": "\xff"}', "save the file as UTF-8"),
    ("a key twice", b'{"type": "ack", "type": "amend"}', "the key type stands twice"),
    ("a key twice, deep", b'{"fields": {"a": {"b": 1, "b": 2}}}', "the key b stands twice"),
    ("a number that is none", b'{"fields": {"a": NaN}}', "NaN is not a number"),
    ("an infinite number", b'{"fields": {"a": -Infinity}}', "-Infinity is not a number"),
    ("a number without end", b'{"a": ' + b"9" * 5_000 + b"}", "a number too long"),
    ("nested too deep", b'{"a":' * 100_000, "nested too deep"),
    ("too large", b" " * (limits.NATIVE_RECORD_BYTES + 1), "larger than 1000000 bytes"),
]


@pytest.mark.parametrize(("raw", "says"), [row[1:] for row in JSON], ids=[row[0] for row in JSON])
def test_only_strict_json_is_read(raw: bytes, says: str) -> None:
    """What two readers could understand differently, or a reader could choke on, is refused at the door."""
    with pytest.raises(InputError, match=says):
        given(raw)


def test_controls_are_records_like_any_other() -> None:
    """A grant names agency, person, compartments and events; its fields are the block access."""
    fields = {
        "grant.to": "in.mp.ngo.gaon-saathi",
        "grant.person": "P-1",
        "grant.compartments": ["person-identity", "location"],
        "grant.messages": [NOTICE_ID],
        "grant.until": "2026-02-20T00:00:00+05:30",
        "grant.reason": "home visit",
        "grant.post": "chair",
        "grant.orderNo": {"no": "17", "issuer": "CWC Mandla", "year": 2026},
    }
    record = {"type": "access.grant", "variant": "home-visit", "case": "C-7Q4K-2M9X", "post": "chair"}
    event = given({**record, "persons": ["P-1"], "fields": fields})
    block = event.blocks[Compartment.ACCESS, None]
    assert (block["grant.person"], block["grant.messages"]) == (P1, [NOTICE])
    assert block["grant.compartments"] == ["person_identity", "location"]
    shown = to_native(event.schema_id, Compartment.ACCESS, block, aliases=event.aliases)
    assert shown == {
        **fields,
        "grant.until": "2026-02-19T18:30:00.000Z",
        "grant.reason": [{"lang": "en-IN", "text": "home visit", "machine": False}],
    }
    stranger = problems({**record, "fields": fields | {"grant.person": "P-7"}})
    assert "not a person of this case" in stranger["fields.grant.person"]


def test_other_cases_are_named_by_what_the_sender_knows() -> None:
    """A link takes the name of a known case or any 32 hexadecimal digits."""
    fields = {"risk.level": "low", "case.links": ["C-7Q4K-2M9X", "ff" * 16]}
    assert given(alert(fields=fields)).blocks[Compartment.CASE, None]["case.links"] == [CASE, b"\xff" * 16]
    assert (
        "not a case that you know" in problems(alert(fields=fields | {"case.links": ["C-1"]}))["fields.case.links[0]"]
    )


def test_a_value_of_several_forms_is_told_apart() -> None:
    """hand.to is an agency or a guardian; anything else is refused."""
    base = {"hand.from": "unknown", "hand.condition": "good", "hand.papers": []}
    record: dict[str, Any] = {"type": "handover.record", "case": "C-7Q4K-2M9X", "post": "escort", "persons": ["P-1"]}
    record |= {"fields": {"hand.at": "2026-02-26T11:20:00+05:30"}}
    guardian = {"name": "A", "relation": "mother"}
    for to, kept in (("in.mp.cwc.mandla", "in.mp.cwc.mandla"), (guardian, "mother")):
        event = given({**record, "personFields": {"P-1": {**base, "hand.to": to}}})
        value = event.value("hand.to", P1)
        assert kept in (value, value["relation"] if isinstance(value, dict) else "")
        block = event.blocks[Compartment.LOCATION, P1]
        assert decode_block(112, Compartment.LOCATION, encode_block(112, Compartment.LOCATION, block)) == block
    assert "personFields.P-1.hand.to" in problems({**record, "personFields": {"P-1": {**base, "hand.to": 3}}})


def test_a_no_needs_its_reason() -> None:
    """cwc.within24h with false and no reason is refused."""
    record: dict[str, Any] = {"type": "cwc.order", "case": "C-7Q4K-2M9X", "post": "chair", "persons": ["P-1"]}
    record |= {"personFields": {"P-1": {"cwc.orderKind": "SIR"}}}
    fields: dict[str, Any] = {"cwc.producedAt": "2026-02-04T15:30:00+05:30", "cwc.within24h": {"value": False}}
    assert problems({**record, "fields": fields}).keys() == {"fields.cwc.within24h.reason"}
    fields["cwc.within24h"]["reason"] = "flood"
    assert given({**record, "fields": fields}).blocks
