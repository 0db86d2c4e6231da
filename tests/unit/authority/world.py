"""The demo of domain §6 without envelopes: every agency keeps its own state and plans from what it was told."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any

from broker.authority.fold import fold
from broker.authority.giving import as_given
from broker.authority.model import Fact, Given, Plan
from broker.authority.plan import plan
from broker.authority.state import CaseState
from broker.authority.table import Table
from broker.authority.values import case_ref
from broker.clock import SetClock, parse_time, uuid7
from broker.event.model import Event
from broker.event.record import parse
from broker.names import (
    AgencyId,
    AgencyKind,
    CaseRef,
    Compartment,
    Digest,
    EventId,
    Millis,
    PersonRef,
    Role,
)
from broker.policy.decide import Policy
from broker.trust.directory import Agency, Directory, Standing

DEMO = Path(__file__).parents[3] / "adapters" / "demo"


@functools.cache
def scenario() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEMO / "scenario.json").read_text("utf-8"))
    assert found["steps"], "the scenario is empty"
    return found


@functools.cache
def table() -> Table:
    return Table.load()


@functools.cache
def policy() -> Policy:
    return Policy.load()


def agency(
    agency_id: str,
    kind: AgencyKind,
    *,
    state: str = "IN-KL",
    district: int | None = 555,
    listed: frozenset[Role] = frozenset(),
    subscribed: bool = False,
    history: tuple[tuple[Millis, Standing], ...] = ((Millis(0), Standing.ENROLLED),),
    posts: Mapping[str, frozenset[str] | None] | None = None,
) -> Agency:
    return Agency(
        AgencyId(agency_id), kind, agency_id, state, district, listed, subscribed, ("en-IN",), None, history,
        posts or {}, bytes(32), (),
    )  # fmt: skip


def directory(*agencies: Agency) -> Directory:
    listed = {one.id: one for one in agencies}
    digest = sha256(repr(sorted(listed)).encode()).digest()
    return Directory(Digest(digest), Millis(0), MappingProxyType(listed))


@functools.cache
def demo_directory() -> Directory:
    return directory(
        *(
            agency(
                one["id"],
                AgencyKind.of(one["kind"]),
                state=one["state"],
                district=one["district"],
                listed=frozenset(Role.of(role) for role in one["standing"]),
                subscribed=one["subscribed"],
            )
            for one in scenario()["agencies"]
        )
    )


class Counting:
    """Randomness that counts: every id of a run is the same in every run."""

    def __init__(self) -> None:
        self.at = 0

    def bytes(self, size: int) -> bytes:
        self.at += 1
        return sha256(self.at.to_bytes(8, "big")).digest()[:size].ljust(size, b"\1")


@dataclass
class Told:
    """One message as it was planned, and what became of it."""

    id: str
    event: Event
    plan: Plan
    fact: Fact
    at: Millis


@dataclass
class World:
    """Seventeen parties, the codes of the scenario, and an observer who knows everything."""

    clock: SetClock = field(default_factory=lambda: SetClock(Millis(0)))
    random: Counting = field(default_factory=Counting)
    cases: dict[str, CaseRef] = field(default_factory=dict)
    salts: dict[CaseRef, bytes] = field(default_factory=dict)
    people: dict[tuple[CaseRef, str], PersonRef] = field(default_factory=dict)
    events: dict[str, EventId] = field(default_factory=dict)
    facts: dict[AgencyId, dict[CaseRef, list[Fact]]] = field(default_factory=dict)
    all: dict[CaseRef, list[Fact]] = field(default_factory=dict)
    messages: dict[str, Told] = field(default_factory=dict)
    given: dict[Digest, Given] = field(default_factory=dict)
    directory: Directory = field(default_factory=demo_directory)

    # What broker.event.record asks of the sender's cases.
    def resolve_case(self, text: str) -> CaseRef | None:
        return self.cases.get(text)

    def person(self, case: CaseRef, alias: str) -> PersonRef | None:
        return self.people.get((case, alias))

    def aliases(self, case: CaseRef) -> Mapping[PersonRef, str]:
        return {ref: alias for (one, alias), ref in self.people.items() if one == case}

    def kind_of(self, event: EventId) -> tuple[str, str] | None:
        found = next((one.event for one in self.messages.values() if one.fact.event_id == event), None)
        return (found.type, found.variant) if found else None

    def state(self, agency_id: AgencyId, case: CaseRef) -> CaseState | None:
        facts = self.facts.get(agency_id, {}).get(case)
        return fold(case, facts, table=table()) if facts else None

    def everything(self, case: CaseRef) -> CaseState:
        return fold(case, self.all[case], table=table())

    def read(self, raw: Mapping[str, Any], author: AgencyId, at: Millis) -> tuple[Event, CaseRef, bytes | None]:
        """The record as its author's adapter reads it, opening the case where it is not known yet."""
        self.clock.at = at
        record = _resolved(dict(raw), self.events, self.cases)
        name = raw["case"]
        opens = name not in self.cases
        if opens:
            salt = self.random.bytes(16)
            case = case_ref(author, salt)
            self.salts[case] = salt
            record["case"] = "new"
        else:
            case = self.cases[name]
        event = parse(record, case=self, clock=self.clock, random=self.random)
        return event, case, self.salts[case] if opens else None

    def plan(self, raw: Mapping[str, Any], author: AgencyId, at: Millis) -> tuple[Event, CaseRef, Plan, EventId]:
        event, case, salt = self.read(raw, author, at)
        event_id = uuid7(at, self.random)
        made = plan(
            event, event_id=event_id, author=author, state=self.state(author, case), directory=self.directory,
            table=table(), decide=policy().decide, at=at, case=case, case_salt=salt,
        )  # fmt: skip
        return event, case, made, event_id

    def send(self, name: str, raw: Mapping[str, Any], author: AgencyId, at: Millis) -> Told:
        """Plans, accepts at once, and tells each reader what its slot would tell it."""
        event, case, made, event_id = self.plan(raw, author, at)
        self.cases.setdefault(raw["case"], case)
        for person, alias in event.aliases.items():
            self.people[case, alias] = person
        everything = self.all.setdefault(case, [])
        position = max((one.position for one in everything), default=-1) + 7
        given = [as_given(one, position=position, at=at) for one in made.mandates]
        for one in given:
            self.given[one.digest] = one
        base = Fact(
            event_id, event.type, event.variant, event.clear.status, author, case, position, at,
            event.clear.act_at, event.clear.expires_at, event.clear.references, event.persons,
            {claim.person: claim.phase for claim in made.claims}, tuple(claim.role for claim in made.claims),
        )  # fmt: skip
        proof = self.chain([claim.mandate for claim in made.claims if claim.mandate])
        access = event.blocks.get((Compartment.ACCESS, None), {})
        for reader in made.readers:
            told = self.chain([given[place].digest for place in reader.told] + list(reader.roster))
            reads = frozenset(entry.block for entry in reader.entries)
            mine = reader.agency == author
            fact = replace(
                base,
                mandates=tuple({one.digest: one for one in (*proof, *told)}.values()),
                control=access if (Compartment.ACCESS, None) in reads else {},
                to=tuple(one.agency for one in made.readers[1:]) if mine else (),
                told={one.agency: tuple(given[i].digest for i in one.told) + one.roster for one in made.readers[1:]}
                if mine
                else {},
                compartments=reads,
                coded={("place.status", one): event.value("place.status", one) for one in event.persons},
            )
            self.facts.setdefault(reader.agency, {}).setdefault(case, []).append(fact)
        whole = replace(
            base, mandates=tuple({one.digest: one for one in (*proof, *given)}.values()), control=access,
            to=tuple(one.agency for one in made.readers[1:]),
        )  # fmt: skip
        everything.append(whole)
        self.events[name] = event_id
        self.messages[name] = Told(name, event, made, whole, at)
        return self.messages[name]

    def chain(self, digests: list[Digest]) -> tuple[Given, ...]:
        found: dict[Digest, Given] = {}

        def collect(digest: Digest) -> None:
            under = self.given[digest].mandate.under_mandate
            if under is not None and under not in found:
                collect(under)
            found[digest] = self.given[digest]

        for digest in digests:
            collect(digest)
        return tuple(found.values())


def code_of(agency_id: str) -> str:
    return next(str(one["code"]) for one in scenario()["agencies"] if one["id"] == agency_id)


def id_of(code: str) -> AgencyId:
    return AgencyId(next(one["id"] for one in scenario()["agencies"] if one["code"] == code))


def record(step: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEMO / "records" / f"{step}.json").read_text("utf-8"))
    return found


@functools.cache
def played(until: str = "") -> World:
    """The demo, up to and without this step; shared, so never to be changed."""
    world = World()
    for step in scenario()["steps"]:
        if step["id"] == until:
            break
        world.send(step["id"], record(step["id"]), id_of(step["author"]), parse_time(step["at"]))
    return world


def _resolved(value: Any, events: Mapping[str, EventId], cases: Mapping[str, CaseRef]) -> Any:
    """The record with the ids that the demo's names of messages stand for."""
    if isinstance(value, str):
        if value in events:
            return str(uuid.UUID(bytes=events[value]))
        return value
    if isinstance(value, list):
        return [_resolved(one, events, cases) for one in value]
    if isinstance(value, dict):
        return {key: _resolved(one, events, cases) for key, one in value.items()}
    return value
