"""The check finds each change of the policies, and each invariant can break."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from broker.errors import ConfigError
from broker.names import Compartment
from broker.policy.check import check
from broker.policy.decide import Policy
from broker.policy.diff import changes
from broker.policy.domain import Domain
from broker.policy.expected import compare, load_expected
from broker.policy.load import AUTHORITY, EXPECTED, Files
from broker.policy.matrix import Matrix, compute
from broker.policy.prove import Authority, Proof, prove

_SMALL = (
    "missing.alert", "transit.alert", "sighting.report", "rescue.notice", "cwc.order", "verify.request",
    "repatriation.order", "handover.record", "prosecution.update", "access.grant",
)  # fmt: skip
_STATED = (1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 16, 17)


def _drop(files: Files, *ids: str) -> Files:
    """The files without these rules."""
    left, rules = dict(files), Policy.load(files).rules
    for found in (rules[name] for name in ids):
        assert found.text.encode() in left[found.file]
        left[found.file] = left[found.file].replace(found.text.encode(), b"")
    return left


def _part(files: Files) -> Files:
    """The files with only those expected cells that lie in the small domain."""
    lines = files[EXPECTED].decode().splitlines(keepends=True)
    kept = [line for line in lines if line.split(",")[0] in ("type", "*", *_SMALL)]
    return {**files, EXPECTED: "".join(kept).encode()}


def _allow(files: Files, role: str, compartment: str, condition: str = "true", action: str = "read") -> Files:
    """The files with one more rule."""
    rule = (
        f'@id("extra") permit (principal == Role::"{role}", action == Action::"{action}", '
        f'resource == Compartment::"{compartment}") when {{ {condition} }};'
    )
    return {**files, "extra.cedar": rule.encode()}


@pytest.fixture(scope="module")
def small(domain: Domain) -> Domain:
    """Some types, in which every invariant has something to say."""
    return {name: domain[name] for name in _SMALL}


@pytest.fixture(scope="module")
def small_matrix(policy: Policy, small: Domain) -> Matrix:
    """The matrix of the installed policy over these types."""
    return compute(policy, small)


def test_the_installed_policy_passes(files: Files, domain: Domain) -> None:
    """Every cell is as expected, every rule decides somewhere, and every invariant holds in every case."""
    report = check(files, domain)
    assert (report.faults, report.errors, report.differences, report.unused) == ((), (), (), ())
    assert [proof.number for proof in report.proofs] == list(_STATED)
    assert [proof for proof in report.proofs if not proof.holds] == []
    assert report.cells == sum(len(t.variants) for t in domain.values()) * 14 * 18
    assert report.questions == report.cells * 20 * 24
    assert report.ok


def test_every_cell_is_as_expected(matrix: Matrix, files: Files, domain: Domain) -> None:
    """The matrix is the expected one, cell by cell, and the expected one is not empty."""
    expected = load_expected(files, domain)
    assert len(expected) > 2_000
    assert set(expected) <= set(matrix.cells)
    assert compare(matrix, expected) == []


_CHANGED: dict[str, tuple[Callable[[Files], Files], str, str]] = {
    "a permit is lost": (
        lambda f: _drop(f, "missing.alert.case.ask"), "missing.alert", "missing.alert(child) case NC: expected q, found blank"),
    "a permit is widened": (
        lambda f: _allow(f, "CM", "case", 'context.eventType == EventType::"missing.alert"'),
        "missing.alert", "missing.alert(child) case CM: expected blank, found R"),
    "a condition is lost": (
        lambda f: {**f, "transit.alert.cedar": f["transit.alert.cedar"].replace(b"context.phase == Phase::\"missing\" && ", b"")},
        "transit.alert", "transit.alert operational HP: expected r (phase missing, not expired), found r (not expired)"),
    "a rule reads at odd times": (
        lambda f: _allow(f, "CJ", "case", 'context.phase == Phase::"closed" && context.eventType == EventType::"missing.alert"'),
        "missing.alert", "missing.alert(adult) case CJ: expected blank, found ? (closed; closed movement-ended; "
        "closed expired; closed expired movement-ended)"),
    "an order becomes a request": (
        lambda f: _allow(f, "NR", "contact-reporter", action="request"),
        "missing.alert", "missing.alert(child) contact-reporter NR: expected x, found q"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "name", "said"), _CHANGED.values(), ids=_CHANGED.keys())
def test_a_changed_rule_is_a_difference(
    files: Files, domain: Domain, change: Callable[[Files], Files], name: str, said: str
) -> None:
    """A rule removed, added or altered shows as a cell that is not as expected, and in the diff."""
    part = {name: domain[name]}
    altered = compute(Policy.load(change(files)), part)
    expected = {key: value for key, value in load_expected(files, domain).items() if key.type == name}
    assert said in [str(difference) for difference in compare(altered, expected)]
    before = compute(Policy.load(files), part)
    assert len(changes(before, altered)) == len(compare(altered, expected))
    assert changes(before, before) == []


def test_check_fails_on_a_widened_rule_that_an_invariant_masks(files: Files, small: Domain) -> None:
    """A permit that a forbid always overrules changes no cell, and is reported because it never decides."""
    report = check(_allow(_part(files), "HB", "case"), small)
    assert report.differences == ()
    assert "extra" in report.unused
    assert not report.ok


def test_check_fails_when_a_role_counts_for_another_kind(files: Files, small: Domain) -> None:
    """The kinds for which a role counts are compared with the authority table."""
    wider = files["holders.cedar"].replace(b'[AgencyKind::"lsa"]', b'[AgencyKind::"lsa", AgencyKind::"wcd"]')
    report = check({**_part(files), "holders.cedar": wider}, small)
    assert [str(d) for d in report.differences] == ["LS held by wcd: expected does not count, found counts"]
    assert not report.ok


def test_check_fails_on_a_broken_folder(files: Files, small: Domain) -> None:
    """A folder that denies everything does not pass, although nobody can read too much."""
    report = check({**_part(files), "extra.cedar": b"{"}, small)
    assert [fault.file for fault in report.faults] == ["extra.cedar"]
    assert not report.ok


_DAMAGED = {
    "no expected matrix": (EXPECTED, None, "is missing"),
    "no rows": (EXPECTED, b"type,variant,compartment,role,code,when\n", "has no rows"),
    "other columns": (EXPECTED, b"type,role\n", "columns must be"),
    "an unknown role": (EXPECTED, b"type,variant,compartment,role,code,when\n*,*,case,XX,R,\n", "line 2"),
    "an unknown type": (EXPECTED, b"type,variant,compartment,role,code,when\nnews,*,case,HP,R,\n", "no such type"),
    "two words on one cell": (
        EXPECTED, b"type,variant,compartment,role,code,when\n*,*,case,HP,R,\nack,*,case,HP,q,\n", "another row says"),
    "no authority table": (AUTHORITY, None, "is missing"),
    "an authority table that is not JSON": (AUTHORITY, b"{", "is not JSON"),
    "an authority table without senders": (AUTHORITY, b'{"roles": {}}', "does not have the shape"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "said"), _DAMAGED.values(), ids=_DAMAGED.keys())
def test_check_refuses_to_compare_with_nothing(
    files: Files, domain: Domain, name: str, data: bytes | None, said: str
) -> None:
    """Without what it compares with, the check is an error and never passes."""
    left = {key: value for key, value in files.items() if key != name}
    small = {name: domain[name] for name in ("ack", "cwc.order")}
    if name == AUTHORITY:
        left[EXPECTED] = b"type,variant,compartment,role,code,when\n*,*,*,OR,R,\n"
    with pytest.raises(ConfigError, match=said):
        check(left if data is None else {**left, name: data}, small)


# -- each invariant, and how it breaks

World = tuple[Files, Domain, dict[str, Any]]


def _rules(number: int, *forbids: str, allow: tuple[str, ...]) -> tuple[int, Callable[[World], World]]:
    return number, lambda world: (_allow(_drop(world[0], *forbids), *allow), world[1], world[2])


def _table(number: int, edit: Callable[[dict[str, Any]], object]) -> tuple[int, Callable[[World], World]]:
    def mutate(world: World) -> World:
        table = copy.deepcopy(world[2])
        edit(table)
        return world[0], world[1], table

    return number, mutate


def _field(number: int, type_: str, name: str, **values: Any) -> tuple[int, Callable[[World], World]]:
    def mutate(world: World) -> World:
        facts = world[1][type_]
        assert name in [f.name for f in facts.fields]
        fields = tuple(replace(f, **values) if f.name == name else f for f in facts.fields)
        return world[0], {**world[1], type_: replace(facts, fields=fields)}, world[2]

    return number, mutate


def _holds(number: int, old: str, new: str) -> tuple[int, Callable[[World], World]]:
    def mutate(world: World) -> World:
        before = world[0]["holders.cedar"].decode()
        assert old in before
        return {**world[0], "holders.cedar": before.replace(old, new).encode()}, world[1], world[2]

    return number, mutate


_ALERT = 'context.eventType == EventType::"missing.alert"'
_BREAKS = {
    "All States reads a suspect": _rules(1, "invariant.1.all-states", allow=("AS", "suspect")),
    "All States keeps the card after rescue": _rules(
        1, "invariant.1.all-states", "invariant.4.after-rescue", allow=("AS", "spotting")),
    "destination police reads a source": _rules(2, "invariant.2.source", allow=("DP", "source")),
    "legal aid reads medical facts": _rules(2, "invariant.2.medical.read", allow=("LS", "medical")),
    "home police may ask for medical facts": _rules(
        2, "invariant.2.medical.ask", allow=("HP", "medical", "true", "request")),
    "a shelter reads of suspects": _rules(3, "invariant.3.suspect", allow=("SH", "suspect")),
    "a commission reads a name": _rules(3, "invariant.3.identity", allow=("CM", "person-identity")),
    "a shelter may write of suspects": _table(
        3, lambda t: [e.pop("mayNotWrite", None) for e in t["senders"]["sighting.report"]]),
    "transit police keeps the place after rescue": _rules(4, "invariant.4.after-rescue", allow=("TP", "location")),
    "a name is not sealed per person": _field(5, "rescue.notice", "person.fullName", personal=False),
    "a fact of one person in a message about several": _field(5, "rescue.notice", "rescue.kind", about="person"),
    "a field of which nobody said what it tells": _field(5, "rescue.notice", "rescue.kind", about=""),
    "home police may be a shelter": _holds(
        9, 'AgencyKind::"police-ahtu", AgencyKind::"police-station", AgencyKind::"police-grp"]',
        'AgencyKind::"police-ahtu", AgencyKind::"police-station", AgencyKind::"shelter"]'),
    "a mandate makes an NGO an escort": _table(
        9, lambda t: [e["toKinds"].append("ngo") for e in t["assignments"] if e["gives"] == "ES"]),
    "police writes medical facts of an order": _table(
        10, lambda t: t["senders"]["cwc.order"].append({"roles": ["IA"], "kinds": ["police-station"], "phases": ["rescued"]})),
    "an NGO writes of suspects": _table(
        10, lambda t: t["senders"]["sighting.report"].append({"roles": [], "kinds": ["ngo"], "phases": ["new"]})),
    "a committee writes a source": _table(
        10, lambda t: [e.pop("mayNotWrite", None) for e in t["senders"]["missing.alert"]]),
    "the operator reads a case": _rules(11, "invariant.11.operator.read", allow=("HB", "case")),
    "an auditor reads a case": _rules(11, "invariant.11.auditor.read", allow=("AU", "case")),
    "the operator sends an alert": _table(11, lambda t: t["senders"]["transit.alert"][0]["kinds"].append("hub")),
    "an auditor grants access": _table(
        11, lambda t: t["controls"]["access.grant"]["senders"][0]["kinds"].append("auditor")),
    "transit police reads a name while the person is missing": _rules(
        12, "invariant.12.transit-identity", allow=("TP", "person-identity", 'context.phase == Phase::"missing"')),
    "home police keeps the photo after rescue": _rules(
        13, "invariant.13.photo-after-rescue", allow=("HP", "biometrics")),
    "the national bureau reads an alert": _rules(14, "invariant.14.abroad", allow=("NC", "case", _ALERT)),
    "a partner cell reads an order": _rules(14, "invariant.14.partner-cell", allow=("FP", "legal")),
    "a cell differs between rescued and placed": (
        15, _rules(15, allow=("DP", "legal", f'context.phase == Phase::"placed" && {_ALERT}'))[1]),
    "a cell of home police opens late": (
        15, _rules(15, allow=("HP", "legal", f'context.phase == Phase::"restored" && {_ALERT}'))[1]),
    "nobody gives the role of escort": _table(
        16, lambda t: t.update(assignments=[e for e in t["assignments"] if e["gives"] != "ES"])),
    "a role must be addressed that nobody gives": _table(
        16, lambda t: t["roles"]["LS"].update(source="mandated")),
    "the escort is not told the committee": _table(17, lambda t: t["roster"]["ES"].remove("CJ")),
    "home police is told the shelter": _table(17, lambda t: t["roster"]["HP"].append("SH")),
}  # fmt: skip


def _of(proofs: tuple[Proof, ...], number: int) -> Proof:
    return next(proof for proof in proofs if proof.number == number)


def test_the_small_domain_keeps_every_invariant(small_matrix: Matrix, small: Domain, authority: Authority) -> None:
    """The domain of the next test holds each invariant before anything is broken, and tries each."""
    for proof in prove(small_matrix, small, authority):
        assert proof.holds, proof


@pytest.mark.parametrize(("number", "mutate"), _BREAKS.values(), ids=_BREAKS.keys())
def test_an_invariant_breaks_when_its_statement_is_false(
    files: Files,
    small: Domain,
    small_matrix: Matrix,
    authority: Authority,
    number: int,
    mutate: Callable[[World], World],
) -> None:
    """A policy, table or schema that breaks the statement makes its proof fail and name the case."""
    changed, domain, table = mutate((files, small, dict(authority)))
    if changed is files:
        proof = _of(prove(small_matrix, domain, table), number)
    else:
        policy = Policy.load(changed)
        assert policy.faults == ()
        few = {name: domain[name] for name in ("missing.alert", "verify.request")}
        proof = _of(prove(compute(policy, few), few, table), number)
    assert not proof.holds
    assert proof.failed > 0
    assert proof.failures


def test_every_invariant_is_broken_by_some_test() -> None:
    """No proof is left that no test has seen fail."""
    assert {number for number, _ in _BREAKS.values()} == set(_STATED)


def test_a_proof_without_cases_fails(files: Files, authority: Authority) -> None:
    """A proof that found nothing to try does not hold."""
    empty = {**authority, "senders": {}, "assignments": [], "must_address": {}, "roster": {}}
    proofs = prove(compute(Policy.load(files), {}), {}, empty)
    assert not _of(proofs, 12).holds
    assert _of(proofs, 12).tried == 0


def test_a_domain_reads_compartments_by_variant(domain: Domain) -> None:
    """A compartment that holds a field in one variant only is not there in the other."""
    assert Compartment.AFTERCARE in domain["verify.request"].compartments("home")
    assert Compartment.AFTERCARE not in domain["verify.request"].compartments("nationality")
