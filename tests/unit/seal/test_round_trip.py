"""Seal, check, cut, receive, keep, open: what goes in comes out, for whom it was meant and for nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

from broker.dispatch import Accepted
from broker.names import Compartment
from broker.seal.envelope import decode_slice
from broker.seal.parts import LEAF_CLASSES
from tests.story.small_exchange import AUDITOR, CWC, HOME, NCRB, OTHER, RESCUE, World, alert, world


def run(folder: Path, story: object) -> None:
    """Plays an async story in a new world."""

    async def play() -> None:
        async with world(folder) as made:
            await story(made)  # type: ignore[operator]

    asyncio.run(play())


def _opened(made: World, agency: object, event: bytes) -> dict[str, object]:
    blocks = made.adapter(agency).open(event, post="duty-officer", purpose="case-work")  # type: ignore[arg-type]
    return {block.compartment.label: dict(block.fields) for block in blocks if not block.refused}


def test_each_reader_opens_its_own_blocks_and_no_others(tmp_path: Path) -> None:
    """A desk of another State reads the card, the home committee the name, the author everything."""

    async def story(made: World) -> None:
        event = made.publish(HOME, alert(clothing="green dress")).event_id
        await made.settle()
        assert set(_opened(made, OTHER, event)) == {"spotting"}
        assert {"case", "person-identity", "location"} == set(_opened(made, CWC, event))
        assert {"source", "contact-reporter", "suspect"} < set(_opened(made, HOME, event))
        card = _opened(made, OTHER, event)["spotting"]
        assert isinstance(card, dict)
        assert card["spot.clothing"][0]["text"] == "green dress"

    run(tmp_path, story)


def test_a_slice_has_the_size_of_its_class_whoever_reads(tmp_path: Path) -> None:
    """The number of leaves is one of the classes, and the same for every reader of an event."""

    async def story(made: World) -> None:
        root = made.publish(HOME, alert()).root
        await made.settle()
        sizes = set()
        for agency in (OTHER, CWC, NCRB, RESCUE):
            kept = made.adapter(agency).home.inbox.by_root(root)
            assert kept is not None
            sizes.add(decode_slice(kept.arrival.slice).size)
        assert len(sizes) == 1
        assert sizes <= set(LEAF_CLASSES)

    run(tmp_path, story)


def test_no_slice_names_another_addressee(tmp_path: Path) -> None:
    """The bytes of a slice hold no agency id but those of publisher, broker and reader, as it came and as it is kept."""

    async def story(made: World) -> None:
        root = made.publish(HOME, alert()).root
        verdicts = await made.settle()
        accepted = next(one for one in verdicts if isinstance(one, Accepted))
        everybody = set(accepted.slots)
        assert {OTHER, CWC, NCRB, RESCUE, AUDITOR} < everybody
        for agency in (OTHER, CWC, NCRB, RESCUE):
            kept = made.adapter(agency).home.inbox.by_root(root)
            assert kept is not None
            for other in everybody - {agency, HOME}:
                assert other.encode() not in kept.arrival.slice, (agency, other)

    run(tmp_path, story)


def test_the_auditor_reads_the_ledger_and_no_content(tmp_path: Path) -> None:
    """An auditor is told who got which block and why, and has no key to any."""

    async def story(made: World) -> None:
        event = made.publish(HOME, alert()).event_id
        await made.settle()
        assert _opened(made, AUDITOR, event) == {}
        (one,) = made.received(AUDITOR)
        kept = made.adapter(AUDITOR).files.get(one.arrival.case).kept(event)
        assert kept is not None
        from broker.seal.ledger import ledger

        rows = {row.reader: row for row, _ in ledger(kept)}
        assert {OTHER, CWC, NCRB, RESCUE, HOME} <= set(rows)
        given = {entry.label.compartment for entry in rows[OTHER].entries if entry.label.compartment < 100}
        assert given == {Compartment.SPOTTING}

    run(tmp_path, story)
