"""Two directories follow one another, and not everybody has the new one yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from adapters import registrar
from adapters.adapter import Adapter
from adapters.home import load_ground
from adapters.inbox_file import State
from adapters.receiver import BUNDLE_WAIT
from broker.checks import Check
from broker.clock import HOUR, MINUTE
from broker.dispatch import Accepted, Quarantined
from broker.names import AgencyId, Millis
from broker.seal.ground import BundleGround
from broker.seal.open import BUNDLE
from tests.story.small_exchange import CWC, HOME, HUB, NCRB, OTHER, RESCUE, World, alert
from tests.story.test_attacks_on_envelopes import play


def issue(made: World, folder: Path) -> BundleGround:
    """A second directory, from now on: the desk of the other State is no subscriber any more. Gives the new ground."""
    exchange, folder = made.exchange, folder / "directories"
    folder.mkdir()
    (folder / "1.json").write_bytes((exchange.folder / "directory.json").read_bytes())
    made.clock.at = Millis(made.clock.at + HOUR)
    entries = [
        registrar.agency_entry(
            {**one, "standing": [], "subscribed": False} if agency == OTHER else one,
            exchange.homes[agency].ring.public(),
            enrolled=exchange.started_at,
        )
        for agency, one in exchange.agencies.items()
    ]
    registrar.write(folder / "2.json", entries, issued_at=made.clock.at, key=exchange.registrar_key.signing)
    return load_ground(folder, (exchange.registrar_key.signing.public,), exchange.rules)


def take_up(made: World, ground: BundleGround, *agencies: AgencyId) -> None:
    """These agencies have the new directory now."""
    adapters = made.exchange.adapters
    for agency in agencies:
        old = adapters[agency]
        adapters[agency] = Adapter.over(old.home, old.stream, old.rules, ground)


def story(tmp_path: Path, told: Callable[[World, BundleGround], Awaitable[None]]) -> None:
    """Plays in a world in which a new directory was just issued."""

    async def begin(made: World) -> None:
        await told(made, issue(made, tmp_path))

    play(tmp_path, begin)


def test_a_message_waits_for_the_directory_under_which_it_was_accepted(tmp_path: Path) -> None:
    """Whoever gets a directory late loses nothing: the slice waits, and is judged when the directory comes."""

    async def told(made: World, ground: BundleGround) -> None:
        take_up(made, ground, HUB, HOME, CWC)
        sent = made.publish(HOME, alert(to=[RESCUE, CWC, NCRB]))
        await made.settle()
        (waiting,) = made.received(RESCUE, State.PENDING)
        assert (waiting.arrival.root, waiting.arrival.needs) == (sent.root, BUNDLE)
        assert [one.arrival.root for one in made.received(CWC)] == [sent.root]

        take_up(made, ground, RESCUE)
        await made.settle()
        assert [one.arrival.root for one in made.received(RESCUE)] == [sent.root]
        assert made.received(RESCUE, State.PENDING) == []

    story(tmp_path, told)


def test_a_directory_that_never_comes_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """After seven days the slice is refused with the bundle's check; until then it waits through every restart."""

    async def told(made: World, ground: BundleGround) -> None:
        take_up(made, ground, HUB, HOME, CWC)
        made.publish(HOME, alert(to=[RESCUE, CWC, NCRB]))
        await made.settle()
        old = made.adapter(RESCUE).ground
        (waiting,) = made.received(RESCUE, State.PENDING)
        for at, left in ((waiting.received_at + BUNDLE_WAIT, 1), (waiting.received_at + BUNDLE_WAIT + 1, 0)):
            made.clock.at = Millis(at)
            take_up(made, old, RESCUE)
            await made.settle()
            assert len(made.received(RESCUE, State.PENDING)) == left
        assert made.quarantined(RESCUE) == [Check.BUNDLE]

    story(tmp_path, told)


def test_an_older_laxer_directory_serves_a_sender_no_longer_than_the_grace(tmp_path: Path) -> None:
    """It is refused by the broker after the grace; within it the reader that lost its role still refuses what it gets."""

    async def told(made: World, ground: BundleGround) -> None:
        everybody = tuple(made.exchange.adapters)
        take_up(made, ground, *(one for one in everybody if one != HOME))
        within = made.publish(HOME, alert())
        (verdict,) = await made.settle()
        assert isinstance(verdict, Accepted)
        assert verdict.statement.root == within.root
        assert made.quarantined(OTHER) == [Check.ROLE]
        assert [one.arrival.root for one in made.received(RESCUE)] == [within.root]

        since = ground.bundles.newest.since
        made.clock.at = Millis(since + ground.parameters(since).bundle_grace + MINUTE)
        made.publish(HOME, alert())
        (verdict,) = await made.settle()
        assert isinstance(verdict, Quarantined)
        assert verdict.check == Check.BUNDLE

        take_up(made, ground, HOME)
        after = made.publish(HOME, alert(to=[RESCUE, CWC, NCRB]))
        (verdict,) = await made.settle()
        assert isinstance(verdict, Accepted)
        assert verdict.statement.root == after.root

    story(tmp_path, told)
