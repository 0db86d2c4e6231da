"""Playing the scenario: each message is published, dispatched, received and opened, by real adapters and the broker.

What is said of a message is what came out of opening it in the folder of each agency, right after it and the grant
that belongs to its row (domain §6.1.1).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from adapters.adapter import Adapter
from adapters.demo import report
from adapters.demo.script import Attempt, Script, Step
from adapters.exchange import Exchange
from adapters.inbox_file import State
from broker.audit.record import Kind, decode_record
from broker.clock import DAY, HOUR, SetClock, SystemRandom
from broker.dispatch import Accepted, Broker, Quarantined, judge
from broker.errors import CasebridgeError, ConfigError, InputError, Refused
from broker.names import AgencyId, Compartment, Millis
from broker.stream.protocol import Message, Stored
from broker.stream.topics import EVENTS, NOTARY, RECORDS

Echo = Callable[[str], None]
Views = dict[AgencyId, dict[str, list[str]]]

HUB: Final = AgencyId("in.exchange.hub")
AUDITOR: Final = AgencyId("in.exchange.auditor")
POST: Final = "duty-officer"
PURPOSE: Final = "case-work"
ROW_GRANTS: Final = {"M09": "G1"}
"""The message whose views are taken after the grant of its row."""
BACK_READING: Final = {"K5a": ("M05", "M06")}
OFFLINE: Final = {"M08": Millis(4 * HOUR + 21 * 60_000)}
"""The shelter's telephone had no network: sealed at 18:10, sent at 22:31 (domain §6.2)."""
ROTATION: Final = 30 * DAY


@dataclass(slots=True)
class Result:
    """What the demo found, in the form of its JSON file."""

    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    granted: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[dict[str, Any]] = field(default_factory=list)


async def play(home: Path, *, json_file: Path | None, echo: Echo, cluster: Path | None = None) -> int:
    """Plays the scenario in a new folder; 0 where everything came out as the scenario says.

    Args:
        cluster: the settings file of the Kafka cluster to play on; None for the embedded stream.

    Raises:
        ConfigError: the folder is not empty.
        CasebridgeError: a message was not accepted.
    """
    if home.exists() and any(home.iterdir()):
        raise ConfigError(f"{home} is not empty; name a new folder, or remove it first")
    script = Script.load()
    clock = SetClock(Millis(script.steps[0].at - HOUR))
    exchange = await Exchange.create(home, script.agencies, clock=clock, random=SystemRandom(), cluster=cluster)
    broker = await exchange.broker(HUB)
    try:
        stage = Stage(exchange, broker, script, clock, echo, clock.at)
        await stage.play()
        result = stage.result
        if json_file is not None:
            case = script.cases[script.case]
            json_file.write_text(json.dumps(as_json(case.hex(), result), indent=1, ensure_ascii=False) + "\n", "utf-8")
        return 0 if stage.sound else 1
    finally:
        await broker.stream.close()
        await exchange.close()


def as_json(case: str, result: Result) -> dict[str, Any]:
    """The demo's JSON document."""
    return {"case": case, "messages": result.messages, "granted": result.granted, "refused": result.refused}


@dataclass(slots=True)
class Stage:
    """The scenario while it is played."""

    exchange: Exchange
    broker: Broker
    script: Script
    clock: SetClock
    echo: Echo
    rotated: Millis
    result: Result = field(default_factory=Result)
    sound: bool = True
    last: Accepted | None = None

    async def play(self) -> None:
        """All steps, then the table, then the attempts."""
        report.opening(self.script, self.exchange, self.echo)
        for step in self.script.steps:
            await self._step(step)
        report.table(self.script, self.result.messages, self.result.granted, self.echo)
        report.attempts_heading(self.echo)
        for attempt in self.script.attempts:
            self._attempt(attempt)
        self._recalled()
        self._altered()
        self._operator()
        await self._records()
        report.closing(self.exchange, self.result.messages, self.result.refused, self.echo)

    async def _step(self, step: Step) -> None:
        self.clock.at = step.at
        if step.at - self.rotated > ROTATION:
            self.exchange.rotate_prekeys()
            self.rotated = step.at
            report.rotation(self.echo)
        author = self.exchange.adapters[step.author]
        record = self.script.record(step)
        (published,) = author.publisher.publish([record])
        self.script.played(step, published.event_id, published.case)
        self.clock.at = Millis(step.at + OFFLINE.get(step.id, Millis(0)))
        verdicts = [one for batch in await self.exchange.settle(self.broker) for one in batch]
        for verdict in verdicts:
            if isinstance(verdict, Quarantined):
                raise Refused(f"{step.id} was refused by the broker, check {verdict.check}: {verdict.reason}")
            if step.id == "M05":
                self.last = verdict
        self._nothing_refused(step)
        report.message(step, record, self.script, self.clock.at, self.echo)
        if step.id.startswith("M") and step.id not in ROW_GRANTS:
            self._view(step.id, step.author)
        for message, grant in ROW_GRANTS.items():
            if grant == step.id:
                self._view(message, AgencyId(self._author_of(message)))
        for message in BACK_READING.get(step.id, ()):
            self._granted(message)

    def _author_of(self, message: str) -> AgencyId:
        return next(step.author for step in self.script.steps if step.id == message)

    def _nothing_refused(self, step: Step) -> None:
        """Every recipient took the message in."""
        event = self.script.events[step.id]
        for agency, adapter in self.exchange.adapters.items():
            for state in (State.QUARANTINED, State.PENDING):
                for one in adapter.home.inbox.slices(state=state):
                    if one.arrival.event_id == event:
                        reason = one.arrival.reason or one.arrival.needs
                        raise Refused(f"{step.id} was not taken in by {agency}: {reason}")

    def _members(self) -> Mapping[AgencyId, Adapter]:
        return {agency: one for agency, one in self.exchange.adapters.items() if agency not in (HUB, AUDITOR)}

    def _view(self, message: str, author: AgencyId) -> None:
        """Opens a message as each agency and notes what came out."""
        views: Views = {}
        for agency, adapter in self._members().items():
            found = self._open(adapter, message)
            if found is not None:
                views[agency] = found
        event = str(UUID(bytes=self.script.events[message]))
        self.result.messages[message] = {"author": author, "event_id": event, "views": views}

    def _granted(self, message: str) -> None:
        """What a later grant opens beyond what was read before."""
        before = self.result.messages[message]
        views: Views = {}
        for agency, adapter in self._members().items():
            now, then = self._open(adapter, message) or {}, before["views"].get(agency, {})
            more = {
                compartment: [one for one in persons if one not in then.get(compartment, [])]
                for compartment, persons in now.items()
            }
            more = {compartment: persons for compartment, persons in more.items() if persons}
            if more:
                views[agency] = more
        self.result.granted[message] = {**before, "views": views}

    def _open(self, adapter: Adapter, message: str) -> dict[str, list[str]] | None:
        """Compartment to persons, for everything that decrypted; None where the message is not here."""
        try:
            blocks = adapter.opener.open(self.script.events[message], post=POST, purpose=PURPOSE)
        except InputError:
            return None
        found: dict[str, list[str]] = {}
        for block in blocks:
            if not block.refused and block.fields and block.compartment is not Compartment.ACCESS:
                found.setdefault(block.compartment.label, []).append(block.alias)
        return found

    def _attempt(self, attempt: Attempt) -> None:
        adapter = self.exchange.adapters[attempt.agency]
        reason = self._reason(adapter, attempt.message, attempt.compartment, attempt.person)
        self._note(attempt.agency, attempt.message, attempt.compartment, attempt.person, reason, attempt.story)

    def _reason(self, adapter: Adapter, message: str, compartment: str, person: str | None) -> str:
        """Why an opening was refused; empty where it was not."""
        try:
            blocks = adapter.open(
                self.script.events[message],
                post=POST,
                purpose=PURPOSE,
                compartments=[Compartment.of(compartment)],
                person=person,
            )
        except CasebridgeError as error:
            return str(error)
        return next((block.refused for block in blocks if block.refused), "") if blocks else "nothing to open"

    def _note(
        self, agency: AgencyId, message: str, compartment: str, person: str | None, reason: str, story: str
    ) -> None:
        if not reason:
            self.sound = False
        self.result.refused.append(
            {"agency": agency, "message": message, "compartment": compartment, "person": person, "reason": reason}
        )
        report.attempt(self.script.code[agency], message, compartment, person, reason, story, self.echo)

    def _recalled(self) -> None:
        """A desk of another State opens the alert again, after it was recalled (domain §6.2)."""
        for agency, code in self.script.code.items():
            if code == "A16":
                reason = self._reason(self.exchange.adapters[agency], "M01", "biometrics", "P-1")
                story = "The alert was recalled when she was found: the photograph that this desk had read is closed."
                self._note(agency, "M01", "biometrics", "P-1", reason, story)

    def _altered(self) -> None:
        """One byte changed in the stored M05 (domain §6.2): the broker's own check names what breaks."""
        if self.last is None:
            return
        stored = self._stored(self.last)
        value = bytearray(stored.message.value)
        value[len(value) // 2] ^= 1
        message = Message(EVENTS, stored.message.key, bytes(value))
        altered = Stored(message, stored.partition, stored.offset, stored.appended_at)
        verdict = judge(
            altered, topic_id=self.broker.topic_id, ground=self.broker.ground, verified=self.broker.verified
        )
        self.sound &= isinstance(verdict, Quarantined)
        report.altered(verdict, self.echo)

    def _stored(self, accepted: Accepted) -> Stored:
        author = self.exchange.adapters[accepted.envelope.header.agency]
        kept = author.home.outbox.get(accepted.envelope.header.event_id)
        return Stored(
            Message(EVENTS, kept.draft.case, kept.draft.envelope),
            accepted.statement.partition,
            accepted.statement.offset,
            accepted.statement.appended_at,
        )

    async def _records(self) -> None:
        """The refused attempts are in the audit like everything else."""
        await self.exchange.settle(self.broker)
        stream = await self.exchange.open_stream(NOTARY)
        positions: dict[int, int] = {}
        counts: Counter[Kind] = Counter()
        try:
            while batch := await stream.read(RECORDS, positions):
                for stored in batch:
                    counts[decode_record(stored.message.value)[0].kind] += 1
                    positions[stored.partition] = stored.offset + 1
        finally:
            await stream.close()
        self.sound &= counts[Kind.DENIED] >= len(self.script.attempts)
        report.records(counts, self.echo)

    def _operator(self) -> None:
        """Everything that the operator holds, searched for what only agencies may know (domain §6.2)."""
        found = report.operator_search(self.script, self.exchange, self.echo)
        self.sound &= not found
