"""``casebridge policy``: print, check, explain and compare who may read what.

Policy itself is imported inside the commands, so that ``casebridge --help`` does not wait for the engine.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adapters.cli.policy_view import (
    explanation_json,
    matrix_json,
    print_csv,
    print_explanation,
    print_json,
    print_report,
    print_type,
    report_json,
)
from adapters.cli.progress import progress

if TYPE_CHECKING:
    from broker.policy.decide import Policy
    from broker.policy.domain import Domain
    from broker.policy.load import Files
    from broker.policy.matrix import Matrix
    from broker.policy.model import Decision, Question

_Result = TypeVar("_Result")
_Command = TypeVar("_Command", bound=Callable[..., Any])
_FOLDER = click.Path(exists=True, file_okay=False, readable=True, path_type=Path)


def _policies(command: _Command) -> _Command:
    return click.option("--policies", type=_FOLDER, help="Another policy folder than the installed one.")(command)


def _as_json(command: _Command) -> _Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@click.group("policy")
def policy() -> None:
    """Who may read what: the matrix of the policies, its check, and why a decision is as it is."""


@policy.command("matrix")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--type", "type_", metavar="TYPE", help="Only this event type or control.")
@click.option("--variant", help="Only this variant.")
@_policies
@_as_json
def matrix_command(form: str, type_: str | None, variant: str | None, policies: Path | None, as_json: bool) -> None:
    """Print who reads what, as the policies decide it.

    R reads; r while live, t for one movement, n in one variant until expired, s the transfer summary; q may ask,
    x may ask with an order; blank is no reader. Cells that are blank are left out of JSON and CSV.
    """
    from broker.policy.matrix import compute

    loaded, domain = _loaded(policies), _domain()
    chosen = {name: facts for name, facts in domain.items() if type_ is None or name == _one_of(type_, domain, "TYPE")}
    if variant is not None:
        known = list(dict.fromkeys(v for facts in chosen.values() for v in facts.variants))
        _one_of(variant, known, "variant")
    with progress(len(chosen), "deciding") as tick:
        whole = compute(loaded, chosen, tick=tick)
    rows = [row for row in whole.rows() if variant is None or row.variant == variant]
    if as_json or form == "json":
        print_json(matrix_json(whole, rows))
    elif form == "csv":
        print_csv(rows)
    else:
        for facts in chosen.values():
            print_type(facts, [row for row in rows if row.type == facts.name])


@policy.command("check")
@_policies
@_as_json
@click.pass_context
def check_command(context: click.Context, policies: Path | None, as_json: bool) -> None:
    """Validate the policies, compare them with the expected matrix, and prove the invariants.

    Prints how many cases were tried. Ends with 1 if anything is wrong.
    """
    from broker.policy.check import check

    domain = _domain()
    with progress(len(domain), "checking") as tick:
        report = _configured(lambda: check(_files(policies), domain, tick=tick))
    if as_json:
        print_json(report_json(report))
    else:
        print_report(report)
    if not report.ok:
        context.exit(1)


@policy.command("explain")
@click.argument("event")
@click.argument("compartment")
@click.argument("role")
@click.option("--variant", help="Variant of the event; left out, all of them.")
@click.option("--phase", default="missing", show_default=True, help="Phase of the person.")
@click.option("--kind", help="Kind of agency; left out, one for which the role counts.")
@click.option("--expired", is_flag=True, help="The message has expired or was cancelled for this person.")
@click.option("--movement-ended", is_flag=True, help="The movement ended more than 24 hours ago.")
@_policies
@_as_json
def explain_command(policies: Path | None, as_json: bool, **asked: Any) -> None:
    """Say which rule lets ROLE read COMPARTMENT of EVENT, or that none does and how it may ask."""
    from broker.policy.explain import explain
    from broker.policy.matrix import compute

    loaded, domain = _loaded(policies), _domain()
    questions = _questions(loaded, domain, asked)
    cells = compute(loaded, {questions[0].type: domain[questions[0].type]})
    alike: dict[tuple[Decision, tuple[str, str]], list[Question]] = {}
    for question in questions:
        alike.setdefault((loaded.decide(question), _cell_code(cells, question)), []).append(question)
    views = [(explain(loaded, same[0]), code, [q.variant for q in same]) for (_, code), same in alike.items()]
    if as_json:
        print_json([explanation_json(*view) for view in views])
    else:
        for number, view in enumerate(views):
            click.echo("\n" * bool(number), nl=False)
            print_explanation(*view)


@policy.command("diff")
@click.argument("old", type=_FOLDER)
@click.argument("new", type=_FOLDER)
@_as_json
@click.pass_context
def diff_command(context: click.Context, old: Path, new: Path, as_json: bool) -> None:
    """Say which cells decide differently in NEW than in OLD. Ends with 1 if any does."""
    from broker.policy.diff import changes
    from broker.policy.matrix import compute

    domain = _domain()
    with progress(2 * len(domain), "comparing") as tick:
        before, after = (compute(_loaded(one), domain, tick=tick) for one in (old, new))
    found = changes(before, after)
    if as_json:
        print_json([change._asdict() for change in found])
    else:
        for change in found:
            click.echo(click.style(str(change), fg="red" if change.wider else "green"))
        click.echo(f"{len(found):,} cells decide differently, {sum(c.wider for c in found):,} of them wider.")
    if found:
        context.exit(1)


# -- what the commands share


def _configured(work: Callable[[], _Result]) -> _Result:
    """The result of ``work``; a fault of this installation as one plain line, exit code 1."""
    from broker.errors import ConfigError

    try:
        return work()
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _domain() -> Domain:
    from broker.policy.domain import load_domain

    return _configured(load_domain)


def _files(folder: Path | None) -> Files:
    from broker.policy.load import read_files

    return _configured(lambda: read_files(folder))


def _loaded(folder: Path | None) -> Policy:
    """The policy of a folder; one that denies everything is refused here, with every reason."""
    from broker.policy.decide import Policy

    loaded = Policy.load(_files(folder))
    if loaded.faults:
        raise click.ClickException("the policy denies everything: " + "; ".join(map(str, loaded.faults)))
    return loaded


def _one_of(word: str, known: Iterable[str], name: str) -> str:
    """The word as it is known, whatever its case.

    Raises:
        click.BadParameter: it is not known; says what comes close.
    """
    words = {each.lower(): each for each in known}
    if word.lower() in words:
        return words[word.lower()]
    close = difflib.get_close_matches(word.lower(), words, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(words[c] for c in close)}?" if close else f"known are {', '.join(words.values())}"
    )
    raise click.BadParameter(f"there is no {name} {word!r}; {hint}")


# -- explain


def _questions(loaded: Policy, domain: Domain, asked: dict[str, Any]) -> list[Question]:
    """The questions that the arguments ask: one for each variant.

    Raises:
        click.BadParameter: a word is not known.
    """
    from broker.names import AgencyKind, Compartment, Phase, Role
    from broker.policy.domain import COMPARTMENTS, ROLES
    from broker.policy.model import Question

    facts = domain[_one_of(asked["event"], domain, "event")]
    compartment = Compartment.of(_one_of(asked["compartment"], (c.label for c in COMPARTMENTS), "compartment"))
    role = Role.of(_one_of(asked["role"], (r.label for r in ROLES), "role"))
    phase = Phase.of(_one_of(asked["phase"], (p.label for p in Phase), "phase"))
    if asked["kind"] is None:
        kind = next(k for k in AgencyKind if loaded.hold(role, k).permit)
    else:
        kind = AgencyKind.of(_one_of(asked["kind"], (k.label for k in AgencyKind), "kind of agency"))
    variants: Iterable[str] = facts.variants
    if asked["variant"] is not None:
        variants = (_one_of(asked["variant"], facts.variants, f"variant of {facts.name}"),)
    flags = (asked["expired"], asked["movement_ended"])
    return [Question(facts.name, variant, compartment, role, kind, phase, *flags) for variant in variants]


def _cell_code(cells: Matrix, question: Question) -> tuple[str, str]:
    from broker.policy.matrix import Key

    key = Key(question.type, question.variant, question.compartment, question.role)
    return cells.code(key, cells.cells[key])
