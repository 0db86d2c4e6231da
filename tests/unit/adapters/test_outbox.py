"""The outbox: numbers without gaps, a chain, counters for each reader, everything or nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from adapters.outbox import Outbox, Writing
from adapters.outbox_file import NO_PREVIOUS, Allocation, Draft, State
from broker.clock import SetClock, SystemRandom
from broker.errors import InputError, StoreError
from broker.names import AgencyId, CaseRef, EventId, Millis
from broker.stream.protocol import Position

A: Final = AgencyId("in.kl.cwc.ernakulam")
B: Final = AgencyId("in.mp.police.ahtu.mandla")
C: Final = AgencyId("in.kl.ngo.marigold-nest")
CASE: Final = CaseRef(b"c" * 16)
CLOCK: Final = SetClock(Millis(1_770_000_000_000))


def opened(folder: Path) -> Outbox:
    return Outbox.open(folder / "home" / "outbox.db", clock=CLOCK, random=SystemRandom())


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = opened(tmp_path)
    yield made
    made.close()


def draft(number: int, key: str | None = None) -> Draft:
    root = number.to_bytes(32, "big")
    headers = (("ce_id", b"%d" % number),)
    return Draft(EventId(number.to_bytes(16, "big")), root, CASE, "case.note", b"sealed %d" % number, headers, key)


def keep(outbox: Outbox, *numbers: int, readers: tuple[AgencyId, ...] = (A, B)) -> list[Allocation]:
    with outbox.writing() as transaction:
        return [put(transaction, number, readers) for number in numbers]


def put(transaction: Writing, number: int, readers: tuple[AgencyId, ...] = (A, B)) -> Allocation:
    allocation = transaction.next(readers)
    transaction.put(allocation, draft(number))
    return allocation


def test_an_envelope_comes_back_byte_for_byte(outbox: Outbox) -> None:
    """What was kept is what is pending: bytes, headers, key, and its numbers."""
    with outbox.writing() as transaction:
        transaction.put(transaction.next([A]), draft(7, "key-7"))
    (kept,) = outbox.pending(10)
    assert kept.draft == draft(7, "key-7")
    assert (kept.incarnation, kept.sequence, kept.state, kept.position, kept.check) == (0, 0, State.QUEUED, None, None)
    assert kept.created_at == CLOCK.now()
    assert outbox.get(EventId((7).to_bytes(16, "big"))) == kept


def test_each_envelope_names_the_one_before(outbox: Outbox) -> None:
    """Sequence numbers ascend from 0 and ``previous_root`` is the root before, within a batch and across batches."""
    allocations = keep(outbox, 1, 2) + keep(outbox, 3)
    assert [a.sequence for a in allocations] == [0, 1, 2]
    assert [a.previous_root for a in allocations] == [NO_PREVIOUS, draft(1).root, draft(2).root]
    assert outbox.head == draft(3).root


def test_a_batch_is_chained_before_it_is_signed(outbox: Outbox) -> None:
    """Roots are linked one by one; the signed bytes of all are put when the last is sealed."""
    with outbox.writing() as transaction:
        allocations = []
        for number in (1, 2, 3):
            allocation = transaction.next([A])
            transaction.link(allocation, draft(number).root)
            allocations.append(allocation)
        for number, allocation in zip((1, 2, 3), allocations, strict=True):
            transaction.put(allocation, draft(number))
    assert [kept.draft.root for kept in outbox.pending(10)] == [draft(n).root for n in (1, 2, 3)]


def test_each_reader_has_its_own_counter(outbox: Outbox) -> None:
    """A counter ascends from 0 by the envelopes that have a slot for that reader."""
    counters = [
        *(a.counters for a in keep(outbox, 1, readers=(A, B))),
        *(a.counters for a in keep(outbox, 2, readers=(A, C))),
        *(a.counters for a in keep(outbox, 3, readers=(A, B, C))),
    ]
    assert counters == [{A: 0, B: 0}, {A: 1, C: 0}, {A: 2, B: 1, C: 1}]


def test_nothing_is_kept_or_numbered_when_the_block_fails(outbox: Outbox) -> None:
    """An error while the second of a batch is sealed gives back all numbers of the batch."""
    keep(outbox, 1)

    def seal_two() -> None:
        with outbox.writing() as transaction:
            put(transaction, 2)
            raise RuntimeError("sealing failed")

    with pytest.raises(RuntimeError):
        seal_two()
    assert [kept.sequence for kept in outbox.pending(10)] == [0]
    (allocation,) = keep(outbox, 2)
    assert (allocation.sequence, allocation.counters) == (1, {A: 1, B: 1})


def _not_put(transaction: Writing) -> None:
    transaction.next([A])


def _linked_and_not_put(transaction: Writing) -> None:
    transaction.link(transaction.next([A]), bytes(32))


def _next_without_root(transaction: Writing) -> None:
    transaction.next([A])
    transaction.next([A])


def _put_twice(transaction: Writing) -> None:
    transaction.put(put(transaction, 5), draft(6))


def _another_root(transaction: Writing) -> None:
    allocation = transaction.next([A])
    transaction.link(allocation, draft(5).root)
    transaction.put(allocation, draft(6))


def _link_twice(transaction: Writing) -> None:
    allocation = transaction.next([A])
    transaction.link(allocation, draft(5).root)
    transaction.link(allocation, draft(6).root)


def _same_event(transaction: Writing) -> None:
    put(transaction, 1)


MISUSE = [
    pytest.param(_not_put, id="a number without an envelope"),
    pytest.param(_linked_and_not_put, id="a root without an envelope"),
    pytest.param(_next_without_root, id="the next number before the root of the last"),
    pytest.param(_put_twice, id="two envelopes for one number"),
    pytest.param(_another_root, id="an envelope with another root than linked"),
    pytest.param(_link_twice, id="two roots for one number"),
    pytest.param(_same_event, id="an event that is kept already"),
]


@pytest.mark.parametrize("misuse", MISUSE)
def test_a_transaction_that_would_break_the_chain_keeps_nothing(outbox: Outbox, misuse: object) -> None:
    """The whole batch is refused and the chain goes on where it was."""
    assert callable(misuse)
    keep(outbox, 1)

    def batch() -> None:
        with outbox.writing() as transaction:
            put(transaction, 2)
            misuse(transaction)

    with pytest.raises(StoreError):
        batch()
    assert [kept.sequence for kept in outbox.pending(10)] == [0]
    assert outbox.head == draft(1).root


def test_a_reader_has_one_slot(outbox: Outbox) -> None:
    """A reader named twice is refused."""
    with pytest.raises(InputError), outbox.writing() as transaction:
        transaction.next([A, B, A])


def test_the_same_key_gives_the_earlier_envelope(outbox: Outbox) -> None:
    """``earlier`` finds what was kept under a key, in the same transaction and later, and nothing else."""
    with outbox.writing() as transaction:
        assert transaction.earlier("k") is None
        transaction.put(transaction.next([A]), draft(1, "k"))
        found = transaction.earlier("k")
        assert found is not None
        assert found.draft == draft(1, "k")
    with pytest.raises(StoreError), outbox.writing() as transaction:
        transaction.put(transaction.next([A]), draft(2, "k"))
    assert outbox.by_idempotency_key("k") == outbox.get(draft(1).event_id)
    assert outbox.by_idempotency_key("other") is None


def test_states_only_go_forward(outbox: Outbox) -> None:
    """Queued, sent, then accepted or refused for good, in whatever order and how often the news comes."""
    keep(outbox, 1, 2, 3)
    first, second, third = outbox.pending(10)
    place, other = Position("casebridge.events", 3, 17), Position("casebridge.events", 3, 18)
    assert [kept.id for kept in outbox.pending(1)] == [first.id]
    outbox.mark_sent([(first.id, place), (second.id, other)])
    outbox.mark_sent([(first.id, other)])
    assert [kept.id for kept in outbox.pending(10)] == [third.id]
    assert outbox.get(first.draft.event_id).position == place
    outbox.mark_accepted(first.draft.event_id, place)
    outbox.mark_refused(first.draft.event_id, 9)
    outbox.mark_refused(second.draft.event_id, 10)
    outbox.mark_accepted(second.draft.event_id, other)
    outbox.mark_accepted(third.draft.event_id, other)
    outbox.mark_sent([(third.id, place)])
    states = [(kept.state, kept.check) for kept in outbox.sent_in(CASE)]
    assert states == [(State.ACCEPTED, None), (State.REFUSED, 10), (State.ACCEPTED, None)]
    assert outbox.pending(10) == []


def test_an_event_that_is_not_here_is_named(outbox: Outbox) -> None:
    """Asking for or marking an unknown event is an error, never silence."""
    nobody = EventId(bytes(16))
    for ask in (
        lambda: outbox.get(nobody),
        lambda: outbox.mark_accepted(nobody, Position("t", 0, 0)),
        lambda: outbox.mark_refused(nobody, 1),
    ):
        with pytest.raises(InputError, match="no such event"):
            ask()


def test_an_outbox_goes_on_after_it_was_closed(tmp_path: Path) -> None:
    """Instance, incarnation, chain and counters are as they were; a file in its place is no copy."""
    first = opened(tmp_path)
    keep(first, 1)
    instance = first.instance
    first.close()
    again = opened(tmp_path)
    assert (again.instance, again.incarnation, again.copied, len(instance)) == (instance, 0, False, 8)
    (allocation,) = keep(again, 2)
    assert (allocation.sequence, allocation.previous_root) == (1, draft(1).root)
    again.close()


def test_a_copy_must_begin_a_new_incarnation(tmp_path: Path) -> None:
    """A restored outbox refuses to write until its new chain is begun, which opens with the last known head."""
    first = opened(tmp_path)
    keep(first, 1)
    first.close()
    shutil.copytree(tmp_path / "home", tmp_path / "other" / "home")
    copy = opened(tmp_path / "other")
    assert copy.copied
    with pytest.raises(StoreError, match="new incarnation"):
        keep(copy, 2)
    number = copy.new_incarnation()
    assert number == copy.incarnation == CLOCK.now() // 1_000
    assert (copy.last_head, copy.head) == (draft(1).root, NO_PREVIOUS)
    (allocation,) = keep(copy, 2)
    assert (allocation.incarnation, allocation.sequence, allocation.previous_root) == (number, 0, NO_PREVIOUS)
    assert allocation.counters == {A: 0, B: 0}
    assert copy.new_incarnation(b"h" * 32) == number + 1
    assert copy.last_head == b"h" * 32
    copy.close()
    again = opened(tmp_path / "other")
    assert not again.copied
    again.close()


def test_threads_take_their_turns(outbox: Outbox) -> None:
    """Several threads keep envelopes at once: one chain, no number twice; a thread cannot begin twice."""

    def work(start: int) -> None:
        for number in range(start, start + 20):
            keep(outbox, number)

    threads = [threading.Thread(target=work, args=(start,)) for start in (100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [kept.sequence for kept in outbox.pending(100)] == list(range(60))
    with outbox.writing(), pytest.raises(StoreError, match="already writes"), outbox.writing():
        pass
