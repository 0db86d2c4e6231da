"""The commands of the program, as it lists them itself."""

from __future__ import annotations

import importlib

import click

MODULE = "adapters.cli.main"


def _walk(name: str, command: click.Command) -> dict[str, frozenset[str]]:
    options = frozenset(
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    )
    found = {name: options}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for word in command.list_commands(context):
            below = command.get_command(context, word)
            if below is None:
                raise LookupError(f"casebridge lists {word!r} and does not have it")
            if not below.hidden:
                found |= _walk(f"{name} {word}".strip(), below)
    return found


def commands() -> dict[str, frozenset[str]]:
    """Every command (``policy matrix``) with its options; "" is ``casebridge`` itself.

    Raises:
        LookupError: the program has no commands.
    """
    module = importlib.import_module(MODULE)
    groups = [value for value in vars(module).values() if isinstance(value, click.Group) and value.name is not None]
    if not groups:
        raise LookupError(f"{MODULE} holds no group of commands")
    root = max(groups, key=lambda group: len(_walk("", group)))
    return _walk("", root)
