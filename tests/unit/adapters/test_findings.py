"""What an auditor found: each envelope compared once, findings and that it was compared in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from adapters.inbox import Inbox
from adapters.inbox_file import Slice, State
from broker.checks import Check
from broker.names import AgencyId
from broker.review import Finding
from tests.unit.adapters.test_inbox import AUTHOR, CASE, CLOCK, OTHER, arrival, opened

ONE: Final = Finding(Check.MUST_ADDRESS, AgencyId("in.ncrb.mp"), "it is not addressed")
TWO: Final = Finding(Check.LEDGER_ROWS, AUTHOR, "a reader has more than one row")


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    made = opened(tmp_path)
    yield made
    made.close()


def _kept(inbox: Inbox, number: int) -> Slice:
    found = inbox.by_root(number.to_bytes(32, "big"))
    assert found is not None
    return found


def test_only_what_is_valid_waits_to_be_compared(inbox: Inbox) -> None:
    """What is pending or in quarantine was not judged, so its ledger says nothing yet."""
    inbox.store([arrival(1), arrival(2, State.PENDING), arrival(3, State.QUARANTINED), arrival(4)], {})
    assert [one.arrival.event_id[-1] for one in inbox.findings.unreviewed(CASE)] == [1, 4]
    assert inbox.findings.left(CASE) == 2
    assert inbox.findings.cases() == [CASE]


def test_each_envelope_is_compared_once(inbox: Inbox) -> None:
    """A second comparison of the same envelope changes nothing, whatever it finds."""
    inbox.store([arrival(1), arrival(4)], {})
    inbox.findings.reviewed(_kept(inbox, 1), [ONE, TWO])
    inbox.findings.reviewed(_kept(inbox, 1), [ONE])
    assert [(one.check, one.agency, one.reason, one.at) for one in inbox.findings.found()] == [
        (*ONE, CLOCK.at),
        (*TWO, CLOCK.at),
    ]
    assert [one.arrival.event_id[-1] for one in inbox.findings.unreviewed(CASE)] == [4]


def test_one_without_findings_is_compared_too(inbox: Inbox) -> None:
    """That nothing was found is kept as well."""
    inbox.store([arrival(1)], {})
    inbox.findings.reviewed(_kept(inbox, 1), [])
    assert inbox.findings.cases() == []
    assert (inbox.findings.unreviewed(CASE), inbox.findings.found(), inbox.findings.left(CASE)) == ([], [], 0)


def test_findings_are_told_by_case(inbox: Inbox) -> None:
    """The findings of one case are not those of another."""
    inbox.store([arrival(1), arrival(2, case=OTHER)], {})
    inbox.findings.reviewed(_kept(inbox, 1), [ONE])
    inbox.findings.reviewed(_kept(inbox, 2), [TWO])
    assert [one.check for one in inbox.findings.found(OTHER)] == [Check.LEDGER_ROWS]
    assert len(inbox.findings.found()) == 2


def test_findings_outlive_the_process(tmp_path: Path) -> None:
    """Opened again, the inbox has them and compares nothing twice."""
    first = opened(tmp_path)
    first.store([arrival(1)], {})
    first.findings.reviewed(_kept(first, 1), [ONE])
    first.close()
    second = opened(tmp_path)
    assert [one.check for one in second.findings.found(CASE)] == [Check.MUST_ADDRESS]
    assert second.findings.unreviewed(CASE) == []
    second.close()


def test_a_finding_that_cannot_be_kept_leaves_the_event_to_be_compared(inbox: Inbox) -> None:
    """Nothing of a comparison is kept when the transaction that holds it is undone."""
    inbox.store([arrival(1)], {})

    def undone() -> None:
        with inbox.writing():
            inbox.findings.reviewed(_kept(inbox, 1), [ONE])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        undone()
    assert inbox.findings.found() == []
    assert len(inbox.findings.unreviewed(CASE)) == 1
