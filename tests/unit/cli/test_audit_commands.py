"""What an auditor types: everything rebuilt from the records, and a case told with its proofs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.exchange import STREAM_FILE
from adapters.notary import LOG_FOLDER, NotaryHome, work
from broker.clock import SystemClock, SystemRandom
from broker.keys.files import KeyFile
from tests.story.small_exchange import AUDITOR, OTHER, alert
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
