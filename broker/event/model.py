"""An event between its native record and its envelope: checked values, grouped as they will be sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.names import AgencyId, CaseRef, Compartment, EventId, Millis, PersonRef, Role, Status

BlockKey = tuple[Compartment, PersonRef | None]
"""Which block: its compartment, and its person where the compartment is personal, else None."""

Fields = Mapping[str, Any]
"""Field name (``spot.ageBand``) to its value in the types of the Avro schema; only fields that were given."""


@dataclass(frozen=True, slots=True)
class GivenRole:
    """A role that the record gives by the header field ``mandates``."""

    role: Role
    agency: AgencyId
    person: PersonRef | None


@dataclass(frozen=True, slots=True)
class Clear:
    """The header fields that the sender's record decides; the rest of the header is the envelope's affair."""

    status: Status
    msg_type: str
    urgency: str
    severity: str
    certainty: str
    tlp: str
    langs: tuple[str, ...]
    post: str
    act_at: Millis
    desk_phone: str | None = None
    reply_by: Millis | None = None
    expires_at: Millis | None = None
    references: tuple[EventId, ...] = ()
    supersedes: EventId | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One event, checked against its schema, not yet sealed.

    ``case`` is None where the record opens a new case. ``persons`` are in the record's order; ``aliases`` are
    their display names. ``to`` excludes the author. ``routing`` holds the sealed routing fields
    (``op.preWarned``, ``move.transitHelp``) as agency ids.
    """

    type: str
    variant: str
    schema_id: int
    case: CaseRef | None
    clear: Clear
    persons: tuple[PersonRef, ...]
    aliases: Mapping[PersonRef, str]
    to: tuple[AgencyId, ...]
    mandates: tuple[GivenRole, ...]
    blocks: Mapping[BlockKey, Fields]
    routing: Mapping[str, tuple[AgencyId, ...]] = field(default_factory=dict)

    def value(self, name: str, person: PersonRef | None = None) -> Any:
        """The value of a field, or None where it is absent; ``person`` for a personal field."""
        for (_, whose), fields in self.blocks.items():
            if whose == person and name in fields:
                return fields[name]
        return None
