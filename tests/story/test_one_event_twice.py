"""An event's id is its sender's word: two envelopes with the same one harm neither the case nor its readers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from adapters.casefiles import CaseFiles
from broker.dispatch import Accepted
from broker.names import AgencyId, Role
from broker.seal.envelope import decode_envelope
from broker.seal.seal import Draft
from tests.story import forge
from tests.story.small_exchange import AUDITOR, HOME, OTHER, World, alert, world


def _again(made: World, draft: Draft, counter: int) -> bytes:
    """The same event, sealed once more: another envelope."""
    header = forge.with_header(attempt=made.exchange.random.bytes(16), sequence=counter)(draft)
    numbered = replace(header, readers=[replace(slot, counter=counter) for slot in header.readers])
    return forge.envelope_of(made, HOME, numbered)


def _reopened(made: World, agency: AgencyId) -> CaseFiles:
    """The cases of an agency as its adapter reads them after a restart."""
    adapter = made.adapter(agency)
    return CaseFiles(adapter.home, adapter.rules, adapter.ground)


def test_of_two_envelopes_with_one_event_id_the_first_counts_and_the_case_stays_readable(tmp_path: Path) -> None:
    """Both are kept; case, blocks and mandates are those of the first; the next message of the case works."""

    async def story() -> None:
        async with world(tmp_path) as made:
            draft = forge.draft_of(made, HOME, alert())
            first = forge.envelope_of(made, HOME, draft)
            await forge.send(made, HOME, first, draft.header)
            await forge.send(made, HOME, _again(made, draft, 1_001), draft.header)
            assert [type(one) for one in await made.settle()] == [Accepted, Accepted]
            for agency in (HOME, OTHER, AUDITOR):
                assert len(made.received(agency)) == 2
                file = _reopened(made, agency).get(draft.header.case_ref)
                (kept,) = file.all_kept()
                assert kept.slice.root == decode_envelope(first).root
            mine = _reopened(made, HOME).get(draft.header.case_ref)
            held = mine.state.roles(HOME, None, made.clock.at)
            assert {one.given.mandate.role for one in held} == {Role.HP, Role.IA}
            assert all(mine.link(one.given.digest) for one in held)
            await made.next_works()

    asyncio.run(story())
