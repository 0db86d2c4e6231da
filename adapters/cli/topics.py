"""``casebridge broker topics``: a Kafka cluster against the file that declares its topics and rights."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adapters import registrar
from adapters.cli.session import print_json, table
from adapters.home import decode_key
from broker.errors import ConfigError
from broker.keys.handles import verify
from broker.names import AgencyId, AgencyKind
from broker.trust import file as directory_file

if TYPE_CHECKING:
    from broker.stream.kafka.admin import Admin
    from broker.stream.kafka.difference import Difference
    from broker.stream.kafka.plan import Grant, TopicPlan

_T = TypeVar("_T")
Work = Callable[["Admin", "list[TopicPlan]", "list[Grant]"], Awaitable[_T]]
_PATH = click.Path(path_type=Path)


@click.group()
def topics() -> None:
    """A Kafka cluster's topics and rights: what is declared, what is there, and what is missing."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--cluster", type=_PATH, required=True, help="The settings of the cluster (kafka.json)."),
        click.option("--declared", type=_PATH, required=True, help="The file that declares it (topics.toml)."),
        click.option(
            "--directory",
            type=_PATH,
            required=True,
            help="The signed directory, a folder or one file: each agency has a topic.",
        ),
        click.option("--trust", required=True, multiple=True, help="Key that signs the directory (base64)."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ):
        command = option(command)
    return command


@topics.command("plan")
@_options
def plan(as_json: bool, **where: Any) -> int:
    """Show in what the cluster is not as declared. Nothing is changed."""
    return _tell(_on_cluster(_compare, **where), as_json=as_json, fine="The cluster is as declared.")


@topics.command("apply")
@_options
def apply(as_json: bool, **where: Any) -> int:
    """Make the topics and rights that are missing. Nothing that is there is changed or removed; that is told."""

    async def work(admin: Admin, planned: list[TopicPlan], grants: list[Grant]) -> list[Difference]:
        made = await admin.make_topics(planned)
        await admin.give_rights(grants)
        if not as_json:
            click.echo(f"{len(made)} topics made, {len(planned) - len(made)} were there; every right is given.")
        return await _compare(admin, planned, grants)

    return _tell(_on_cluster(work, **where), as_json=as_json, fine="The cluster is as declared.")


@topics.command("verify")
@_options
def verify_(as_json: bool, **where: Any) -> int:
    """Compare the cluster with what is declared; exit with 1 where it differs, a right too many included."""
    return _tell(_on_cluster(_compare, **where), as_json=as_json, fine="The cluster is as declared.")


async def _compare(admin: Admin, planned: list[TopicPlan], grants: list[Grant]) -> list[Difference]:
    from broker.stream.kafka.difference import differences

    return await differences(admin, planned, grants)


def _on_cluster(work: Work[_T], *, cluster: Path, declared: Path, directory: Path, trust: tuple[str, ...]) -> _T:
    from broker.stream.kafka.admin import Admin
    from broker.stream.kafka.plan import Plan
    from broker.stream.kafka.settings import Settings

    said = Plan.load(declared)
    settings = Settings.load(cluster)
    agencies, auditors = _agencies(directory, trust)

    async def run() -> _T:
        admin = await Admin.open(settings)
        try:
            return await work(admin, said.topics(agencies), said.grants(agencies, auditors))
        finally:
            await admin.close()

    return asyncio.run(run())


def _agencies(path: Path, trust: tuple[str, ...]) -> tuple[list[AgencyId], list[AgencyId]]:
    """Every agency of the directory, and the auditors among them."""
    if path.is_dir():
        newest = registrar.newest(path)
        if newest is None:
            raise ConfigError(f"the directory {path} is empty; install the exchange's directory there")
        path = newest
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {(error.strerror or 'refused').lower()}") from None
    found = directory_file.parse(data, verify=verify, trusted_keys=tuple(decode_key(key) for key in trust))
    auditors = [one.id for one in found.agencies.values() if one.kind is AgencyKind.AUDITOR]
    return sorted(found.agencies), sorted(auditors)


def _tell(found: list[Difference], *, as_json: bool, fine: str) -> int:
    if as_json:
        print_json([one._asdict() for one in found])
    elif not found:
        click.secho(fine, fg="green")
    else:
        table(("what", "declared", "there"), [(one.about, one.planned or "-", one.found or "-") for one in found])
    return 1 if found else 0
