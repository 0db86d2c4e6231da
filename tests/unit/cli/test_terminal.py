"""What depends on a terminal: bars, colours, and the completion of a shell."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from adapters.cli.progress import Progress
from tests.fault.daemons import COMMAND, command
from tests.fault.path import Course, record
from tests.fault.processes import ROOT
from tests.story.small_exchange import HOME

BOLD: Final = "\x1b[1m"


def on_terminal(words: list[str], *, terminal: str = "both", **environment: str) -> tuple[int, str, str]:
    """A command on a terminal: its exit code, what the terminal showed, and what went past it.

    Args:
        terminal: ``both``, or only ``err`` while standard output goes to a pipe.
    """
    screen, line = pty.openpty()
    with subprocess.Popen(
        words,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=line if terminal == "both" else subprocess.PIPE,
        stderr=line,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **environment},
    ) as process:
        os.close(line)
        shown = bytearray()
        while True:
            try:
                data = os.read(screen, 4_096)
            except OSError:  # a terminal that nobody holds any more
                break
            if not data:
                break
            shown += data
        past = process.stdout.read().decode() if process.stdout is not None else ""
        code = process.wait(60)
    os.close(screen)
    return code, shown.decode(), past


def test_what_takes_long_shows_that_it_goes_on_on_a_terminal_only(tmp_path: Path) -> None:
    """A bar appears on standard error while no broker answers, and leaves standard output alone; in a pipe is none."""
    course = asyncio.run(Course.create(tmp_path / "exchange"))
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record("m")))
    words = command(course.folder, HOME, "publish", str(file), "--wait", "2", "--json")
    code, shown, past = on_terminal(words, terminal="err")
    assert code == 0, shown
    assert "waiting for the broker" in shown
    assert [one["state"] for one in json.loads(past)] == ["sent"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "slow"])
def test_a_bar_appears_only_after_a_while(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over at once shows nothing; what takes long shows all that was done before too."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = Progress(10, "counting", began=float("inf") if quick else 0.0)
    for _ in range(10):
        bar()
    assert (bar.bar is None) == quick
    assert quick or bar.bar.finished


@pytest.mark.parametrize(
    ("how", "environment", "coloured"),
    [("both", {}, True), ("both", {"NO_COLOR": "1"}, False), ("both", {"NO_COLOR": ""}, True), ("err", {}, False)],
    ids=["a terminal", "a terminal and NO_COLOR", "an empty NO_COLOR", "a pipe"],
)
def test_colours_appear_on_a_terminal_that_wants_them(how: str, environment: dict[str, str], coloured: bool) -> None:
    """On a terminal, unless NO_COLOR says otherwise (no-color.org); never in a pipe."""
    words = [*COMMAND, "policy", "explain", "ack", "access", "AU"]
    code, shown, past = on_terminal(words, terminal=how, **environment)
    assert code == 0
    assert "Rule " in shown + past
    assert (BOLD in shown + past) == coloured


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("casebridge pol", {"policy"}),
        ("casebridge keys ", {"show", "rotate", "destroy-expired", "erase"}),
        ("casebridge keys erase --pe", {"--person"}),
        ("casebridge inbox --state p", {"pending"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bash_completes(line: str, wanted: set[str], tmp_path: Path) -> None:
    """After the line of docs/commands.md, bash offers commands, options and values."""
    program = tmp_path / "casebridge"
    program.write_text(f"#!{sys.executable}\nfrom adapters.cli.main import main\nmain()\n")
    program.chmod(0o700)
    words = line.split(" ")
    script = (
        'eval "$(casebridge completion bash)"; '
        f"COMP_WORDS=({' '.join(words[:-1])} '{words[-1]}'); COMP_CWORD={len(words) - 1}; "
        "complete -p casebridge; _casebridge_completion casebridge; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    registered, *offered = done.stdout.splitlines()
    assert re.match(r"complete .*-F _casebridge_completion casebridge", registered)
    assert set(offered) >= wanted
    assert all(one.startswith(words[-1]) for one in offered), offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_of_theirs(shell: str) -> None:
    """The script registers a function that asks the program."""
    done = subprocess.run([*COMMAND, "completion", shell], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"_CASEBRIDGE_COMPLETE={shell}_complete" in done.stdout
    assert {"zsh": "#compdef casebridge", "fish": "complete --no-files --command casebridge"}[shell] in done.stdout
