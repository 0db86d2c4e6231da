"""``casebridge completion``; alone, since every shell that starts waits for it."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL; for bash: eval "$(casebridge completion bash)"."""
    from adapters.cli.main import cli

    made = get_completion_class(shell)
    if made is None:
        raise click.BadParameter(f"{shell} is not known")
    click.echo(made(cli, {}, "casebridge", "_CASEBRIDGE_COMPLETE").source())
