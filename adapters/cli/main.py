"""The command ``casebridge``: groups, options for all, exit codes. Heavy modules load when a command needs them."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Final

import click

OK: Final = 0
DIFFERS: Final = 1
USAGE: Final = 2
INPUT: Final = 3
REFUSED: Final = 4
KEYS: Final = 5
INSTALLATION: Final = 6
STREAM: Final = 7
UNEXPECTED: Final = 70

SHARED: Final = frozenset({"home", "key_file", "passphrase_file", "offline", "debug"})
"""The options for all, which may stand before or after the command."""

_COMMANDS: Final = {
    "adapter": ("adapters.cli.run", "adapter", "Run this agency's adapter."),
    "broker": ("adapters.cli.run", "broker", "Run the exchange's broker."),
    "completion": ("adapters.cli.completion", "completion", "Print the completion script for a shell."),
    "demo": ("adapters.cli.run", "demo", "Play the demo case with seventeen agencies."),
    "directory": ("adapters.cli.setup", "directory", "The directory of a pilot: create, enrol, show."),
    "fsck": ("adapters.cli.fsck", "fsck_", "Rebuild everything from the records; say what does not fit."),
    "inbox": ("adapters.cli.read", "inbox", "List what this agency received."),
    "init": ("adapters.cli.setup", "init", "Make the home folder of an agency's adapter, with new keys."),
    "keys": ("adapters.cli.keys", "keys", "This agency's keys: show, rotate, destroy-expired, erase."),
    "notary": ("adapters.cli.notary", "notary", "The notary: init, run."),
    "open": ("adapters.cli.read", "open_", "Open what an event lets this agency read; leaves a receipt."),
    "policy": ("adapters.cli.policy", "policy", "Who may read what, and why."),
    "preview": ("adapters.cli.send", "preview", "Show who would read what of a record, and why; sends nothing."),
    "publish": ("adapters.cli.send", "publish", "Seal a record and send it."),
    "quarantine": ("adapters.cli.faults", "quarantine", "List what failed a check."),
    "show": ("adapters.cli.read", "show", "Show an event without opening it."),
    "stream": ("adapters.cli.setup", "stream", "The embedded stream's file: create, enrol."),
    "trace": ("adapters.cli.trace", "trace", "Tell a case as this agency knows it."),
}


class _Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return _anywhere(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][2]) for name in sorted(_COMMANDS)])


def _anywhere(command: click.Command) -> click.Command:
    """The command, and all below it, taking the options for all after its name too, where people write them."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _anywhere(below)
        return command
    taken = {word for parameter in command.params for word in parameter.opts}
    for option in cli.params:
        if isinstance(option, click.Option) and option.name in SHARED and taken.isdisjoint(option.opts):
            command.params.append(
                click.Option(
                    option.opts,
                    type=option.type,
                    is_flag=option.is_flag,
                    expose_value=False,
                    hidden=True,
                    callback=_shared,
                )
            )
    return command


def _shared(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    if value and option.name is not None:
        ctx.obj[option.name] = value


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    envvar="CASEBRIDGE_HOME",
    help="Home folder of the adapter (or CASEBRIDGE_HOME).",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    envvar="CASEBRIDGE_KEY_FILE",
    help="File that unlocks the keys (or CASEBRIDGE_KEY_FILE).",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    envvar="CASEBRIDGE_PASSPHRASE_FILE",
    help="File with the passphrase (or CASEBRIDGE_PASSPHRASE_FILE); without either, it is asked for.",
)
@click.option("--offline", is_flag=True, help="Do not look at the stream first.")
@click.option("--debug", is_flag=True, help="Show where an unexpected error happened.")
@click.version_option(package_name="casebridge")
@click.pass_context
def cli(
    ctx: click.Context,
    home: Path | None,
    key_file: Path | None,
    passphrase_file: Path | None,
    offline: bool,
    debug: bool,
) -> None:
    """Exchange trafficking cases between agencies, each reading exactly what policy gives it.

    These options may stand before or after the command.

    Exit codes: 0 done; 1 a check found something; 2 wrong use; 3 the record must be corrected; 4 refused by role or
    policy; 5 keys; 6 this installation; 7 the stream is out of reach; 70 unexpected.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    ctx.obj = {
        "home": home,
        "key_file": key_file,
        "passphrase_file": passphrase_file,
        "offline": offline,
        "debug": debug,
    }


def explain(error: Exception) -> tuple[int, list[str]]:
    """The exit code of an error of the exchange, and its lines: one sentence, or one for each fault of a record."""
    from broker import errors

    codes: list[tuple[type[Exception], int]] = [
        (errors.InputError, INPUT),
        (errors.Refused, REFUSED),
        (errors.Invalid, DIFFERS),
        (errors.KeyUnavailable, KEYS),
        (errors.ConfigError, INSTALLATION),
        (errors.StoreError, INSTALLATION),
        (errors.StreamError, STREAM),
        (errors.Pending, STREAM),
    ]
    code = next((number for kind, number in codes if isinstance(error, kind)), UNEXPECTED)
    detail = error.detail if isinstance(error, errors.CasebridgeError) else {}
    which = f"record {detail['record']}: " if "record" in detail else ""
    problems = detail.get("problems")
    if isinstance(problems, list) and problems:
        return code, [f"{which}{one['field']}: {one['problem']}" for one in problems]
    if code == STREAM:
        return code, [f"{error}; nothing is lost; --offline works with what is here"]
    return code, [f"{which}{error}"]


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    debug = "--debug" in sys.argv[1:]
    try:
        result: Any = cli.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else OK)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(OK)
    except Exception as error:  # noqa: BLE001 - the last line of defence of a command: no traceback for people
        sys.exit(_report(error, debug=debug))


def _report(error: Exception, *, debug: bool) -> int:
    from broker.errors import CasebridgeError

    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, CasebridgeError):
        code, lines = explain(error)
        for line in lines:
            click.echo(f"casebridge: {line}", err=True)
        return code
    if isinstance(error, OSError) and error.strerror:
        click.echo(f"casebridge: {error.filename or 'a file'}: {error.strerror.lower()}", err=True)
        return INSTALLATION
    click.echo(f"casebridge: unexpected fault ({type(error).__name__}); run again with --debug for details", err=True)
    return UNEXPECTED
