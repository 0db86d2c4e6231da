"""Erasure: what an agency destroyed the keys of, it opens no more; what it did not, stays as it was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.adapter import Adapter
from adapters.exchange import KEY_FILE
from adapters.home import Home
from adapters.opener import Block
from broker.errors import KeyUnavailable
from broker.keys.files import KeyFile
from broker.names import AgencyId, CaseRef, PersonRef
from tests.story.scenario import scenario
from tests.story.small_exchange import HOME, OTHER, alert, world

COMMITTEE: Final = AgencyId("in.kl.cwc.ernakulam")
VISITOR: Final = AgencyId("in.mp.ngo.gaon-saathi")
"""To whom a grant of the demo case shows an old message."""


def _person(adapter: Adapter, case: CaseRef, alias: str) -> PersonRef:
    return next(one for one, name in adapter.home.inbox.casebook.labels(case).items() if name == alias)


def _open(adapter: Adapter, event: Any) -> list[Block]:
    return adapter.open(event, post="duty-officer", purpose="case-work")


def test_what_is_about_an_erased_person_stays_closed_and_the_rest_opens(tmp_path: Path) -> None:
    """Blocks of that person say that they were erased and are not noted as opened; blocks of another open."""

    async def story() -> None:
        async with scenario(tmp_path) as made:
            await made.play(until="M05")
            adapter, event = made.adapter(COMMITTEE), made.script.events["M05"]
            case = made.script.cases[made.script.case]
            gone, stays = _person(adapter, case, "P-1"), _person(adapter, case, "P-2")
            assert {gone, stays} <= {block.person for block in _open(adapter, event) if block.fields}
            before = len(adapter.home.inbox.openings(event))
            adapter.home.keystore.erase(case, gone)
            opened = _open(adapter, event)
            assert {bool(block.fields) for block in opened if block.person == stays} == {True}
            assert {bool(block.fields) for block in opened if block.person == gone} == {False}
            assert all("this agency erased it at 2026-" in block.refused for block in opened if block.person == gone)
            noted = {opening.person for opening in adapter.home.inbox.openings(event)[before:]}
            assert stays in noted
            assert gone not in noted
            await made.play(until="M06")

    asyncio.run(story())


def test_of_an_erased_case_nothing_opens_and_the_date_is_told(tmp_path: Path) -> None:
    """Opening ends with the date of the erasure, in every process of the home; the attempt leaves a record."""

    async def story() -> None:
        async with world(tmp_path) as made:
            published, other = made.publish(HOME, alert()), made.publish(HOME, alert())
            await made.settle()
            adapter = made.adapter(OTHER)
            home = Home.open(
                made.exchange.home_folder(OTHER),
                secret=KeyFile(made.exchange.folder / KEY_FILE),
                clock=made.clock,
                random=made.exchange.random,
            )
            beside = Adapter.over(home, adapter.stream, adapter.rules, adapter.ground)
            assert _open(beside, published.event_id)
            adapter.home.keystore.erase_case(published.case)
            for one in (adapter, beside):
                with pytest.raises(KeyUnavailable, match="erased the keys of this event's case at 2026-02-02"):
                    _open(one, published.event_id)
                assert _open(one, other.event_id)[0].fields
            assert adapter.files.erased(published.event_id) == made.clock.at
            assert adapter.files.erased(other.event_id) is None
            assert adapter.home.keystore.held(published.case) == {}
            home.close()
            await made.next_works()

    asyncio.run(story())


def test_what_a_grant_showed_goes_with_its_person(tmp_path: Path) -> None:
    """An old block that came by a grant is kept under the person whom it is about, so it is erased with that person."""

    async def story() -> None:
        async with scenario(tmp_path) as made:
            await made.play(until="G1")
            adapter, event = made.adapter(VISITOR), made.script.events["M09"]
            before = [block for block in _open(adapter, event) if block.basis.startswith("grant")]
            assert {block.alias for block in before if block.fields} == {"P-1"}
            case = made.script.cases[made.script.case]
            adapter.home.keystore.erase(case, _person(adapter, case, "P-1"))
            adapter.files.forget()
            after = [block for block in _open(adapter, event) if block.basis.startswith("grant")]
            assert after
            assert not [block for block in after if block.fields or "erased" not in block.refused]

    asyncio.run(story())
