"""``casebridge policy`` at the command line."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapters.cli.policy import policy as command
from broker.policy.load import Files


def _run(*words: str) -> Result:
    return CliRunner().invoke(command, words)


@pytest.fixture
def folder(files: Files, tmp_path: Path) -> Path:
    """A copy of the policy folder."""
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def _edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


def test_matrix_as_csv_is_a_part_of_the_expected_one(files: Files) -> None:
    """The CSV has the columns of the expected matrix, and the cells of one variant only."""
    result = _run("matrix", "--format", "csv", "--type", "verify.request", "--variant", "nationality")
    assert result.exit_code == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["variant"] for row in rows} == {"nationality"}
    reader = {row["role"]: (row["code"], row["when"]) for row in rows if row["compartment"] == "person-identity"}
    assert reader["WD"] == ("n/q", "not expired")
    assert reader["FP"] == ("n", "not expired")
    assert reader["TP"] == ("x", "")
    assert "ES" not in reader


def test_matrix_as_json_says_who_may_hold_a_role() -> None:
    """The JSON carries the digest, the cells, and the kinds for which each role counts."""
    result = _run("matrix", "--json", "--type", "ack")
    found = json.loads(result.stdout)
    assert len(found["digest"]) == 64
    assert found["holders"]["HP"] == ["police-ahtu", "police-grp", "police-station"]
    assert {cell["compartment"] for cell in found["cells"] if cell["role"] == "HB"} == {"routing"}


def test_matrix_as_table_prints_a_table_for_each_variant_that_differs() -> None:
    """Variants that decide alike share a table; colours are left out where nobody sees them."""
    result = _run("matrix", "--type", "missing.alert")
    assert result.exit_code == 0
    assert "missing.alert (child, adult)" in result.stdout
    assert "\x1b" not in result.stdout
    line = next(line for line in result.stdout.splitlines() if line.split()[:1] == ["spotting"])
    assert line.split() == ["spotting", "R", "R", "R", "r", "R", *"......", ".", "R", ".", ".", "r", ".", "."]


def test_check_passes_and_says_how_many_cases_it_tried() -> None:
    """The check of the installed folder ends with 0 and counts its cases."""
    result = _run("check")
    assert result.exit_code == 0, result.output
    assert "10,080 cells" in result.stdout
    assert "49,280 cases" in result.stdout
    assert result.stdout.endswith("All is well.\n")


def test_check_fails_on_a_changed_folder(folder: Path) -> None:
    """A folder that decides differently ends with 1 and names the cells."""
    _edit(folder, "missing.alert.cedar", '[Role::"HP", Role::"IA", Role::"CH"]', '[Role::"HP", Role::"IA", Role::"DP"]')
    result = _run("check", "--policies", str(folder), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert not found["ok"]
    assert {"where": "missing.alert(child) person-identity CH", "expected": "R", "found": "blank"} in found[
        "differences"
    ]


def test_a_broken_folder_is_reported_by_every_command(folder: Path) -> None:
    """What denies everything is said in one plain line, or in the report of the check, and ends with 1."""
    (folder / "extra.cedar").write_text("permit (")
    for words in (["matrix"], ["explain", "ack", "access", "AU"]):
        result = _run(*words, "--policies", str(folder))
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: the policy denies everything: extra.cedar: does not parse")
        assert result.stderr.count("\n") == 1
    report = _run("check", "--policies", str(folder))
    assert report.exit_code == 1
    assert "extra.cedar: does not parse" in report.stdout


def test_explain_names_the_rule_that_decided() -> None:
    """A reading is explained by its rule, with note, law and text, for all variants that decide alike."""
    result = _run("explain", "missing.alert", "biometrics", "as")
    assert result.exit_code == 0
    assert result.stdout.startswith(
        "AS, an agency of kind police-ahtu, reads biometrics of missing.alert (child, adult)"
    )
    for said in ("Rule missing.alert.biometrics.live (missing.alert.cedar) permits it.", "Why: ", "Law: ", "permit (",
                 "In the matrix: r/x (reads: phase missing, not expired)."):  # fmt: skip
        assert said in result.stdout


def test_explain_says_that_no_rule_decided_and_how_to_ask() -> None:
    """A refusal by default says so, and how the role may ask."""
    result = _run("explain", "cwc.order", "location", "HP", "--phase", "rescued")
    assert "No rule lets it, and what no rule permits is denied." in result.stdout
    assert "It may ask only with the number of an order (rule cwc.order.location.order)." in result.stdout


def test_explain_tells_variants_apart_that_decide_differently() -> None:
    """Where variants differ, each is explained; the flags count."""
    both = json.loads(_run("explain", "verify.request", "case", "NC", "--json").stdout)
    assert [(each["variants"], each["reads"]) for each in both] == [(["home"], False), (["nationality"], True)]
    ended = _run("explain", "repatriation.order", "location", "ES", "--movement-ended", "--phase", "restored")
    assert "does not read" in ended.stdout
    assert "movement ended" in ended.stdout


def test_explain_says_when_a_role_does_not_count() -> None:
    """A kind that may not hold the role is told so."""
    result = _run("explain", "cwc.order", "case", "HP", "--kind", "shelter")
    assert "No rule lets HP count for an agency of kind shelter." in result.stdout


_WRONG = {
    "an event that is nearly right": (["explain", "misingalert", "case", "HP"], "did you mean missing.alert"),
    "a compartment that is nearly right": (["explain", "ack", "persn-identity", "HP"], "did you mean person-identity"),
    "a role that is not one": (["explain", "ack", "access", "QQ"], "known are OR, HP"),
    "a variant of another type": (
        ["explain", "ack", "access", "HP", "--variant", "child"],
        "there is no variant of ack",
    ),
    "a phase that is nearly right": (["explain", "ack", "access", "HP", "--phase", "rescue"], "did you mean rescued"),
    "a kind that is nearly right": (
        ["explain", "ack", "access", "HP", "--kind", "police-ahut"],
        "did you mean police-ahtu",
    ),
    "a type of no matrix": (["matrix", "--type", "cwc.ordr"], "did you mean cwc.order"),
    "a variant of no matrix": (["matrix", "--type", "ack", "--variant", "home"], "there is no variant"),
    "a folder that is not there": (["check", "--policies", "nowhere"], "does not exist"),
    "a folder too few": (["diff", "nowhere"], "does not exist"),
}


@pytest.mark.parametrize(("words", "said"), _WRONG.values(), ids=_WRONG.keys())
def test_wrong_input_is_one_plain_sentence(words: list[str], said: str) -> None:
    """Wrong input ends with 2 and one sentence that helps, without a traceback."""
    result = _run(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_diff_names_the_cells_that_change(files: Files, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two folders that decide alike end with 0, whatever their text; others with 1 and the cells."""
    old = tmp_path_factory.mktemp("old")
    for name, data in files.items():
        (old / name).write_bytes(data)
    _edit(folder, "common.cedar", "// What holds", "// Here is what holds")
    same = _run("diff", str(old), str(folder))
    assert (same.exit_code, same.stdout) == (0, "0 cells decide differently, 0 of them wider.\n")
    _edit(
        folder,
        "cwc.order.cedar",
        'when { [Role::"WD"].contains(principal) }',
        'when { [Role::"NR"].contains(principal) }',
    )
    result = _run("diff", str(old), str(folder), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {"where": "cwc.order person-identity WD", "before": "q", "after": "blank", "wider": False},
        {"where": "cwc.order person-identity NR", "before": "x", "after": "q", "wider": True},
    ]


def test_help_does_not_wait_for_the_engine() -> None:
    """Importing the commands loads neither Cedar nor the policies."""
    code = "import sys, adapters.cli.policy; print([m for m in sys.modules if m == 'cedarpy' or m.startswith('broker.policy')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
