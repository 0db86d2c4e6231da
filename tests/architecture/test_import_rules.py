"""The import rules of ``pyproject.toml`` hold for the project, and catch what breaks them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.architecture.source import ROOT

LINT: Final = (str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache")

MODULES: Final = (
    *("names", "errors", "limits", "clock", "merkle", "checks"),
    *("event/a", "policy/a", "keys/a", "trust/a", "tlog/a", "stream/a", "authority/a", "seal/a", "audit/a"),
    *("dispatch", "receive", "pipeline", "service/a", "telemetry"),
)

BREACHES: Final = {
    "broker.event.a": "broker.policy.a",
    "broker.policy.a": "broker.keys.a",
    "broker.stream.a": "broker.tlog.a",
    "broker.keys.a": "broker.event.a",
    "broker.trust.a": "broker.event.a",
    "broker.tlog.a": "broker.event.a",
    "broker.authority.a": "broker.seal.a",
    "broker.seal.a": "broker.audit.a",
    "broker.dispatch": "broker.receive",
    "broker.receive": "broker.pipeline",
    "broker.audit.a": "broker.pipeline",
    "broker.pipeline": "broker.service.a",
    "broker.names": "broker.event.a",
    "broker.service.a": "adapters.a",
}
"""Module to what it must not import; the last stands for any import of an adapter by the broker."""


def _lint(folder: Path, config: Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [*LINT, "--config", str(config)], cwd=folder, env=env, text=True, capture_output=True, check=False
    )


def test_imports_point_down() -> None:
    """No module of the project imports one above or beside it, type-only imports included."""
    done = _lint(ROOT, ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_wrong_import_is_found(tmp_path: Path) -> None:
    """Each contract finds the import that breaks it, also one under TYPE_CHECKING, and a module without a layer."""
    for name in (*(f"broker/{module}" for module in MODULES), "adapters/a", "broker/newcomer"):
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in {tmp_path / name.split("/")[0], file.parent}:
            (folder / "__init__.py").touch()
        imported = BREACHES.get(name.replace("/", "."))
        file.write_text(
            f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import {imported}\n" if imported else ""
        )
    done = _lint(tmp_path, ROOT / "pyproject.toml")
    assert done.returncode == 1, done.stderr
    missed = [f"{one} -> {other}" for one, other in BREACHES.items() if f"{one} -> {other}" not in done.stdout]
    assert not missed, done.stdout
    assert "newcomer" in done.stdout
