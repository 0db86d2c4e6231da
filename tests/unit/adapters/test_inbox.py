"""The inbox: each envelope once, with the position of the stream in the same transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from adapters.inbox import NO_PREVIOUS, Inbox, Outcome
from adapters.inbox_file import Arrival, Opening, State
from broker.clock import SetClock
from broker.errors import InputError, StoreError
from broker.names import AgencyId, CaseRef, Compartment, Digest, EventId, Millis, PersonRef
from broker.stream.protocol import Position

IN: Final = "casebridge.in.in.kl.cwc.ernakulam"
CASE: Final = CaseRef(b"c" * 16)
OTHER: Final = CaseRef(b"d" * 16)
AUTHOR: Final = AgencyId("in.mp.police.ahtu.mandla")
CLOCK: Final = SetClock(Millis(1_770_000_000_000))


def opened(folder: Path) -> Inbox:
    return Inbox.open(folder / "home" / "inbox.db", clock=CLOCK)


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    made = opened(tmp_path)
    yield made
    made.close()


def arrival(number: int, state: State = State.RECEIVED, *, case: CaseRef = CASE) -> Arrival:
    return Arrival(
        event_id=EventId(number.to_bytes(16, "big")),
        root=number.to_bytes(32, "big"),
        case=case,
        type="rescue.notice",
        variant="-",
        author=AUTHOR,
        slice=b"slice %d" % number,
        accepted=Position("casebridge.events", 1, number),
        accepted_at=Millis(1_769_999_999_000),
        state=state,
        needs="a mandate" if state is State.PENDING else "",
        check=9 if state is State.QUARANTINED else None,
        reason="the tree does not match" if state is State.QUARANTINED else "",
    )


def test_a_slice_comes_back_as_it_was_stored(inbox: Inbox) -> None:
    """Every column, and the time at which it came."""
    assert inbox.store([arrival(1)], {(IN, 0): 1}) == Outcome((0,), ())
    found = inbox.get(arrival(1).event_id)
    assert (found.arrival, found.received_at, found.opened) == (arrival(1), CLOCK.now(), False)
    assert inbox.by_root(arrival(1).root) == found
    assert inbox.positions(IN) == {0: 1}
    assert inbox.positions("casebridge.in.in.other") == {}


def test_an_envelope_is_stored_once(inbox: Inbox) -> None:
    """A second delivery, with other bytes too, changes nothing and is reported as known; positions go on."""
    inbox.store([arrival(1)], {(IN, 0): 1})
    again = replace(arrival(1), slice=b"cut differently")
    assert inbox.store([again, arrival(2), arrival(2)], {(IN, 0): 4}) == Outcome((1,), (0, 2))
    assert [s.arrival for s in inbox.slices()] == [arrival(1), arrival(2)]
    assert inbox.positions(IN) == {0: 4}


def test_a_bad_slice_does_not_keep_out_the_good_one(inbox: Inbox) -> None:
    """Quarantine holds each bad thing once, whatever root it claims; the envelope itself may still come."""
    bad = replace(arrival(1, State.QUARANTINED), slice=b"forged")
    outcome = inbox.store([bad, bad, arrival(1), replace(bad, slice=b"forged again")], {})
    assert outcome == Outcome((0, 2, 3), (1,))
    assert inbox.get(bad.event_id).arrival == arrival(1)
    assert [s.arrival.slice for s in inbox.slices(state=State.QUARANTINED)] == [b"forged", b"forged again"]
    assert inbox.by_root(bad.root) == inbox.get(bad.event_id)


def test_slices_are_listed_by_case_and_state_in_pages(inbox: Inbox) -> None:
    """In the order of arrival; ``after`` and ``limit`` page through without repeats."""
    inbox.store([arrival(1), arrival(2, State.PENDING), arrival(3, case=OTHER), arrival(4, State.QUARANTINED)], {})
    assert [s.arrival for s in inbox.slices(case=CASE)] == [
        arrival(1),
        arrival(2, State.PENDING),
        arrival(4, State.QUARANTINED),
    ]
    assert [s.arrival for s in inbox.slices(case=CASE, state=State.PENDING)] == [arrival(2, State.PENDING)]
    first = inbox.slices(limit=3)
    assert [s.arrival for s in inbox.slices(after=first[-1].id)] == [arrival(4, State.QUARANTINED)]
    assert inbox.cases() == [CASE, OTHER]


def test_what_waits_is_released_or_quarantined(inbox: Inbox) -> None:
    """Pending becomes received, with the slice as it is kept, or quarantined with check and reason; not back."""
    inbox.store([arrival(n, State.PENDING) for n in (1, 2, 3)], {})
    first, second, third = inbox.pending()
    inbox.received(first.id, kept=b"without its slot")
    inbox.quarantine(second.id, check=30, reason="a link of the chain is missing")
    inbox.waits(third.id, needs="a bundle")
    found = [inbox.get(arrival(n).event_id).arrival for n in (1, 2, 3)]
    assert [(a.state, a.slice, a.needs, a.check) for a in found] == [
        (State.RECEIVED, b"without its slot", "", None),
        (State.QUARANTINED, b"slice 2", "", 30),
        (State.PENDING, b"slice 3", "a bundle", None),
    ]
    assert found[1].reason == "a link of the chain is missing"
    with pytest.raises(InputError):
        inbox.received(second.id)
    with pytest.raises(InputError):
        inbox.quarantine(first.id, check=1, reason="x")
    with pytest.raises(InputError):
        inbox.waits(first.id, needs="x")


def test_quarantine_of_bytes_that_are_there_already_keeps_one(inbox: Inbox) -> None:
    """A waiting slice that fails as the same bytes failed before takes their place."""
    inbox.store([replace(arrival(1, State.QUARANTINED)), arrival(1, State.PENDING)], {})
    (waiting,) = inbox.pending()
    inbox.quarantine(waiting.id, check=30, reason="no chain")
    assert [s.arrival.check for s in inbox.slices()] == [30]


def test_an_opening_is_noted_before_the_content_is_given(inbox: Inbox) -> None:
    """It stands in the file when ``opening`` returns, marks the slice, and an unknown event is refused whole."""
    inbox.store([arrival(1), arrival(2, State.QUARANTINED)], {})
    noted = Opening(
        arrival(1).event_id, Compartment.LOCATION, PersonRef(b"p" * 16), "duty-officer", "protect", CLOCK.now()
    )
    general = replace(noted, compartment=Compartment.CASE, person=None)
    inbox.opening([noted, general])
    assert inbox.openings(arrival(1).event_id) == [noted, general]
    assert inbox.get(arrival(1).event_id).opened
    for wrong in (arrival(2).event_id, EventId(bytes(16))):
        with pytest.raises(InputError):
            inbox.opening([noted, replace(noted, event_id=wrong)])
    assert inbox.openings(arrival(1).event_id) == [noted, general]


def test_receipts_are_numbered_without_gaps_and_hold_each_opening_once(inbox: Inbox) -> None:
    """Each receipt names the digest before; openings in it are not given out again; sent ones neither."""
    inbox.store([arrival(1)], {})
    inbox.opening([Opening(arrival(1).event_id, Compartment.CASE, None, "post", "protect", CLOCK.now())])
    chain = []
    for number in range(3):
        with inbox.writing():
            following, previous = inbox.next_receipt(0)
            chain.append((following, previous))
            inbox.put_receipt(
                incarnation=0,
                number=following,
                case=CASE,
                digest=Digest(bytes([number + 1]) * 32),
                record=b"signed %d" % number,
                openings=[n for n, _ in inbox.unreceipted()],
            )
        assert inbox.unreceipted() == []
    assert chain == [(0, NO_PREVIOUS), (1, b"\1" * 32), (2, b"\2" * 32)]
    assert inbox.next_receipt(5) == (0, NO_PREVIOUS)
    with pytest.raises(StoreError, match="without gaps"):
        inbox.put_receipt(incarnation=0, number=2, case=CASE, digest=Digest(bytes(32)), record=b"")
    first, *others = inbox.unsent_receipts()
    assert (first.number, first.record, first.case) == (0, b"signed 0", CASE)
    inbox.receipts_sent([first.id])
    assert inbox.unsent_receipts() == others


def test_everything_in_one_block_is_kept_together(tmp_path: Path) -> None:
    """Slices, positions and casebook go together; an error undoes all; a part that failed is undone alone."""
    inbox = opened(tmp_path)

    def fact() -> None:
        with inbox.writing():
            inbox.casebook.put_fact(CASE, position=1, event_id=arrival(1).event_id, fact=b"fact")
            raise RuntimeError("verification failed late")

    def both() -> None:
        with inbox.writing():
            inbox.store([arrival(1)], {(IN, 0): 1})
            fact()

    with pytest.raises(RuntimeError):
        both()
    assert (inbox.slices(), inbox.positions(IN), inbox.casebook.facts(CASE)) == ([], {}, [])
    with inbox.writing():
        inbox.store([arrival(1)], {(IN, 0): 1})
        with pytest.raises(RuntimeError):
            fact()
    inbox.close()
    again = opened(tmp_path)
    assert (len(again.slices()), again.positions(IN), again.casebook.facts(CASE)) == (1, {0: 1}, [])
    again.close()


def test_facts_stand_in_the_order_of_the_stream(inbox: Inbox) -> None:
    """Whatever the order of arrival; a second telling replaces the first; ``before`` cuts."""
    book = inbox.casebook
    for position in (7, 2, 5, 2):
        book.put_fact(CASE, position=position, event_id=EventId(bytes([position]) * 16), fact=b"%d" % position)
    book.put_fact(CASE, position=5, event_id=EventId(bytes([5]) * 16), fact=b"five")
    book.put_fact(OTHER, position=1, event_id=EventId(bytes(16)), fact=b"other")
    assert book.facts(CASE) == [b"2", b"five", b"7"]
    assert book.facts(CASE, before=7) == [b"2", b"five"]
    assert inbox.cases() == [CASE, OTHER]


def test_mandates_are_found_by_digest_and_by_case(inbox: Inbox) -> None:
    """The first proof stays; who was told of which is kept for each agency."""
    book, digest, other = inbox.casebook, Digest(b"1" * 32), Digest(b"2" * 32)
    book.put_mandate(CASE, digest=digest, link=b"proof")
    book.put_mandate(CASE, digest=digest, link=b"another proof")
    book.put_mandate(OTHER, digest=other, link=b"other")
    assert (book.mandate(digest), book.mandate(Digest(bytes(32)))) == (b"proof", None)
    assert book.mandates(CASE) == {digest: b"proof"}
    book.tell(AUTHOR, [digest, other])
    book.tell(AUTHOR, [digest])
    assert book.told(AUTHOR) == {digest, other}
    assert book.told(AgencyId("in.kl.swc")) == frozenset()


def test_labels_never_stand_for_two_persons(inbox: Inbox) -> None:
    """A person keeps its first name in a case; a name that is taken gives way to the next free number."""
    book = inbox.casebook
    one, two, three = (PersonRef(bytes([n]) * 16) for n in (1, 2, 3))
    given = [
        book.put_label(CASE, person, alias)
        for person, alias in ((one, "P-1"), (two, "P-1"), (one, "P-9"), (three, "P-3"))
    ]
    assert given == ["P-1", "P-2", "P-1", "P-3"]
    assert book.labels(CASE) == {one: "P-1", two: "P-2", three: "P-3"}
    assert book.put_label(OTHER, two, "P-1") == "P-1"
