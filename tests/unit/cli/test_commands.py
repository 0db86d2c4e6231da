"""The command line: what people type, what they read, and what happens when they mistype."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.cli.words import plain
from broker.names import AgencyId
from tests.story.small_exchange import AUDITOR, CWC, HOME, OTHER, alert
from tests.unit.cli.terminal import Desk, Done, typed

OPEN: Final = ("--post", "duty-officer", "--purpose", "case-work")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """An exchange at the present time."""
    return Desk.create(tmp_path_factory.mktemp("cli") / "exchange")


@pytest.fixture(scope="module")
def event(desk: Desk) -> str:
    """An alert that has arrived."""
    return str(desk.publish(alert())["event"])


def _envelopes(desk: Desk, agency: AgencyId) -> int:
    connection = sqlite3.connect(f"file:{desk.home(agency)}/outbox.sqlite?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT COUNT(*) FROM envelopes").fetchone()[0])
    finally:
        connection.close()


def _text(record: Any) -> str:
    return record if isinstance(record, str) else json.dumps(record)


def _changed(**changes: Any) -> Callable[[], Any]:
    return lambda: alert(**changes)


def _field(name: str, value: Any, where: str = "P-1") -> Callable[[], Any]:
    def made() -> Any:
        record = alert()
        (record["fields"] if where == "fields" else record["personFields"][where])[name] = value
        return record

    return made


def _without(name: str) -> Callable[[], Any]:
    def made() -> Any:
        record = alert()
        del record["personFields"]["P-1"][name]
        return record

    return made


WRONG: Final[list[tuple[str, int, str, Callable[[], Any]]]] = [
    ("it is not JSON", 3, "the record is not JSON: line 1, column 2: ", lambda: "{not json"),
    ("it is no object", 3, "the record must be one JSON object, in braces", lambda: "[1, 2]"),
    ("it is empty", 3, "the file is empty; a record is a JSON object", lambda: " "),
    (
        "a key is given twice",
        3,
        "the key type stands twice in one object; keep one",
        lambda: '{"type": "missing.alert", "type": "missing.alert"}',
    ),
    (
        "a field is unknown",
        3,
        'personFields.P-1.spot.shoes: is not a field of missing.alert; did you mean "spot.sex"?',
        _field("spot.shoes", "red"),
    ),
    ("a code is not in the list", 3, "personFields.P-1.spot.sex: is not one of F, M, T, U", _field("spot.sex", "girl")),
    (
        "a field is of another variant",
        3,
        "fields.alert.basis: does not exist in the variant child of missing.alert; leave it out",
        _field("alert.basis", "consent", "fields"),
    ),
    (
        "a field that is needed is not there",
        3,
        'personFields.P-1.spot.sex: is missing; missing.alert needs it: a value, or "unknown"',
        _without("spot.sex"),
    ),
    (
        "the person is missing",
        3,
        "persons: missing.alert names exactly 1 of them, here are 0",
        _changed(persons=[], personFields={}, mandates=[]),
    ),
    (
        "a person too many, without fields",
        3,
        "persons: missing.alert names exactly 1 of them, here are 2",
        _changed(persons=["P-1", "P-2"]),
    ),
    (
        "an agency is not in the directory",
        3,
        "to: 'in.xx.nobody' is not in the directory; take an id from the directory",
        _changed(to=[OTHER, CWC, "in.xx.nobody"]),
    ),
    (
        "a role is given that the sender may not give",
        4,
        "mandates: nobody gives the role CJ in a missing.alert; it can give CH",
        _changed(mandates=[{"role": "CH", "agency": CWC}, {"role": "CJ", "agency": CWC, "person": "P-1"}]),
    ),
    (
        "one that must be addressed is not",
        4,
        "to: a missing.alert must address NR: add in.ncrb.mp",
        _changed(to=[OTHER, CWC, "in.kl.police.ahtu.ernakulam"]),
    ),
    (
        "the type does not exist",
        3,
        'type: is not an event type or control; did you mean "missing.alert"?',
        _changed(type="missing.person"),
    ),
    (
        "the case is not known",
        3,
        'case: is not a case that you know; write its name, its 32 hexadecimal digits, or "new"',
        _changed(case="C-0000-0000"),
    ),
]


@pytest.mark.parametrize("command", ["publish", "preview"])
@pytest.mark.parametrize(("sentence", "code", "says", "make"), WRONG, ids=[one[0] for one in WRONG])
def test_a_wrong_record_gets_plain_lines_and_leaves_nothing(
    sentence: str, code: int, says: str, make: Callable[[], Any], command: str, desk: Desk
) -> None:
    """The first line names the field and says what to do; the exit code tells whose turn it is; nothing is kept."""
    before = _envelopes(desk, HOME)
    done = desk.types(HOME, command, "-", said=_text(make()))
    assert (done.code, done.out) == (code, ""), sentence
    lines = done.err.splitlines()
    assert lines[0].startswith(f"casebridge: {says}"), lines
    assert all(line.startswith("casebridge: ") for line in lines)
    assert _envelopes(desk, HOME) == before


@pytest.mark.parametrize("wrong", [0, 1], ids=["the first", "the second"])
def test_of_several_records_all_are_kept_or_none(wrong: int, desk: Desk) -> None:
    """Where one is wrong, its number is told, and the good ones are not kept either."""
    before = _envelopes(desk, HOME)
    records = [alert(), alert()]
    records[wrong]["type"] = "nope"
    done = desk.types(HOME, "publish", "-", said="\n".join(map(json.dumps, records)))
    assert done.code == 3
    assert done.complaint == f"casebridge: record {wrong + 1}: type: is not an event type or control"
    assert _envelopes(desk, HOME) == before


TYPED: Final[list[tuple[str, int, str, tuple[str, ...]]]] = [
    ("a file that is not there", 3, "nofile cannot be read: No such file or directory", ("publish", "nofile")),
    ("a folder for a file", 3, "/ cannot be read: Is a directory", ("preview", "/")),
    ("an id that is none", 3, "event: write the event's id, or its first 8 or more digits", ("show", "zzzz")),
    ("digits of no event", 3, "event: none here begins with 12345678; casebridge inbox", ("show", "12345678")),
    (
        "an event that is not here",
        3,
        "event: it is not here, or not valid; casebridge inbox and quarantine list what is",
        ("show", "00000000-0000-7000-8000-000000000000"),
    ),
    (
        "opening an event that is not here",
        3,
        "no such event in the inbox of this agency; casebridge inbox lists them",
        ("open", "00000000-0000-7000-8000-000000000000", *OPEN),
    ),
    (
        "a compartment that is none",
        3,
        "--compartment: 'medicl' is not a compartment; see docs/glossary.md",
        ("open", "{event}", *OPEN, "--compartment", "medicl"),
    ),
    (
        "a compartment to which there is no key",
        4,
        "this agency has no key to medical of this event; ask its owner with disclosure.request",
        ("open", "{event}", *OPEN, "--compartment", "medical"),
    ),
    ("a person who is not known", 3, "person 'P-9' is not known in", ("open", "{event}", *OPEN, "--person", "P-9")),
    ("no post", 3, "--post: write a code of", ("open", "{event}", "--post", "", "--purpose", "case-work")),
    (
        "a purpose in words",
        3,
        "--purpose: write a code of small letters, digits and hyphens: case-work, supervision, court, …",
        ("open", "{event}", "--post", "duty-officer", "--purpose", "to look for Tara"),
    ),
    ("a case that is not known", 3, "case 'C-0000' is not known here; casebridge inbox lists", ("trace", "C-0000")),
    ("a case that is not known, to list", 3, "case 'nope' is not known here", ("inbox", "--case", "nope")),
]


@pytest.mark.parametrize(("sentence", "code", "says", "words"), TYPED, ids=[one[0] for one in TYPED])
def test_wrong_words_get_one_plain_line(
    sentence: str, code: int, says: str, words: tuple[str, ...], desk: Desk, event: str
) -> None:
    """One line names what is wrong and says what to do."""
    done = desk.types(OTHER, *[word.format(event=event) for word in words])
    assert done.complaint.startswith(f"casebridge: {says}"), sentence
    assert done.code == code


@pytest.mark.parametrize(
    "words",
    [("fly",), ("inbox", "--fly"), ("inbox", "--limit", "0"), ("inbox", "--state", "lost"), ("open", "x"), ("show",)],
    ids=" ".join,
)
def test_a_wrong_command_line_ends_with_2(words: tuple[str, ...], desk: Desk) -> None:
    """A command or option that is not there, or a value that is none, is told with the way to the help."""
    done = desk.types(OTHER, *words)
    assert (done.code, done.out) == (2, "")
    assert "--help' for help." in done.err
    assert done.err.splitlines()[-1].startswith("Error: ")


def test_preview_tells_who_would_read_and_sends_nothing(desk: Desk) -> None:
    """Every addressed agency is listed with what it reads, by which rule, and how it may ask for the rest."""
    before = _envelopes(desk, HOME)
    done = desk.types(HOME, "preview", "-", said=_text(alert()))
    assert done.code == 0, done.err
    assert "missing.alert.spotting.live" in done.out
    assert "Nothing was sent." in done.out
    as_json = desk.types(HOME, "preview", "--json", "-", said=_text(alert())).json
    reads = {one["agency"]: {entry["compartment"] for entry in one["reads"]} for one in as_json[0]["readers"]}
    assert reads[OTHER] == {"spotting"}
    assert _envelopes(desk, HOME) == before


def test_an_alert_is_published_received_shown_and_opened(desk: Desk, tmp_path: Path) -> None:
    """From one agency's file to another's screen, by commands alone; the same key sends it once."""
    record = tmp_path / "record.json"
    record.write_text(_text(alert(clothing="blue scarf")))
    words = ("publish", "--wait", "0", "--json", "--idempotency-key", "morning", record)
    (one,), (two,) = desk.types(HOME, *words).json, desk.types(HOME, *words).json
    assert one["event"] == two["event"]
    assert two["again"] is True
    desk.publish(alert())
    assert one["event"] in [each["event"] for each in desk.types(OTHER, "inbox", "--json").json]
    shown = desk.types(OTHER, "show", one["event"][:13])
    assert "spotting" in shown.out
    assert "blue scarf" not in shown.out
    assert "blue scarf" in desk.types(OTHER, "open", one["event"], *OPEN).out
    traced = desk.types(OTHER, "trace", one["caseName"], "--json").json
    assert [each["compartment"] for each in traced["messages"][0]["opened"]] == ["spotting"]
    assert traced["findings"] is None
    assert desk.types(AUDITOR, "trace", one["caseName"], "--json").json["findings"] == []
    assert "fits its envelope" in desk.types(AUDITOR, "trace", one["caseName"]).out
    assert "Nothing is in quarantine." in desk.types(OTHER, "quarantine").out


@contextmanager
def _instead(path: Path, other: Path) -> Iterator[None]:
    """Somebody else's file or folder stands in this place meanwhile."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    (shutil.copytree if other.is_dir() else shutil.copy2)(other, path)
    try:
        yield
    finally:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        aside.rename(path)


@pytest.mark.parametrize("name", ["config.json", "keys", "keystore.sqlite"])
def test_what_belongs_to_another_agency_is_not_used(name: str, desk: Desk) -> None:
    """A folder that was put together from two agencies' is refused with the name of the part that is wrong."""
    with _instead(desk.home(CWC) / name, desk.home(OTHER) / name):
        done = desk.types(CWC, "inbox")
    assert done.code == 6
    assert "belong" in done.complaint
    assert str(desk.home(CWC)) in done.complaint
    assert desk.types(CWC, "inbox").code == 0


def _unlocked_by(desk: Desk, *words: object) -> Done:
    return typed("--home", desk.home(HOME), *words, "inbox")


def test_each_wrong_way_to_unlock_is_told_apart(desk: Desk, tmp_path: Path) -> None:
    """Keys end with 5, folders and files with 6, each in one plain line."""
    wrong, open_to_others, words = tmp_path / "other.key", tmp_path / "open.key", tmp_path / "words"
    for path, mode in ((wrong, 0o600), (open_to_others, 0o644)):
        path.write_bytes(bytes(32))
        os.chmod(path, mode)
    words.write_text("correct horse battery")
    found = {
        "the keys cannot be unlocked: the key file is wrong": (5, "--key-file", wrong),
        f"{open_to_others} can be read by other users": (6, "--key-file", open_to_others),
        f"{tmp_path / 'no.key'} is missing": (6, "--key-file", tmp_path / "no.key"),
        "these keys are opened by a key file, not by a passphrase": (5, "--passphrase-file", words),
        "the passphrase file": (6, "--passphrase-file", tmp_path / "no.words"),
    }
    for says, (code, *ways) in found.items():
        done = _unlocked_by(desk, *ways)
        assert done.complaint.startswith(f"casebridge: {says}")
        assert done.code == code


def test_a_home_that_is_none_is_told_how_to_make_one(desk: Desk, tmp_path: Path) -> None:
    """No --home, a folder that is not there and one that is no home end with 6 and the way on."""
    assert typed("inbox").complaint.startswith("casebridge: name the adapter's folder: --home DIR")
    for folder in (tmp_path / "nowhere", tmp_path):
        done = typed("--home", folder, "inbox")
        assert done.code == 6
        assert f"{folder} is not the home of an adapter; run: casebridge init" in done.complaint


def test_a_new_home_is_made_whole_or_not_at_all(desk: Desk, tmp_path: Path) -> None:
    """Wrong words to ``init`` make neither folder nor key file; the right ones work then, and only with their passphrase."""
    trust = json.loads((desk.home(OTHER) / "config.json").read_text())["trusted_keys"][0]
    words, home, key = tmp_path / "words", tmp_path / "home", tmp_path / "new.key"
    words.write_text("correct horse battery")
    places = ("--stream", desk.folder / "stream.sqlite", "--directory", desk.folder / "directory.json")
    lock = ("--passphrase-file", words)
    wrong: list[tuple[str, tuple[object, ...]]] = [
        ("--agency: an agency's id is small letters", ("--key-file", key, "init", "--agency", "In.A B", *places)),
        ("--agency: an agency's id is small letters", ("--key-file", key, "init", "--agency", "a." * 60, *places)),
    ]
    for says, typing in wrong:
        done = typed("--home", home, *typing, "--trust", trust)
        assert (done.code, done.complaint[: len(says) + 12]) == (3, f"casebridge: {says}")
    init = ("init", "--agency", "in.kl.new.desk", *places, "--trust")
    assert typed("--home", home, *lock, *init, "AAAA").complaint.startswith(
        "casebridge: --trust: a directory's key is 32"
    )
    words.write_text("too short")
    assert typed("--home", home, *lock, *init, trust).complaint.endswith("a passphrase of at least 12 characters")
    assert not home.exists()
    assert not key.exists()
    words.write_text("correct horse battery")
    assert typed("--home", home, *lock, *init, trust).code == 0
    assert "is the home of an adapter already" in typed("--home", home, *lock, *init, trust).complaint
    words.write_text("wrong horse battery")
    done = typed("--home", home, *lock, "keys", "show")
    assert (done.code, done.complaint) == (5, "casebridge: the keys cannot be unlocked: the passphrase is wrong")


def test_the_inbox_lists_the_newest(desk: Desk, event: str) -> None:
    """With more than the limit the last to arrive are shown, in their order, and it is told that there are others."""
    later = []
    for _ in range(2):
        desk.types(OTHER, "inbox")
        later.append(desk.publish(alert())["event"])
    done = desk.types(OTHER, "inbox", "--limit", "2", "--json")
    assert [one["event"] for one in done.json] == later
    assert done.err == "These are the newest 2; there are earlier ones: --limit shows more.\n"
    assert desk.types(OTHER, "inbox", "--limit", "1000").err == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("2026-02-04T00:50:00.000Z", "2026-02-04 06:20:00 IST"),
        ("2026-02-04", "2026-02-04"),
        (True, "yes"),
        ([{"lang": "hi-IN", "text": "तारा", "machine": True}, "x"], "तारा [hi-IN, machine]; x"),
        ({"name": "a.jpg", "bytes": "AAAA"}, "name a.jpg, bytes 3 bytes"),
        ({"no": "00", "zero": False}, "no 00, zero no"),
    ],
)
def test_a_value_is_shown_in_one_line(value: Any, words: str) -> None:
    """Times in IST, languages beside texts, yes and no, and of a file its size."""
    assert plain(value) == words


def test_roles_are_spelt_out(desk: Desk, event: str) -> None:
    """Whoever reads a code of a role finds below what it is."""
    for words in (("show", event), ("trace", desk.types(OTHER, "show", event, "--json").json["case"])):
        assert "OPENER who opened the case\n" in desk.types(OTHER, *words).out
    shown = desk.types(HOME, "preview", "-", said=_text(alert())).out
    assert "NR     NCRB / national repository cell\n" in shown
