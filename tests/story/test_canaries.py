"""What only readers may know is in no byte that the system writes outside a reader's own view."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any, Final

import pytest

from broker.names import AgencyId
from tests.story.small_exchange import CWC, HOME, OTHER, RESCUE, World, alert
from tests.story.test_attacks_on_envelopes import play

SUSPECT: Final = "canary-suspect-7b"
CANARIES: Final = {
    "spot.clothing": "canary-clothing-1f",
    "spot.marks": "canary-marks-2a",
    "person.fullName": "canary-name-3c",
    "person.school": "canary-school-4d",
    "seen.lastExact": "canary-exact-5e",
    "home.address": "canary-home-6f",
    "reporter.name": "canary-reporter-8c",
}


def _record() -> dict[str, Any]:
    """An alert with a canary in a field of every compartment that it has texts in."""
    record = alert()
    personal = record["personFields"]["P-1"]
    for name, canary in CANARIES.items():
        place = name in ("seen.lastExact", "home.address")
        personal[name] = {"state": "IN-MP", "district": 414, "text": canary} if place else canary
    record["fields"]["case.firNo"]["ps"] = "canary-station-9d"
    record["fields"]["suspect.list"] = [{"alias": SUSPECT, "sex": "M", "ageBand": "25+", "role": "Transporter"}]
    return record


def _forms(canary: str) -> list[bytes]:
    """A canary as it could stand in a file: plain, UTF-16, hex, base64 in each alignment."""
    data = canary.encode()
    encoded = [base64.b64encode(b"x" * shift + data)[4:-4] for shift in range(3)]
    return [data, canary.encode("utf-16-le"), data.hex().encode(), *encoded]


def _search(folder: Path) -> dict[str, list[str]]:
    """Which canaries stand in which files below a folder."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            held = path.read_bytes()
            for canary in (*CANARIES.values(), SUSPECT, "canary-station-9d"):
                if any(form in held for form in _forms(canary)):
                    found.setdefault(path.name, []).append(canary)
    return found


def test_the_search_finds_what_is_in_clear(tmp_path: Path) -> None:
    """A canary that was written in clear is found, in whatever form: the test below can fail."""
    for number, form in enumerate(_forms("canary-name-3c")):
        (tmp_path / f"leak{number}").write_bytes(b"..." + form + b"...")
    assert len(_search(tmp_path)) == len(_forms("canary-name-3c"))


def test_no_canary_is_on_any_disk_or_in_any_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Stream, outboxes, inboxes, keystores and logs hold none, before and after readers have opened."""
    caplog.set_level(logging.DEBUG)

    async def story(made: World) -> None:
        published = made.publish(HOME, _record())
        await made.settle()
        assert _search(tmp_path) == {}
        seen: dict[AgencyId, str] = {}
        for agency in (HOME, OTHER, CWC, RESCUE):
            blocks = made.adapter(agency).open(published.event_id, post="duty-officer", purpose="case-work")
            seen[agency] = json.dumps([dict(block.fields) for block in blocks], ensure_ascii=False)
        await made.settle()
        assert _search(tmp_path) == {}
        assert all(canary in seen[HOME] for canary in (*CANARIES.values(), SUSPECT))
        assert "canary-clothing-1f" in seen[OTHER]
        assert "canary-name-3c" not in seen[OTHER]
        assert "canary-name-3c" in seen[CWC]
        assert "canary-reporter-8c" not in seen[CWC]

    play(tmp_path, story)
    assert "canary" not in caplog.text


def test_errors_about_a_record_repeat_nothing_of_it(tmp_path: Path) -> None:
    """A record with faults is refused with the fields' names, never with what was written in them."""

    async def story(made: World) -> None:
        record = _record()
        record["personFields"]["P-1"]["spot.sex"] = "canary-sex-0e"
        record["fields"]["canary.field"] = "canary-value-0f"
        with pytest.raises(Exception, match=r"spot\.sex|fields") as caught:
            made.publish(HOME, record)
        said = f"{caught.value} {getattr(caught.value, 'detail', '')}"
        assert "canary-sex-0e" not in said
        assert "canary-value-0f" not in said
        assert made.adapter(HOME).home.outbox.pending(10) == []

    play(tmp_path, story)
