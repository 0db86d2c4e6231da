"""An owner that shows more under its grant than a grant can give."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

from broker.checks import Check
from broker.names import Basis, CaseRef, Compartment, EventId, PersonRef, Role
from broker.seal.block import Label
from broker.seal.credentials import decode_credentials
from broker.seal.disclosure import disclose
from broker.seal.seal import Draft
from tests.story import forge
from tests.story.small_exchange import HOME, OTHER, World, alert
from tests.story.test_attacks_on_envelopes import play

OLD = Label(Compartment.DISCLOSURE, 0, None)


def two_girls(made: World) -> Draft:
    """An alert that is about two persons; its author can read the names of both."""
    draft = forge.draft_of(made, HOME, alert())
    name = next(label for label in draft.blocks if label.compartment is Compartment.PERSON_IDENTITY)
    stranger = PersonRef(b"s" * 16)
    second = name._replace(person=stranger)
    said = decode_credentials(draft.credentials)
    claims = (*said.claims, replace(said.claims[0], person=stranger))
    draft = replace(draft, credentials=said._replace(claims=claims).encode())
    draft = replace(draft, blocks={**draft.blocks, second: draft.blocks[name]})
    return forge.with_slot(HOME, forge.keyed_to(second, basis=Basis.AUTHOR, role=Role.OR))(draft)


def grant(case: str, event: EventId) -> dict[str, Any]:
    """The home desk shows another one the name of the first."""
    return {
        "type": "access.grant",
        "variant": "owner",
        "case": case,
        "langs": ["en-IN"],
        "post": "duty-officer",
        "references": [str(UUID(bytes=event))],
        "to": [OTHER],
        "persons": ["P-1"],
        "fields": {
            "grant.to": OTHER,
            "grant.person": "P-1",
            "grant.compartments": ["person-identity"],
            "grant.messages": [str(UUID(bytes=event))],
            "grant.later": False,
            "grant.until": "2026-02-10T11:00:00+05:30",
            "grant.reason": "to ask at the bus stand",
            "grant.post": "duty-officer",
            "grant.orderNo": {"no": "00", "issuer": "CWC Mandla", "year": 2026},
        },
    }


def showing(made: World, draft: Draft, *events: EventId) -> Draft:
    """The same grant, that shows every name in these events, whosesoever."""
    links = []
    for event in events:
        (found,) = made.adapter(HOME).home.inbox.slices_of(event)
        kept = made.adapter(HOME).files.get(found.arrival.case).kept(event)
        assert kept is not None
        names = [one.label for one in kept.row.entries if one.label.compartment is Compartment.PERSON_IDENTITY]
        links += [disclose(kept.slice, kept.part(one), one, kept.disclose_seed(one)) for one in names]
    assert len(links) == 2
    content = len(links).to_bytes(2, "big") + b"".join(len(one).to_bytes(4, "big") + one for one in links)
    return replace(draft, blocks={**draft.blocks, OLD: content})


async def refused(made: World, record: dict[str, Any], case: CaseRef, *events: EventId) -> None:
    """The grant that shows too much is refused, and gives nothing; the honest one gives."""
    forged = showing(made, forge.draft_of(made, HOME, record, counter=2_000), *events)
    await forge.send(made, HOME, forge.envelope_of(made, HOME, forged), forged.header)
    await made.settle()
    assert made.quarantined(OTHER) == [Check.GRANT]
    assert made.adapter(OTHER).files.get(case).state.grants == {}
    honest = made.publish(HOME, record)
    await made.settle()
    assert honest.event_id in made.adapter(OTHER).files.get(case).state.grants
    await made.next_works()


def test_a_grant_shows_old_blocks_of_one_person_alone(tmp_path: Path) -> None:
    """A grant is for one person: with a second one's block in it, its reader refuses it, and keeps none of it."""

    async def story(made: World) -> None:
        draft = two_girls(made)
        await forge.send(made, HOME, forge.envelope_of(made, HOME, draft), draft.header)
        await made.settle()
        header = draft.header
        await refused(made, grant(header.case_ref.hex(), header.event_id), header.case_ref, header.event_id)

    play(tmp_path, story)


def test_a_grant_shows_old_blocks_of_its_own_case_alone(tmp_path: Path) -> None:
    """What the owner reads in another case does not come with a grant in this one."""

    async def story(made: World) -> None:
        sent, other = made.publish(HOME, alert()), made.publish(HOME, alert())
        await made.settle()
        await refused(made, grant(sent.case.hex(), sent.event_id), sent.case, sent.event_id, other.event_id)

    play(tmp_path, story)
