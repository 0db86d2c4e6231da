"""How ``casebridge policy`` prints: tables, reports and explanations, as text and as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from broker.policy.check import Report
    from broker.policy.domain import TypeFacts
    from broker.policy.explain import Explanation
    from broker.policy.matrix import Matrix, Row
    from broker.policy.rules import Rule

_SHOWN: Final = 20
_HOW: Final = {"q": "may ask the owner, who decides", "x": "may ask only with the number of an order"}


def print_json(value: object) -> None:
    """Prints a value as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


# -- matrix


def matrix_json(whole: Matrix, rows: list[Row]) -> dict[str, object]:
    """The matrix as JSON: cells that are not blank, and the kinds for which each role counts."""
    return {
        "digest": whole.digest.hex(),
        "cells": [row._asdict() for row in rows if row.code],
        "holders": {role.label: sorted(kind.label for kind in kinds) for role, kinds in whole.holders.items()},
        "errors": list(whole.errors),
    }


def print_csv(rows: list[Row]) -> None:
    """Prints the cells that are not blank, in the columns of the expected matrix."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["type", "variant", "compartment", "role", "code", "when"])
    writer.writerows(row for row in rows if row.code)
    click.echo(text.getvalue(), nl=False)


def print_type(facts: TypeFacts, rows: list[Row]) -> None:
    """One table for each variant that differs from the one before; a row for each compartment that it may hold."""
    from broker.names import Compartment
    from broker.policy.domain import ROLES

    tables: dict[tuple[str, ...], list[str]] = {}
    for variant in facts.variants:
        held = facts.compartments(variant) | {Compartment.ROUTING, Compartment.ACCESS}
        cells = {(row.compartment, row.role): row.code for row in rows if row.variant == variant}
        if cells:
            lines = tuple(
                f"  {each.label:17}" + "".join(f"{cells[each.label, role.label] or '.':>4}" for role in ROLES)
                for each in sorted(held)
            )
            tables.setdefault(lines, []).append(variant)
    for lines, variants in tables.items():
        named = "" if variants == ["-"] else f" ({', '.join(variants)})"
        click.echo(click.style(facts.name + named, bold=True))
        click.echo(click.style(" " * 19 + "".join(f"{role.label:>4}" for role in ROLES), dim=True))
        click.echo("\n".join(lines) + "\n")


# -- check


def report_json(report: Report) -> dict[str, object]:
    """The report as JSON, whole."""
    return {
        "ok": report.ok,
        "digest": report.digest.hex(),
        "rules": report.rules,
        "faults": [fault._asdict() for fault in report.faults],
        "errors": list(report.errors),
        "cells": report.cells,
        "questions": report.questions,
        "differences": [difference._asdict() for difference in report.differences],
        "unused": list(report.unused),
        "invariants": [
            {
                "number": proof.number,
                "text": proof.text,
                "holds": proof.holds,
                "tried": proof.tried,
                "failed": proof.failed,
                "failures": list(proof.failures),
            }
            for proof in report.proofs
        ],
    }


def print_report(report: Report) -> None:
    """Prints the report; long lists are cut."""
    click.echo(f"Policy {report.digest.hex()[:16]}, {report.rules:,} rules")
    _print_found("files: all parse and validate", "files that make the policy deny everything", report.faults)
    _print_found("evaluation: no errors", "errors of evaluation", report.errors)
    equal = f"matrix: {report.cells:,} cells ({report.questions:,} questions) are as expected"
    _print_found(equal, f"of {report.cells:,} cells differ from the expected matrix", report.differences)
    _print_found("rules: each decides somewhere", "rules decide nowhere", report.unused)
    click.echo("Invariants:")
    for proof in report.proofs:
        word = click.style("holds ", fg="green") if proof.holds else click.style("BROKEN", fg="red")
        click.echo(f"  {proof.number:2}  {word}  {proof.tried:>7,} cases  {proof.text}")
        for failure in proof.failures:
            click.echo(f"        {failure}")
        if not proof.tried:
            click.echo("        nothing to try")
    click.echo(click.style("All is well.", fg="green") if report.ok else click.style("Something is wrong.", fg="red"))


def _print_found(good: str, bad: str, found: tuple[object, ...]) -> None:
    if not found:
        click.echo(click.style("  ok  ", fg="green") + good)
        return
    click.echo(click.style("  --  ", fg="red") + f"{len(found):,} {bad}:")
    for each in found[:_SHOWN]:
        click.echo(f"        {each}")
    if len(found) > _SHOWN:
        click.echo(f"        and {len(found) - _SHOWN:,} more; --json prints all")


def explanation_json(found: Explanation, code: tuple[str, str], variants: Sequence[str]) -> dict[str, object]:
    """An explanation as JSON; ``variants`` are those that decide alike."""
    question, decision = found.question, found.decision
    rule = found.rule
    return {
        "event": question.type,
        "variants": list(variants),
        "compartment": question.compartment.label,
        "role": question.role.label,
        "kind": question.kind.label,
        "phase": question.phase.label,
        "expired": question.expired,
        "movementEnded": question.movement_ended,
        "reads": decision.permit,
        "roleCounts": found.counts,
        "rule": rule
        and {"id": rule.id, "file": rule.file, "note": rule.note, "source": rule.source, "text": rule.text},
        "ask": decision.ask,
        "askRule": found.asking and found.asking.id,
        "code": code[0],
        "when": code[1],
        "error": decision.error,
    }


def print_explanation(found: Explanation, code: tuple[str, str], variants: Sequence[str]) -> None:
    """Prints an explanation in sentences, with the rule as it is written."""
    question, decision = found.question, found.decision
    variant = "" if question.variant == "-" else f" ({', '.join(variants)})"
    flags = ", expired" * question.expired + ", movement ended" * question.movement_ended
    verdict = click.style("reads", fg="green") if decision.permit else click.style("does not read", fg="red")
    click.echo(
        f"{question.role.label}, an agency of kind {question.kind.label}, {verdict} {question.compartment.label} of "
        f"{question.type}{variant}, phase {question.phase.label}{flags}."
    )
    if decision.error:
        click.echo(f"Not decidable, so denied: {decision.error}")
    elif not found.counts:
        click.echo(f"No rule lets {question.role.label} count for an agency of kind {question.kind.label}.")
    elif found.rule is None:
        click.echo("No rule lets it, and what no rule permits is denied.")
    else:
        _print_rule(found.rule, "permits it" if decision.permit else "forbids it, whatever the others say")
    if not decision.permit and found.counts:
        how = _HOW.get(decision.ask, "may not ask either")
        click.echo(f"It {how}" + (f" (rule {found.asking.id})." if found.asking else "."))
    if code[0]:
        click.echo(f"In the matrix: {code[0]}" + (f" (reads: {code[1]})." if code[1] else "."))


def _print_rule(rule: Rule, verb: str) -> None:
    click.echo(f"Rule {click.style(rule.id, bold=True)} ({rule.file}) {verb}.")
    if rule.note:
        click.echo(f"Why: {rule.note}")
    if rule.source:
        click.echo(f"Law: {rule.source}")
    body = [line for line in rule.text.splitlines() if not line.startswith("@")]
    click.echo("\n" + "\n".join("    " + line for line in body) + "\n")
