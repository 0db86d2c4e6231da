"""What the CI adds to a test run: nothing is skipped, and properties are tried on the same examples each time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

SKIPS = {
    "a test that skips itself": "import pytest\ndef test_a():\n    pytest.skip('no reason that counts')\ndef test_b():\n    pass\n",
    "a module that skips itself": "import pytest\npytest.importorskip('no_such_module')\n",
    "a test that may fail": "import pytest\n@pytest.mark.xfail(reason='some day')\ndef test_a():\n    assert False\n",
}

HONEST = "def test_a():\n    pass\n"


def _run(folder: Path, text: str, *options: str, ci: bool) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "test_it.py").write_text(text)
    env = {name: value for name, value in os.environ.items() if name not in ("CI", "HYPOTHESIS_PROFILE")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env=env | ({"CI": "true"} if ci else {}),
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("case", SKIPS)
def test_a_skip_fails_the_ci(case: str, tmp_path: Path) -> None:
    """In CI whatever did not run, or may fail, fails the run and is named before the closing line."""
    done = _run(tmp_path, SKIPS[case], ci=True)
    assert done.returncode == 1, done.stdout
    assert "did not run, and CI allows no skip: " in done.stdout
    assert " in " in done.stdout.splitlines()[-1]


def test_a_skip_in_a_worker_fails_the_ci(tmp_path: Path) -> None:
    """The same holds when tests run in several processes."""
    done = _run(tmp_path, SKIPS["a test that skips itself"], "-n", "1", ci=True)
    assert done.returncode == 1, done.stdout


def test_without_ci_a_skip_passes(tmp_path: Path) -> None:
    """A developer may skip; a run with nothing skipped passes in CI."""
    assert _run(tmp_path, SKIPS["a test that skips itself"], ci=False).returncode == 0
    assert _run(tmp_path, HONEST, ci=True).returncode == 0


@pytest.mark.parametrize(("ci", "derandomized"), [(True, "True"), (False, "False")])
def test_properties_are_deterministic_in_ci(ci: bool, derandomized: str, tmp_path: Path) -> None:
    """In CI hypothesis draws the same examples each time, without a deadline."""
    text = "from hypothesis import settings\ndef test_a():\n    print(settings().derandomize, settings().deadline)\n"
    done = _run(tmp_path, text, "-s", ci=ci)
    assert f"{derandomized} None" in done.stdout
