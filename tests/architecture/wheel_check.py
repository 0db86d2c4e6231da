"""Builds the wheel, installs it alone in a new environment, and reads from there the data it must carry.

The dependencies are taken from the environment that runs this, so that nothing is fetched.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Final

from tests.architecture.source import ROOT, files

PROBE: Final = """
import sys
from importlib.metadata import distribution
from importlib.resources import files
import broker
assert not broker.__file__.startswith(sys.argv[1]), "the checkout was imported, not the wheel"
for name in sys.stdin.read().split():
    folder, _, rest = name.partition("/")
    assert files(folder).joinpath(rest).is_file(), f"{name} is not in the wheel"
assert distribution("casebridge").entry_points["casebridge"].load()
"""


def data_files() -> list[str]:
    """What the wheel must carry beside code.

    Raises:
        LookupError: there is nothing of one of the two.
    """
    found = [name for name in files() if name.startswith(("schemas/", "policies/"))]
    for folder in ("schemas/", "policies/"):
        if not any(name.startswith(folder) and not name.endswith(".py") for name in found):
            raise LookupError(f"no data under {folder}")
    return found


def run(*command: str | Path, cwd: Path, stdin: str = "") -> str:
    """Runs a command with an environment that leads to no checkout, and returns what it printed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, input=stdin, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:4]))} …\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Runs the check; ends the process with what went wrong."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", place, ROOT, cwd=place)
        (wheel,) = place.glob("casebridge-*.whl")
        venv.create(place / "venv", with_pip=False, symlinks=True)
        python = place / "venv" / "bin" / "python"
        run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=place)
        site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip())
        # A .pth here would also bring the editable installation, hence a link to each dependency instead.
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            target = site / entry.name
            if entry.suffix != ".pth" and not entry.name.startswith("casebridge-") and not target.exists():
                target.symlink_to(entry)
        run(python, "-c", PROBE, ROOT, cwd=place, stdin="\n".join(data_files()))
        print(run(place / "venv" / "bin" / "casebridge", "--help", cwd=place).splitlines()[0])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
