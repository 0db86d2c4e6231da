"""``casebridge fsck``: an auditor rebuilds everything from the records, and says what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import click

from adapters.adapter import Adapter
from adapters.audit import Believed, Outcome, believe, fsck, read_policy
from adapters.cli.progress import progress
from adapters.cli.session import SHORT, agency_name, print_json, uuid_text, with_adapter
from broker.clock import rfc3339
from broker.seal.wire import NO_DIGEST

_F = TypeVar("_F", bound=Callable[..., Any])


def log_options(command: _F) -> _F:
    """The options by which a command is told of a log, and what to believe of it."""
    for option in (
        click.option("--log-policy", type=click.Path(path_type=Path), help="Trust policy: logs, witnesses, quorum."),
        click.option("--log-key", help="The log's key, as casebridge notary init printed it."),
        click.option("--log", "source", help="The log: its folder, or its web address."),
    ):
        command = option(command)
    return command


def believed_log(source: str | None, key: str | None, path: Path | None) -> Believed | None:
    """The log that these options name; None where they name none."""
    return None if source is None else believe(source, read_policy(key=key, path=path))


@click.command("fsck")
@log_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def fsck_(ctx: click.Context, source: str | None, log_key: str | None, log_policy: Path | None, as_json: bool) -> int:
    """Rebuild everything from the records and say what does not fit (for an auditor); exits with 1 if something is.

    Every signature and every author's chain is checked, what was accepted is compared with what stood on the stream
    and with what this auditor received, and each ledger with its envelope, the rules and the roles. With --log the
    tree is made anew and compared with the log, file by file.
    """

    async def work(adapter: Adapter) -> int:
        with ExitStack() as bars:
            outcome = await fsck(
                adapter,
                believed_log(source, log_key, log_policy),
                begin=lambda length, label: bars.enter_context(progress(length, label)),
            )
        if as_json:
            print_json(_json(outcome))
        else:
            _print(adapter, outcome)
        return 0 if outcome.clean else 1

    return with_adapter(ctx, work)


def _json(outcome: Outcome) -> dict[str, Any]:
    believed = outcome.believed
    return {
        "messages": outcome.messages,
        "behind": outcome.behind,
        "log": believed
        and {
            "origin": believed.checkpoint.origin,
            "size": believed.checkpoint.size,
            "root": believed.checkpoint.root.hex(),
            "signedBy": list(believed.cosigners),
        },
        "verdicts": [
            {
                "entry": one.place,
                "agency": one.author or None,
                "root": one.root.hex() if one.root != NO_DIGEST else None,
                "verdict": one.reason,
            }
            for one in outcome.verdicts
        ],
        "findings": [
            {
                "event": uuid_text(view.slice.header.event_id),
                "acceptedAt": rfc3339(view.acceptance.statement.appended_at),
                "check": int(one.check),
                "agency": one.agency,
                "finding": one.reason,
            }
            for view, found in outcome.findings
            for one in found
        ],
        "clean": outcome.clean,
    }


def _print(adapter: Adapter, outcome: Outcome) -> None:
    click.echo(f"{outcome.messages} messages of the audit topic: signatures, chains and acceptances checked.")
    if outcome.believed is None:
        click.secho("The tree was not compared: name the log with --log.", fg="yellow")
    else:
        said = outcome.believed.checkpoint
        click.echo(f"The tree of {said.origin}: {said.size} entries made anew and compared, file by file.")
        if outcome.messages > said.size:
            click.echo(f"{outcome.messages - said.size} messages are newer than the checkpoint.")
    if outcome.behind:
        words = f"The notary has not copied {outcome.behind} messages yet: what is missing below may be on its way."
        click.secho(words, fg="yellow")
    for one in outcome.verdicts:
        whom = f"; ask {agency_name(adapter, one.author)}" if one.author else ""
        what = f" (envelope {one.root.hex()[:SHORT]})" if one.root != NO_DIGEST else ""
        click.secho(f"entry {one.place}{what}: {one.reason}{whom}", fg="red")
    for view, found in outcome.findings:
        for each in found:
            event = uuid_text(view.slice.header.event_id)[:SHORT]
            whom = agency_name(adapter, each.agency)
            click.secho(f"event {event}, check {int(each.check)}: {each.reason}; ask {whom}", fg="red")
    count = len(outcome.verdicts) + sum(len(found) for _, found in outcome.findings)
    if outcome.clean:
        click.secho("Everything fits.", fg="green")
    else:
        click.secho(f"{count} {'thing does' if count == 1 else 'things do'} not fit.", fg="red", bold=True)
