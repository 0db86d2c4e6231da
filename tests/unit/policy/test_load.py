"""A policy folder that is not whole denies everything and says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.names import AgencyKind, Compartment, Phase, Role
from broker.policy.check import check
from broker.policy.decide import Policy
from broker.policy.domain import Domain
from broker.policy.load import AUTHORITY, SCHEMA, Files, digest, read_files
from broker.policy.model import Question

_READ = Question("cwc.order", "-", Compartment.CASE, Role.CJ, AgencyKind.CWC, Phase.RESCUED, False, False)
_OTHER = "missing.alert.cedar"


def _with(files: Files, name: str, extra: str) -> Files:
    return {**files, name: files.get(name, b"") + extra.encode()}


def _rule(name: str, condition: str) -> str:
    return f'@id("{name}") permit (principal, action == Action::"read", resource) when {{ {condition} }};'


_FAULTS = {
    "a file that does not parse": (_OTHER, "permit (principal", "does not parse"),
    "a file that is not text": (_OTHER, "\udcff", "does not parse"),
    "a role that the schema does not know": (_OTHER, _rule("a", 'principal == Role::"XX"'), "does not validate: a:"),
    "an event type that is misspelt": (_OTHER, _rule("a", 'context.eventType == EventType::"mising"'), "validate: a:"),
    "a fact that a decision is not asked with": (_OTHER, _rule("a", "context.agency == 1"), "does not validate: a:"),
    "a policy without an id": (_OTHER, "permit (principal, action, resource);", "needs an @id"),
    "an id used twice in one file": (_OTHER, _rule("author2", "true") + _rule("author2", "true"), "already that of"),
    "an id used in two files": (_OTHER, _rule("author", "true"), "already that of a policy in common.cedar"),
    "an id that is too long": (_OTHER, _rule("a" * 65, "true"), "needs an @id"),
    "a template": (_OTHER, '@id("t") permit (principal == ?principal, action, resource);', "template"),
    "a schema that does not parse": (SCHEMA, "entity", "not a Cedar schema"),
    "a new file that is damaged": ("extra.cedar", "{", "does not parse"),
}


@pytest.mark.parametrize(("name", "extra", "reason"), _FAULTS.values(), ids=_FAULTS.keys())
def test_one_fault_denies_everything(files: Files, name: str, extra: str, reason: str) -> None:
    """Whatever is wrong in one file, no other file decides any more, and the fault names file and reason."""
    damaged = {**files, name: files.get(name, b"") + extra.encode(errors="surrogateescape")}
    assert Policy.load(files).decide(_READ).permit
    broken = Policy.load(damaged)
    decision = broken.decide(_READ)
    assert decision[:3] == (False, "", "")
    assert name in decision.error
    assert reason in decision.error
    assert any(fault.file == name for fault in broken.faults)
    assert broken.rules == {}


def test_no_files_deny_everything() -> None:
    """An empty folder is no policy: it denies, and says so."""
    broken = Policy.load({})
    assert not broken.decide(_READ).permit
    assert "no .cedar file" in broken.decide(_READ).error
    assert "the schema is missing" in broken.decide(_READ).error


def test_a_schema_alone_denies_everything(files: Files) -> None:
    """A folder whose rules were lost denies, and says so."""
    assert "no .cedar file" in Policy.load({SCHEMA: files[SCHEMA]}).decide(_READ).error


def test_a_rule_that_errs_denies_and_is_reported(files: Files, domain: Domain) -> None:
    """Where a rule cannot be evaluated, its question is denied although another rule permits; others go on."""
    overflow = _rule("errs", 'context.eventType == EventType::"cwc.order" && 9223372036854775807 + 1 > 0')
    erring = _with(files, "extra.cedar", overflow)
    policy = Policy.load(erring)
    assert policy.faults == ()
    decision = policy.decide(_READ)
    assert not decision.permit
    assert "`errs`" in decision.error
    assert policy.decide(_READ._replace(type="rescue.notice")).permit
    report = check(erring, domain)
    assert not report.ok
    assert any("`errs`" in error for error in report.errors)


def test_the_digest_covers_names_and_bytes_of_what_binds(files: Files) -> None:
    """Another byte, name or file of rules, schema or authority table is another digest; other files are not."""
    before = digest(files)
    assert Policy.load(files).digest == before
    assert len(before) == 32
    changed = [
        _with(files, _OTHER, " "),
        _with(files, SCHEMA, "\n"),
        _with(files, AUTHORITY, "\n"),
        _with(files, "empty.cedar", ""),
        {name if name != _OTHER else "other.cedar": data for name, data in files.items()},
    ]
    digests = {digest(each) for each in changed}
    assert len(digests) == len(changed)
    assert before not in digests
    assert digest(_with(files, "README.md", "more")) == before


def test_the_digest_cannot_be_shifted_between_files() -> None:
    """Bytes moved from the end of one file to the next, or into a name, change the digest."""
    assert digest({"a.cedar": b"xy", "b.cedar": b""}) != digest({"a.cedar": b"x", "b.cedar": b"y"})
    assert digest({"a.cedar": b"b"}) != digest({"ab.cedar": b""})


def test_a_folder_reads_like_the_installed_one(files: Files, tmp_path: Path) -> None:
    """A copy of the folder is the same policy."""
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert digest(read_files(tmp_path)) == digest(files)


def test_a_missing_folder_is_the_operators_to_mend(tmp_path: Path) -> None:
    """A folder that is not there is an error, not an empty policy."""
    with pytest.raises(ConfigError, match="cannot be read"):
        read_files(tmp_path / "nowhere")
