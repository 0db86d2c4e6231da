"""What an auditor types: everything rebuilt from the records, and a case told with its proofs."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.audit_file import AUDIT_FILE
from adapters.exchange import STREAM_FILE
from adapters.notary import LOG_FOLDER, NotaryHome, work
from adapters.trace_page import page
from broker.clock import SystemClock, SystemRandom
from broker.keys.files import KeyFile
from tests.story.small_exchange import AUDITOR, CWC, OTHER, alert
from tests.unit.cli.terminal import Desk, Done


@dataclass(frozen=True)
class Audited:
    """An exchange of the present time with a notary that has seen everything: an alert, opened and refused."""

    desk: Desk
    log: Path
    key: str
    said: dict[str, Any]

    def types(self, *words: object) -> Done:
        """A command of the auditor, with the log that it believes."""
        return self.desk.types(AUDITOR, *words, "--log", self.log, "--log-key", self.key)


async def _never() -> None:
    raise AssertionError("the notary was told to stop when all is done")


def notarized(desk: Desk, home: NotaryHome) -> None:
    """The notary works until nothing is left."""
    asyncio.run(work(home, clock=SystemClock(), stop=lambda: True, idle=_never, seen=lambda _: None))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """One day of an exchange."""
    folder = tmp_path_factory.mktemp("audit")
    desk = Desk.create(folder / "exchange")
    said = desk.publish(alert())
    opening = ("--post", "duty-officer", "--purpose", "case-work")
    assert desk.types(OTHER, "open", said["event"], *opening, "--compartment", "medical").code == 4
    assert desk.types(OTHER, "open", said["event"], *opening).code == 0
    home = NotaryHome.create(
        folder / "notary",
        origin="audit.example/one",
        stream=desk.folder / STREAM_FILE,
        secret=KeyFile.create(folder / "notary.key", random=SystemRandom()),
        clock=SystemClock(),
        random=SystemRandom(),
    )
    for _ in range(2):  # what is copied in one pass is in the tree after the next
        notarized(desk, home)
    return Audited(desk, folder / "notary" / LOG_FOLDER, home.signer.verifier.vkey(), said)


def test_everything_is_rebuilt_and_fits(audited: Audited) -> None:
    """An honest exchange is clean: records, envelopes, ledgers, and the log file by file."""
    done = audited.types("fsck", "--json")
    assert (done.code, done.json["clean"], done.json["verdicts"], done.json["findings"]) == (0, True, [], [])
    assert done.json["messages"] == done.json["log"]["size"] >= 5
    told = audited.types("fsck")
    assert told.out.splitlines()[-1] == "Everything fits."


def test_a_log_that_serves_something_else_is_found(audited: Audited) -> None:
    """One byte of a tile is changed: the command names the file and exits with 1."""
    path = next(path for path in sorted((audited.log / "tile" / "0").rglob("*")) if path.is_file())
    whole = path.read_bytes()
    path.write_bytes(bytes((whole[0] ^ 1,)) + whole[1:])
    done = audited.types("fsck")
    path.write_bytes(whole)
    assert done.code == 1
    assert f"{path.relative_to(audited.log)} is served with other contents than the topic gives" in done.out
    assert done.out.splitlines()[-1] == "1 thing does not fit."


def test_only_an_auditor_rebuilds_and_only_from_a_log_that_is_believed(audited: Audited) -> None:
    """Another agency is refused; a log without a key, or with another's key, proves nothing."""
    refused = audited.desk.types(OTHER, "fsck")
    assert (refused.code, refused.complaint) == (
        4,
        "casebridge: only an auditor reads the audit topic; run this in the home of an auditor",
    )
    assert audited.desk.types(AUDITOR, "fsck", "--log", audited.log).code == 3
    other = audited.key.replace("audit.example/one", "audit.example/two")
    assert audited.desk.types(AUDITOR, "fsck", "--log", audited.log, "--log-key", other).code == 3


def test_who_read_what_when_and_why_is_one_command(audited: Audited) -> None:
    """Each opening is told with post, purpose, person and ground, and proved; so is each attempt that was refused."""
    case = audited.said["case"]
    asked = ("trace", case, "--compartment", "spotting", "--person", "P-1")
    done = audited.types(*asked, "--json")
    (read,) = done.json["audit"]["lines"]
    assert (read["agency"], read["what"], read["persons"], read["proof"]) == (OTHER, "opened", ["P-1"], "proved")
    assert (read["post"], read["purpose"]) == ("duty-officer", "case-work")
    assert read["ground"].startswith("role AS by missing.alert.spotting")
    told = audited.types(*asked).out
    assert "spotting of P-1, by duty-officer for case-work, on the ground: role AS" in told
    (refused,) = audited.types("trace", case, "--compartment", "medical", "--json").json["audit"]["lines"]
    assert (refused["agency"], refused["what"], refused["proof"]) == (OTHER, "refused", "proved")


def test_every_line_of_a_case_is_proved(audited: Audited) -> None:
    """Sending, acceptance, delivery, readings and refusals each name their entry; an event alone is told likewise."""
    for name in (audited.said["case"], audited.said["event"]):
        done = audited.types("trace", name, "--json")
        said = done.json["audit"]
        assert (done.code, said["sound"]) == (0, True)
        assert [line["what"] for line in said["lines"][:3]] == ["sent", "accepted", "delivered"]
        assert {line["proof"] for line in said["lines"]} == {"proved"}
        readings = said["couldRead"][audited.said["event"]]
        assert (CWC, "person-identity", "P-1") in {
            (one["agency"], one["compartment"], one["person"]) for one in readings
        }
    assert audited.types("trace", audited.said["case"]).out.splitlines()[-1].startswith("Every line verifies")
    without = audited.desk.types(AUDITOR, "trace", audited.said["case"])
    assert (without.code, without.out.splitlines()[-1]) == (
        0,
        "Every signature verifies. Places in the log were not checked: name the log with --log.",
    )


def test_the_page_opens_off_line_and_runs_nothing(audited: Audited, tmp_path: Path) -> None:
    """It names no resource, forbids every one, escapes what it is given, and shows the verdict first."""
    path = tmp_path / "case.html"
    assert audited.types("trace", audited.said["case"], "--html", path).code == 0
    text = path.read_text("utf-8")
    assert "default-src &#x27;none&#x27;" in text
    assert not re.search(r"https?:|//|<script|<img|<link|url\(|@import", text)
    assert 'class="verdict good"' in text
    said = audited.types("trace", audited.said["case"], "--json").json
    evil = "<script>alert('x')</script>"
    said["audit"]["lines"][0]["words"] = said["messages"][0]["type"] = evil
    written = page(said, lambda _: evil)
    assert "<script" not in written
    assert written.count("&lt;script&gt;") > 2


def test_what_does_not_verify_is_red(audited: Audited) -> None:
    """A record that was altered is named twice, by its author's signature and by the log; the command exits with 1."""
    trace = ("trace", audited.said["case"], "--json")
    assert audited.types(*trace).code == 0
    copy = sqlite3.connect(audited.desk.home(AUDITOR) / AUDIT_FILE)
    ((place, message),) = copy.execute("SELECT place, message FROM messages WHERE kind = 1 ORDER BY place DESC LIMIT 1")
    change = "UPDATE messages SET message = ? WHERE place = ?"
    with copy:
        copy.execute(change, (message[:-1] + bytes((message[-1] ^ 1,)), place))
    done = audited.types(*trace)
    told = audited.types(*trace[:2])
    with copy:
        copy.execute(change, (message, place))
    copy.close()
    (wrong,) = [line for line in done.json["audit"]["lines"] if line["fault"]]
    assert (done.code, done.json["audit"]["sound"], wrong["entry"], wrong["proof"]) == (1, False, place, "NOT PROVED")
    assert wrong["fault"].startswith("the record does not verify")
    assert (told.code, told.out.splitlines()[-1]) == (1, "1 line does not verify.")
