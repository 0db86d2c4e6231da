"""What is shipped to be deployed names commands that exist, and gives its processes no more than they need."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from adapters.cli.main import cli

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))
CLOSED = {
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "UMask": "0077",
    "MemorySwapMax": "0",
    "LimitCORE": "0",
}


def service(path: Path) -> dict[str, str]:
    """The settings of a unit; of one that stands twice, the last."""
    lines = [line for line in path.read_text("utf-8").splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_there_are_units() -> None:
    """A loader that finds nothing proves nothing."""
    assert {path.name for path in UNITS} == {"casebridge-adapter@.service", "casebridge-broker.service"}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_command_that_exists(path: Path) -> None:
    """The words of ExecStart are taken by the command line as they stand."""
    program, *words = shlex.split(service(path)["ExecStart"])
    assert program.endswith("/casebridge")
    root = click.Context(cli, info_name="casebridge", obj={})
    name, command, rest = cli.resolve_command(root, cli.make_parser(root).parse_args(args=list(words))[1])
    assert isinstance(command, click.Group)
    found = command.get_command(root, rest[0])
    assert found is not None
    assert (found.name, rest[1:]) == ("run", [])
    assert name in words


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_is_closed_but_for_its_folder(path: Path) -> None:
    """No privilege, no swap, no core file; one writable folder, of its own."""
    said = service(path)
    assert {name: said.get(name) for name in CLOSED} == CLOSED
    assert said["StateDirectory"].startswith("casebridge/")
    assert f"/var/lib/{said['StateDirectory']}" in said["ExecStart"]
    assert "%d/passphrase" in said["ExecStart"], "the passphrase comes from systemd's credentials"
