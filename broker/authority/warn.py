"""What ``preview`` says beside the plan: nothing here stops a message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from broker.authority import roles as rules
from broker.authority.audience import Message
from broker.authority.basis import Decide, decisions
from broker.authority.model import Reader
from broker.names import AgencyId, AgencyKind, Compartment, Role
from broker.trust.directory import Agency, Directory

_PROTECTED = frozenset({AgencyKind.SHELTER})


def warnings(
    message: Message,
    author: Agency,
    addressed: Sequence[Agency],
    readers: Iterable[Reader],
    musts: Sequence[tuple[Role, tuple[Agency, ...]]],
    decide: Decide,
    directory: Directory,
) -> tuple[str, ...]:
    """Sentences for the sender: roles that nobody holds, readers of nothing, a shelter that shows itself."""
    by_id = {reader.agency: reader for reader in readers}
    return (
        *_nobody(musts),
        *_nothing(message, addressed, by_id),
        *_elsewhere(message, addressed, by_id, directory),
        *_shown(message, author, addressed, by_id, decide),
    )


def _nobody(musts: Sequence[tuple[Role, tuple[Agency, ...]]]) -> Iterator[str]:
    for role, agencies in musts:
        if not agencies:
            yield f"nobody is known to be {role.label}, which this type must address"


def _nothing(message: Message, addressed: Sequence[Agency], readers: dict[AgencyId, Reader]) -> Iterator[str]:
    if message.setting.control:
        return
    for agency in addressed:
        reader = readers[agency.id]
        if not reader.roles and not reader.entries:
            yield f"{agency.id} has no role in this case and will see the header only"


def _elsewhere(
    message: Message, addressed: Sequence[Agency], readers: dict[AgencyId, Reader], directory: Directory
) -> Iterator[str]:
    if not rules.acting(message.after, directory, persons=message.setting.persons, at=message.at):
        return
    for agency in addressed:
        for held in readers[agency.id].roles:
            if not rules.has_jurisdiction(
                agency, held.role, message.after, directory, persons=message.setting.persons, at=message.at
            ):
                yield f"{agency.id} is {held.role.label} of another place than any known in this case"


def _shown(
    message: Message, author: Agency, addressed: Sequence[Agency], readers: dict[AgencyId, Reader], decide: Decide
) -> Iterator[str]:
    """A shelter that writes is itself the place: those who are refused location learn of it."""
    if author.kind not in _PROTECTED:
        return
    for agency in addressed:
        asked = [
            decision
            for person in message.setting.persons
            for _, decision in decisions(
                (Compartment.LOCATION, person), readers[agency.id].roles, agency.kind, message.setting, decide
            )
        ]
        if not any(one.permit for one in asked):
            yield f"{agency.id} is refused the place, but sees that {author.id} writes"
