"""``casebridge keys erase``: it says what goes and what stays, asks, and what is gone is told as gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.story.small_exchange import OTHER, alert
from tests.unit.cli.terminal import Desk

OPEN = ("--post", "duty-officer", "--purpose", "case-work")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """An exchange."""
    return Desk.create(tmp_path_factory.mktemp("erase") / "exchange")


@pytest.fixture
def sent(desk: Desk) -> dict[str, Any]:
    """An alert in a case of its own, which has arrived."""
    said = desk.publish(alert(clothing="blue scarf"))
    assert "blue scarf" in desk.types(OTHER, "open", said["event"], *OPEN).out
    return said


@pytest.mark.parametrize("answer", ["n\n", "", "\n"], ids=["no", "the end of the input", "an empty line"])
def test_without_a_yes_nothing_is_erased(answer: str, desk: Desk, sent: dict[str, Any]) -> None:
    """It names the case and what goes and what stays, and takes nothing but a yes for a yes."""
    done = desk.types(OTHER, "keys", "erase", sent["caseName"], said=answer)
    assert (done.code, done.out) == (130, "")
    for words in (sent["case"], "P-1: ", "the case as a whole: ", "can no longer act in it", "What stays: ", "Erase?"):
        assert words in done.err
    assert "blue scarf" in desk.types(OTHER, "open", sent["event"], *OPEN).out


def test_what_is_erased_about_a_person_is_shown_as_erased(desk: Desk, sent: dict[str, Any]) -> None:
    """After a yes ``show`` marks it and ``open`` tells when it was erased, instead of the content."""
    done = desk.types(OTHER, "keys", "erase", sent["caseName"], "--person", "P-1", said="y\n")
    assert done.code == 0
    assert f"{sent['caseName']}, P-1: 1 keys erased, " in done.out
    shown = desk.types(OTHER, "show", sent["event"])
    (line,) = [line for line in shown.out.splitlines() if line.startswith("spotting")]
    assert "erased; was: role " in line
    opened = desk.types(OTHER, "open", sent["event"], *OPEN)
    assert "blue scarf" not in opened.out
    assert "closed: the key of this block is not here: this agency erased it at " in opened.out
    again = desk.types(OTHER, "keys", "erase", sent["caseName"], "--person", "P-1", "--yes", "--json")
    assert [one["person"] for one in again.json["erased"]] == ["P-1"]


def test_of_an_erased_case_only_the_header_is_shown(desk: Desk, sent: dict[str, Any]) -> None:
    """``show`` tells who sent what when and that the rest was erased; ``open`` ends with 5 and one line."""
    done = desk.types(OTHER, "keys", "erase", sent["case"], "--yes", "--json").json
    assert done["caseName"] == sent["caseName"]
    assert {one["person"] for one in done["erased"]} == {None, "P-1"}
    shown = desk.types(OTHER, "show", sent["event"])
    assert shown.code == 0
    assert "missing.alert" in shown.out
    assert "This agency erased the keys of this case on " in shown.out
    assert desk.types(OTHER, "show", sent["event"], "--json").json["erasedAt"] == done["erased"][0]["at"]
    opened = desk.types(OTHER, "open", sent["event"], *OPEN)
    assert opened.code == 5
    assert "this agency erased the keys of this event's case at " in opened.complaint
    assert desk.types(OTHER, "trace", sent["case"]).code == 0
    assert "Nothing was left to erase." in desk.types(OTHER, "keys", "erase", sent["case"], "--yes").out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("C-0000-0000",), "case 'C-0000-0000' is not known here; casebridge inbox lists the cases"),
        (("{case}", "--person", "P-7"), "--person: 'P-7' is not known in this case; known is P-1"),
    ],
    ids=["a case that is not known", "a person who is not known"],
)
def test_what_is_not_known_cannot_be_erased(
    words: tuple[str, ...], says: str, desk: Desk, sent: dict[str, Any], tmp_path: Path
) -> None:
    """One line that says where the right name is found, before anything is asked."""
    done = desk.types(OTHER, "keys", "erase", *[word.format(case=sent["case"]) for word in words])
    assert (done.code, done.complaint) == (3, f"casebridge: {says}")
