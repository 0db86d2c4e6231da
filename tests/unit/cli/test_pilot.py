"""A pilot set up by commands alone, as its operator, its registrar and its agencies type them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.names import AgencyId
from tests.fault.path_step import run as role_once
from tests.story.small_exchange import AGENCIES, AUDITOR, CWC, HOME, HUB, OTHER, SHELTER, alert
from tests.unit.cli.terminal import Done, typed

OPEN = ("--post", "duty-officer", "--purpose", "case-work")
MEMBERS = (HUB, AUDITOR, HOME, OTHER, CWC)


@dataclass
class Pilot:
    """The folder of a pilot; ``trust`` is the registrar's public key."""

    folder: Path
    trust: str = ""

    def types(self, *words: object, said: str = "") -> Done:
        """A command of the registrar or the operator, that works."""
        done = typed("--key-file", self.folder / "unlock.key", *words, said=said)
        assert done.code == 0, done.err
        return done

    def as_agency(self, agency: AgencyId, *words: object, said: str = "") -> Done:
        """A command of an agency, that works."""
        return self.types("--home", self.folder / "homes" / agency, *words, said=said)

    def enrol(self, agency: AgencyId) -> Any:
        """What the registrar does with an agency's keys."""
        entry, public = self.folder / "entry.json", self.folder / "keys.json"
        entry.write_text(json.dumps(next(one for one in AGENCIES if one["id"] == agency)))
        public.write_text(self.as_agency(agency, "keys", "show", "--json").out)
        files = ("--keys", self.folder / "registrar", "--entry", entry, "--public", public)
        stream = ("--stream", self.folder / "stream.sqlite")
        return self.types("directory", "enrol", self.folder / "directory", *files, *stream, "--json").json

    def join(self, agency: AgencyId) -> Any:
        """A new agency makes its home and is enrolled."""
        places = ("--stream", self.folder / "stream.sqlite", "--directory", self.folder / "directory")
        self.as_agency(agency, "init", "--agency", agency, *places, "--trust", self.trust)
        return self.enrol(agency)

    def publish(self, clothing: str) -> Any:
        """An alert that one agency sends to two."""
        record = json.dumps({**alert(clothing=clothing), "to": [OTHER, CWC]})
        (said,) = self.as_agency(HOME, "publish", "-", "--wait", "0", "--json", said=record).json
        return said

    def dispatch(self) -> None:
        """The broker does what is there to do."""
        asyncio.run(role_once(self.folder / "homes" / HUB, "broker"))

    def states(self, agency: AgencyId) -> list[str]:
        """The states of what an agency received."""
        return [one["state"] for one in self.as_agency(agency, "inbox", "--json").json]


@pytest.fixture
def pilot(tmp_path: Path) -> Pilot:
    """A pilot of three agencies, an auditor and a broker."""
    made = Pilot(tmp_path)
    made.types("stream", "create", tmp_path / "stream.sqlite")
    made.trust = made.types("directory", "create", "--keys", tmp_path / "registrar", "--json").json["trust"]
    (tmp_path / "homes").mkdir()
    for agency in MEMBERS:
        assert made.join(agency)["new"]
    return made


def test_a_message_goes_from_one_agency_to_another(pilot: Pilot) -> None:
    """What one publishes another opens; the directory lists them all."""
    said = pilot.publish("blue scarf")
    pilot.dispatch()
    assert "blue scarf" in pilot.as_agency(OTHER, "open", said["event"], *OPEN).out
    listed = pilot.types("directory", "show", pilot.folder / "directory", "--trust", pilot.trust, "--json").json
    assert {one["id"] for one in listed} == set(MEMBERS)


def test_what_is_on_its_way_survives_a_new_directory(pilot: Pilot) -> None:
    """An agency that joins, and one whose signing key is new, make nothing invalid that was sent before."""
    pilot.publish("sent before")
    pilot.join(SHELTER)
    pilot.dispatch()
    pilot.publish("dispatched before")
    pilot.dispatch()
    pilot.as_agency(HOME, "keys", "rotate", "--signing")
    assert not pilot.enrol(HOME)["new"]
    pilot.publish("sent after")
    pilot.dispatch()
    for agency in (OTHER, CWC, HOME, AUDITOR):
        assert pilot.states(agency) == ["received"] * 3


def test_a_new_prekey_makes_no_new_directory(pilot: Pilot) -> None:
    """Each month's prekeys take the place of the old in the newest file: what is signed, and its digest, stay."""
    files = sorted((pilot.folder / "directory").iterdir())
    signed = json.loads(files[-1].read_bytes())["signed"]
    pilot.publish("before")
    made = pilot.as_agency(OTHER, "keys", "rotate", "--json").json
    assert pilot.enrol(OTHER)["file"] == str(files[-1])
    after = json.loads(files[-1].read_bytes())
    assert sorted((pilot.folder / "directory").iterdir()) == files
    assert after["signed"] == signed
    assert made["id"] in [one["id"] for one in after["prekeys"][OTHER]]
    pilot.publish("after")
    pilot.dispatch()
    assert pilot.states(OTHER) == ["received"] * 2


def test_a_registrar_signs_nothing_that_another_wrote(pilot: Pilot, tmp_path: Path) -> None:
    """A file of somebody else in the folder, or a file in place of it, ends enrolling with one line."""
    entry, public = pilot.folder / "entry.json", pilot.folder / "keys.json"
    words = ("--keys", pilot.folder / "registrar", "--entry", entry, "--public", public)
    key = ("--key-file", pilot.folder / "unlock.key")
    folder = pilot.folder / "directory"
    (newest := max(folder.iterdir())).write_bytes(newest.read_bytes().replace(b"IN-MP", b"IN-KL"))
    for where, says in ((folder, "directory"), (newest, "is a file; name a folder")):
        done = typed(*key, "directory", "enrol", where, *words)
        assert done.code == 6
        assert says in done.complaint
