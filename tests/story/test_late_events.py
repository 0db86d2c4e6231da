"""What an office wrote before it heard that the case had moved on: kept, shown, and without effect."""

from __future__ import annotations

import asyncio
from pathlib import Path

from adapters.demo.script import Step
from adapters.inbox_file import State
from broker.authority.state import Effect
from broker.clock import MINUTE
from broker.dispatch import Accepted
from broker.names import EventId, Millis, Phase
from broker.service.loop import pass_once
from tests.story.scenario import Scenario, scenario


def step_of(made: Scenario, name: str) -> Step:
    """A step of the case by its number."""
    return next(step for step in made.script.steps if step.id == name)


async def write_late(made: Scenario, late: Step, overtaking: Step) -> EventId:
    """The office of ``late`` writes that message once more, while ``overtaking`` stands in the stream and it has not read."""
    made.clock.at = overtaking.at
    other = made.adapter(overtaking.author)
    (news,) = other.publisher.publish([made.script.record(overtaking)])
    made.script.played(overtaking, news.event_id, news.case)
    await other.send()
    await pass_once(made.broker)
    made.clock.at = Millis(overtaking.at + MINUTE)
    (written,) = made.adapter(late.author).publisher.publish([made.script.record(late)])
    for verdicts in await made.exchange.settle(made.broker):
        assert all(isinstance(one, Accepted) for one in verdicts)
    return written.event_id


def test_an_event_after_its_sender_s_mandate_ended_is_kept_and_changes_nothing(tmp_path: Path) -> None:
    """Every reader keeps it, sees that its sender had no mandate any more, and has the case as it was."""

    async def story() -> None:
        async with scenario(tmp_path) as made:
            await made.play("M05")
            late = await write_late(made, step_of(made, "M02"), step_of(made, "M06"))
            readers = 0
            for agency, adapter in made.members.items():
                assert adapter.home.inbox.slices(state=State.QUARANTINED) == [], agency
                for found in adapter.home.inbox.slices_of(late):
                    readers += 1
                    state = adapter.files.get(found.arrival.case).state
                    assert state.effect(late) is Effect.ENDED, agency
                    assert state.effect(made.script.events["M06"]) is Effect.EFFECTIVE
                    assert {one.phase for one in state.persons.values()} == {Phase.RESCUED}, agency
            assert readers > 3

    asyncio.run(story())
