"""The values that authority is judged on: mandates, the facts of a case, and the plan of a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.event.model import BlockKey
from broker.names import (
    AgencyId,
    Basis,
    CaseRef,
    Compartment,
    Digest,
    EventId,
    Millis,
    PersonRef,
    Phase,
    Role,
    Status,
)


@dataclass(frozen=True, slots=True)
class Mandate:
    """A statement inside an event that gives an agency a role (``docs/spec/envelope.md`` §8).

    ``under`` is the giver's own role: OPENER (then ``case_salt`` proves that the giver opened the case), a
    standing role (then ``under_mandate`` is None) or a mandated one (then it is the digest of the mandate
    that gave it). ``person`` is None for a role that holds for the whole case. ``not_after`` is always set.
    """

    case: CaseRef
    event_id: EventId
    type: str
    variant: str
    giver: AgencyId
    under: Role
    under_mandate: Digest | None
    case_salt: bytes | None
    role: Role
    agency: AgencyId
    person: PersonRef | None
    provisional: bool
    not_after: Millis


@dataclass(frozen=True, slots=True)
class Given:
    """A mandate whose event was verified and accepted at this position and time."""

    mandate: Mandate
    digest: Digest
    position: int
    accepted_at: Millis


@dataclass(frozen=True, slots=True)
class Grant:
    """A reading right beyond the matrix, given by ``access.grant`` or ``disclosure.decision``.

    ``person`` is None for compartments that are not personal. ``messages`` are the events that it names;
    ``later`` extends it to later events of the case that address the agency.
    """

    id: EventId
    grantor: AgencyId
    agency: AgencyId
    person: PersonRef | None
    compartments: frozenset[Compartment]
    messages: frozenset[EventId]
    later: bool
    until: Millis


@dataclass(frozen=True, slots=True)
class Fact:
    """What one verified event tells the party that holds it; the only food of ``CaseState``.

    ``phases`` are the phases that the sender claimed, BEFORE the event, for the persons of the event.
    ``mandates`` are those given in this event, or carried by it from earlier ones, as far as this party was
    told. ``control`` holds the fields of the ``access`` compartment of a control, as far as this party reads
    them, else it is empty. ``routing`` as in ``Event.routing``. ``to`` is filled only for what this party
    wrote itself, and so is ``told``: the mandates that it told each reader in this event. ``sender_roles`` are the
    roles claimed, in the order of ``persons``. ``compartments`` are the blocks that this party reads. ``coded`` holds
    the few coded values that authority goes by, as far as this party reads them: ``place.status`` by person.
    """

    event_id: EventId
    type: str
    variant: str
    status: Status
    author: AgencyId
    case: CaseRef
    position: int
    accepted_at: Millis
    act_at: Millis
    expires_at: Millis | None
    references: tuple[EventId, ...]
    persons: tuple[PersonRef, ...]
    phases: Mapping[PersonRef, Phase]
    sender_roles: tuple[Role, ...]
    mandates: tuple[Given, ...] = ()
    control: Mapping[str, Any] = field(default_factory=dict)
    to: tuple[AgencyId, ...] = ()
    compartments: frozenset[BlockKey] = frozenset()
    coded: Mapping[tuple[str, PersonRef | None], Any] = field(default_factory=dict)
    told: Mapping[AgencyId, tuple[Digest, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """One role that an agency holds; ``mandate`` is None where the role is standing or is authorship."""

    role: Role
    person: PersonRef | None
    mandate: Digest | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One block that a reader gets, and on what ground: a row entry of the ledger.

    ``rule`` is the id of the policy that permitted it (basis ROLE), ``grant`` the event that granted it
    (basis GRANT), ``role`` the role it was decided for.
    """

    block: BlockKey
    basis: Basis
    role: Role
    rule: str = ""
    grant: EventId | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """One addressed agency: its roles in this message, what it reads, and which given mandates it is told.

    ``told`` are positions in ``Plan.mandates``; ``roster`` are digests of earlier mandates that it is to be
    told and was not told by this party before. ``withheld`` says for each block of the message that it does
    not read how it may ask: "" (no way), "q" (ask the owner) or "x" (with an order number).
    """

    agency: AgencyId
    roles: tuple[Held, ...]
    entries: tuple[Entry, ...]
    told: tuple[int, ...]
    roster: tuple[Digest, ...]
    withheld: Mapping[BlockKey, str]


@dataclass(frozen=True, slots=True)
class Claim:
    """What the sender claims of one person: the role it sends under, the mandate behind it, the phase before."""

    person: PersonRef
    role: Role
    mandate: Digest | None
    phase: Phase


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before a message is sealed; ``readers`` starts with the author.

    ``claims`` has one entry for each person of the message. ``mandates`` are those that this message gives;
    where a mandate is given under a role that this same message gives, ``under_mandate`` is the digest of
    that earlier one. ``warnings`` are sentences for ``preview``.
    """

    claims: tuple[Claim, ...]
    mandates: tuple[Mandate, ...]
    readers: tuple[Reader, ...]
    warnings: tuple[str, ...] = ()
