"""Who reads what of a message, on what basis, and which mandates each reader is told (domain §5.2.2 and §5.2.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from broker.authority import roles as rules
from broker.authority.basis import Decide, Setting, covers, how_to_ask, permitted
from broker.authority.model import Entry, Grant, Held, Mandate, Reader
from broker.authority.state import CaseState
from broker.event.model import BlockKey
from broker.names import AgencyId, Basis, Compartment, Digest, Millis, Role
from broker.trust.directory import Agency


@dataclass(frozen=True, slots=True)
class Message:
    """A message as its readers are worked out: ``after`` is the state in which it counts already.

    ``mandates`` are those that it gives, ``position`` the place that it would take in the stream.
    """

    setting: Setting
    blocks: Sequence[BlockKey]
    mandates: tuple[Mandate, ...]
    after: CaseState
    variant: str
    position: int
    at: Millis


def roles_of(message: Message, agency: Agency) -> tuple[Held, ...]:
    """The roles that count for an agency in this message, those that it gives included, those that it ends not."""
    return rules.in_message(
        message.after,
        agency,
        variant=message.variant,
        persons=message.setting.persons,
        at=message.at,
        position=message.position,
    )


def author(message: Message, agency: Agency) -> Reader:
    """The author, who reads everything that it wrote and knows every mandate that it gives."""
    entries = tuple(Entry(block, Basis.AUTHOR, Role.OR) for block in message.blocks)
    return Reader(agency.id, roles_of(message, agency), entries, tuple(range(len(message.mandates))), (), {})


def reader(message: Message, agency: Agency, decide: Decide) -> Reader:
    """One addressed agency: what it reads by a role, a grant or as party, and what it is told."""
    held = roles_of(message, agency)
    grants = message.after.live_grants(agency.id, message.at, message.position)
    entries: list[Entry] = []
    withheld: dict[BlockKey, str] = {}
    for block in message.blocks:
        entry = _entry(message, block, agency, held, grants, decide)
        if entry is not None:
            entries.append(entry)
        elif _concerns(block, held):
            withheld[block] = how_to_ask(block, held, agency.kind, message.setting, decide)
    return Reader(
        agency.id,
        held,
        tuple(entries),
        tuple(_told(message, agency.id, held)),
        tuple(_roster(message, agency.id, held)),
        withheld,
    )


def _entry(
    message: Message,
    block: BlockKey,
    agency: Agency,
    held: Sequence[Held],
    grants: Iterable[Grant],
    decide: Decide,
) -> Entry | None:
    if block[0] is Compartment.ACCESS:
        if message.setting.control == "cancel":
            return None
        return Entry(block, Basis.PARTY, Role.OR)
    found = permitted(block, held, agency.kind, message.setting, decide)
    if found is not None:
        return found
    for grant in grants:
        if covers(grant, agency=agency.id, block=block, event=message.setting.event_id, addressed=True):
            return Entry(block, Basis.GRANT, Role.OR, grant=grant.id)
    return None


def _concerns(block: BlockKey, held: Sequence[Held]) -> bool:
    """Whether a reader may know that the block could exist: not for a person for whom it has no role."""
    compartment, person = block
    if compartment is Compartment.ACCESS or not held:
        return False
    return person is None or any(one.person in (None, person) for one in held)


def _told(message: Message, agency: AgencyId, held: Sequence[Held]) -> Iterable[int]:
    for place, mandate in enumerate(message.mandates):
        if mandate.agency == agency or rules.may_be_told(held, mandate, message.after.table):
            yield place


def _roster(message: Message, agency: AgencyId, held: Sequence[Held]) -> Iterable[Digest]:
    """Earlier mandates in force, for the persons of this message, that the reader may know and was not told by us."""
    state, author_id = message.after, message.setting.author
    before = _told_before(state, author_id, agency)
    for digest, holder in state.holders.items():
        mandate = holder.given.mandate
        if (
            mandate.event_id != message.setting.event_id
            and agency not in (mandate.agency, mandate.giver)
            and digest not in before
            and (mandate.person is None or mandate.person in message.setting.persons)
            and holder.live(message.at, message.position)
            and rules.may_be_told(held, mandate, state.table)
        ):
            yield digest


def _told_before(state: CaseState, author_id: AgencyId, agency: AgencyId) -> frozenset[Digest]:
    told: Mapping[AgencyId, tuple[Digest, ...]]
    found: set[Digest] = set()
    for fact in state.facts.values():
        if fact.author == author_id:
            told = fact.told
            found.update(told.get(agency, ()))
        elif fact.author == agency:
            found.update(given.digest for given in fact.mandates)
    return frozenset(found)
