"""The demo case, played by real adapters: everybody opens exactly what the domain says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from adapters.demo.play import play
from adapters.demo.script import Script
from adapters.exchange import STREAM_FILE
from adapters.kafka import SETTINGS_FILE, held_files
from tests.streams import cluster_for

EXPECTED = json.loads((Path(__file__).parents[1] / "data" / "expected_views.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def played(kafka: Path | None, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[str], Path]:
    """The demo's JSON, what it printed, and its folder."""
    folder = tmp_path_factory.mktemp("demo")
    said: list[str] = []
    cluster = cluster_for([one["id"] for one in Script.load().agencies])
    code = asyncio.run(play(folder / "home", json_file=folder / "demo.json", echo=said.append, cluster=cluster))
    assert code == 0, said[-20:]
    return json.loads((folder / "demo.json").read_text("utf-8")), said, folder / "home"


def _views(views: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    return {agency: {name: sorted(persons) for name, persons in view.items()} for agency, view in views.items()}


MESSAGES = [f"M{number:02}" for number in range(1, 19)]


@pytest.mark.parametrize("message", MESSAGES)
def test_each_agency_opens_exactly_what_the_domain_says(
    message: str, played: tuple[dict[str, Any], list[str], Path]
) -> None:
    """The views of a message are those computed from the domain's data alone."""
    found = played[0]["messages"][message]
    assert found["author"] == EXPECTED[message]["author"]
    assert _views(found["views"]) == _views(EXPECTED[message]["views"])


def test_a_later_grant_opens_single_old_blocks(played: tuple[dict[str, Any], list[str], Path]) -> None:
    """Nagpur reads the suspect of M05 and M06 by K5, and nothing else of them."""
    for message in ("M05", "M06"):
        assert _views(played[0]["granted"][message]["views"]) == _views(EXPECTED["granted"][message]["views"])


def test_every_attempt_of_the_script_is_refused_with_a_reason(
    played: tuple[dict[str, Any], list[str], Path],
) -> None:
    """No attempt opened anything, and each is told why."""
    refused = played[0]["refused"]
    assert len(refused) >= 23
    assert all(one["reason"] for one in refused)
    recalled = [
        one for one in refused if one["agency"] == "in.tg.police.ahtu.nodal" and one["compartment"] == "biometrics"
    ]
    assert recalled
    assert "recalled" in recalled[0]["reason"]


def test_the_operator_holds_no_name_number_or_picture(played: tuple[dict[str, Any], list[str], Path]) -> None:
    """What only readers may know is nowhere in the stream (domain §6.2)."""
    on_kafka = played[2] / SETTINGS_FILE
    files = held_files(on_kafka) if on_kafka.exists() else played[2].glob(STREAM_FILE + "*")
    held = b"".join(path.read_bytes() for path in files)
    assert b"in.kl.cwc.ernakulam" in held, "the search must be able to find something"
    for secret in ("Tara Dhurwe", "तारा", "Rokeya", "Kheriya", "Bablu", "Mandla Demo Police Station"):
        assert secret.encode() not in held, secret


def test_the_story_is_told_in_lines_that_fit_a_screen(played: tuple[dict[str, Any], list[str], Path]) -> None:
    """No line of the narrative is longer than 120 characters."""
    lines = [line for block in played[1] for line in block.splitlines() if "casebridge --home" not in line]
    assert max(map(len, lines)) <= 120
