"""The scenario as data: agencies, steps, native records, and the names that it uses for cases and events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any
from uuid import UUID

from broker.clock import parse_time
from broker.names import AgencyId, CaseRef, EventId, Millis


@dataclass(frozen=True, slots=True)
class Step:
    """One message of the scenario: when, by whom, and what it tells a reader who is no engineer."""

    id: str
    record: str
    author: AgencyId
    at: Millis
    story: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """An opening that must be refused."""

    agency: AgencyId
    message: str
    compartment: str
    person: str | None
    story: str


@dataclass(slots=True)
class Script:
    """The scenario, and what its names have come to stand for while it is played."""

    agencies: list[Mapping[str, Any]]
    steps: list[Step]
    attempts: list[Attempt]
    opens: dict[str, str]
    """Name of a case, to the step that opens it."""
    code: dict[AgencyId, str]
    case: str
    events: dict[str, EventId] = field(default_factory=dict)
    cases: dict[str, CaseRef] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Script:
        """The scenario that ships with the program."""
        raw = json.loads(_data("scenario.json"))
        ids = {one["code"]: AgencyId(one["id"]) for one in raw["agencies"]}
        steps = [
            Step(one["id"], one["record"], ids[one["author"]], parse_time(one["at"]), one["story"])
            for one in raw["steps"]
        ]
        attempts = [
            Attempt(ids[one["agency"]], one["message"], one["compartment"], one["person"], one["story"])
            for one in raw["refusals"]
        ]
        codes = {agency: code for code, agency in ids.items()}
        return cls(raw["agencies"], steps, attempts, raw["cases"], codes, raw["case"])

    def record(self, step: Step) -> dict[str, Any]:
        """The native record of a step, its names replaced by what they stand for now."""
        raw = json.loads(_data(f"records/{step.record}"))
        opening = self.opens.get(raw["case"]) == step.id
        said: dict[str, Any] = self._resolved(raw)
        return {**said, "case": "new"} if opening else said

    def played(self, step: Step, event: EventId, case: CaseRef) -> None:
        """From now on the step's names stand for this event and case."""
        self.events[step.id] = event
        for name, opener in self.opens.items():
            if opener == step.id:
                self.cases[name] = case

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, str):
            if value in self.events:
                return str(UUID(bytes=self.events[value]))
            return self.cases[value].hex() if value in self.cases else value
        if isinstance(value, list):
            return [self._resolved(one) for one in value]
        if isinstance(value, dict):
            return {key: self._resolved(one) for key, one in value.items()}
        return value


def _data(name: str) -> str:
    return resources.files("adapters.demo").joinpath(name).read_text("utf-8")
