"""The command line: what people type, what they read, and what happens when they mistype."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.exchange import Exchange
from broker.clock import SystemClock, SystemRandom
from broker.names import AgencyId
from tests.fault.path_step import run as role_once
from tests.story.small_exchange import AGENCIES, AUDITOR, CWC, HOME, HUB, OTHER, alert

ROOT: Final = Path(__file__).parents[3]
COMMAND: Final = [sys.executable, "-c", "from adapters.cli.main import main; main()"]


def cli(folder: Path, agency: AgencyId, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs one command as an agency, in a process of its own."""
    home = ["--home", str(folder / "homes" / agency), "--key-file", str(more.pop("key", folder / "unlock.key"))]
    return subprocess.run(
        [*COMMAND, *home, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **more
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exchange at the present time."""
    made = tmp_path_factory.mktemp("cli") / "exchange"

    async def create() -> None:
        exchange = await Exchange.create(made, AGENCIES, clock=SystemClock(), random=SystemRandom())
        await exchange.close()

    asyncio.run(create())
    return made


def _file(folder: Path, record: Any) -> str:
    path = folder / "record.json"
    path.write_text(record if isinstance(record, str) else json.dumps(record), "utf-8")
    return str(path)


def _envelopes(folder: Path, agency: AgencyId) -> int:
    import sqlite3

    path = folder / "homes" / agency / "outbox.sqlite"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT COUNT(*) FROM envelopes").fetchone()[0])
    finally:
        connection.close()


def _changed(**changes: Any) -> Callable[[], Any]:
    return lambda: alert(**changes)


def _field(name: str, value: Any) -> Callable[[], Any]:
    def made() -> Any:
        record = alert()
        record["personFields"]["P-1"][name] = value
        return record

    return made


WRONG: Final[list[tuple[str, int, str, Callable[[], Any]]]] = [
    ("it is not JSON", 3, "JSON", lambda: "{not json"),
    ("a key is given twice", 3, "twice", lambda: '{"type": "missing.alert", "type": "missing.alert"}'),
    ("a field is unknown", 3, "spot.shoes", _field("spot.shoes", "red")),
    ("a code is not in the list", 3, "spot.sex", _field("spot.sex", "girl")),
    ("a field is of another variant", 3, "alert.basis", lambda: _with_basis()),
    ("a person has no fields", 3, "P-2", _changed(persons=["P-1", "P-2"])),
    ("an agency is not in the directory", 3, "in.xx.nobody", _changed(to=[OTHER, CWC, "in.xx.nobody"])),
    (
        "a role is given that the sender may not give",
        4,
        "CJ",
        _changed(mandates=[{"role": "CH", "agency": CWC}, {"role": "CJ", "agency": CWC, "person": "P-1"}]),
    ),
    ("one that must be addressed is not", 4, "NR", _changed(to=[OTHER, CWC, "in.kl.police.ahtu.ernakulam"])),
    ("the type does not exist", 3, "type", _changed(type="missing.person")),
    ("the case is not known", 3, "case", _changed(case="C-0000-0000")),
]


def _with_basis() -> Any:
    record = alert()
    record["fields"]["alert.basis"] = "consent"
    return record


@pytest.mark.parametrize(("sentence", "code", "names", "make"), WRONG, ids=[one[0] for one in WRONG])
def test_a_wrong_record_gets_plain_lines_and_leaves_nothing(
    sentence: str, code: int, names: str, make: Callable[[], Any], folder: Path
) -> None:
    """The error names the field and says what to do; the exit code tells whose turn it is; nothing is kept."""
    before = _envelopes(folder, HOME)
    done = cli(folder, HOME, "publish", _file(folder, make()))
    assert done.returncode == code, (sentence, done.stderr)
    assert names in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert _envelopes(folder, HOME) == before


def test_preview_tells_who_would_read_and_sends_nothing(folder: Path) -> None:
    """Every addressed agency is listed with what it reads, by which rule, and how it may ask for the rest."""
    before = _envelopes(folder, HOME)
    done = cli(folder, HOME, "preview", _file(folder, alert()))
    assert done.returncode == 0, done.stderr
    assert "missing.alert.spotting.live" in done.stdout
    assert "Nothing was sent." in done.stdout
    as_json = json.loads(cli(folder, HOME, "preview", "--json", _file(folder, alert())).stdout)
    reads = {one["agency"]: {entry["compartment"] for entry in one["reads"]} for one in as_json[0]["readers"]}
    assert reads[OTHER] == {"spotting"}
    assert _envelopes(folder, HOME) == before


def test_an_alert_is_published_received_shown_and_opened(folder: Path) -> None:
    """From one agency's file to another's screen, by commands alone; the same key sends it once."""
    record = _file(folder, alert(clothing="blue scarf"))
    first = cli(folder, HOME, "publish", "--wait", "0", "--json", "--idempotency-key", "morning", record)
    again = cli(folder, HOME, "publish", "--wait", "0", "--json", "--idempotency-key", "morning", record)
    (one,), (two,) = json.loads(first.stdout), json.loads(again.stdout)
    assert one["event"] == two["event"]
    assert two["again"] is True
    asyncio.run(role_once(folder / "homes" / HUB, "broker", Path(record)))
    listed = json.loads(cli(folder, OTHER, "inbox", "--json").stdout)
    assert one["event"] in [each["event"] for each in listed]
    shown = cli(folder, OTHER, "show", one["event"][:13])
    assert "spotting" in shown.stdout
    assert "blue scarf" not in shown.stdout
    opened = cli(folder, OTHER, "open", one["event"], "--post", "duty-officer", "--purpose", "case-work")
    assert "blue scarf" in opened.stdout
    refused = cli(
        folder, OTHER, "open", one["event"], "--compartment", "person-identity", "--post", "p", "--purpose", "x"
    )
    assert refused.returncode == 4
    assert "no key to person-identity" in refused.stderr
    traced = json.loads(cli(folder, OTHER, "trace", one["caseName"], "--json").stdout)
    assert [each["compartment"] for each in traced["messages"][0]["opened"]] == ["spotting"]
    assert traced["findings"] is None
    assert json.loads(cli(folder, AUDITOR, "trace", one["caseName"], "--json").stdout)["findings"] == []
    assert "fits its envelope" in cli(folder, AUDITOR, "trace", one["caseName"]).stdout
    assert "Nothing is in quarantine." in cli(folder, OTHER, "quarantine").stdout


def test_a_wrong_key_a_foreign_folder_and_no_folder_are_told_apart(folder: Path, tmp_path: Path) -> None:
    """Keys end with 5, folders with 6, each in one plain line."""
    wrong = tmp_path / "other.key"
    descriptor = os.open(wrong, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, bytes(32))
    os.close(descriptor)
    assert cli(folder, HOME, "inbox", key=wrong).returncode == 5
    missing = cli(folder, AgencyId("in.no.home"), "inbox")
    assert missing.returncode == 6
    assert "casebridge init" in missing.stderr
    config = folder / "homes" / CWC / "config.json"
    kept = config.read_text()
    try:
        config.write_text(kept.replace(CWC, OTHER))
        foreign = cli(folder, CWC, "inbox")
    finally:
        config.write_text(kept)
    assert foreign.returncode in (5, 6)
    for done in (missing, foreign):
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
