"""What every test shares: the profiles of hypothesis, and in CI the refusal of a test that did not run."""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

ALLOWED_SKIPS: Final[tuple[str, ...]] = ()
"""Beginnings of the reasons for which a test may be skipped in CI; say beside each why it may."""

settings.register_profile("quick", max_examples=25, deadline=None)
settings.register_profile(
    "ci", max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "quick"))


class RefuseSkips:
    """Fails the run when a test was skipped, or was expected to fail, for a reason that is not allowed."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Remembers a report that says that something did not run or may fail."""
        if not (report.skipped or hasattr(report, "wasxfail")):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(getattr(report, "wasxfail", ""))
        reason = reason.removeprefix("Skipped: ")
        if not reason.startswith(ALLOWED_SKIPS or ("\0",)):
            self.refused.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Looks at each outcome, also those that come from a worker."""
        self.note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Looks at modules that skip themselves."""
        self.note(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Turns a green run red."""
        if self.refused and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says which, before the closing line."""
        for line in self.refused:
            terminalreporter.write_line(f"did not run, and CI allows no skip: {line}")


def pytest_configure(config: pytest.Config) -> None:
    """In CI a test that did not run is a failure."""
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(RefuseSkips(), "refuse-skips")
