"""Outbox and inbox under kill, full disk, lock, damage and failing writes: everything or nothing, and again does no harm."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from adapters.db import Database, private_folder
from adapters.inbox import Inbox
from adapters.inbox_file import Arrival, Opening, State
from adapters.outbox import Outbox
from adapters.outbox_file import FORMAT, NO_PREVIOUS, Draft
from broker.clock import SetClock, SystemRandom
from broker.errors import StoreError
from broker.names import AgencyId, CaseRef, Compartment, Digest, EventId, Millis, PersonRef
from broker.stream.protocol import Position
from tests.fault.processes import killed_after, said_by
from tests.unit.stream.faulty import Fault, SmallDisk, failing_connection

CLOCK: Final = SetClock(Millis(1_770_000_000_000))
CASE: Final = CaseRef(b"c" * 16)
A: Final = AgencyId("in.kl.cwc.ernakulam")
B: Final = AgencyId("in.mp.police.ahtu.mandla")
PLAIN: Final = sqlite3.Connection

Factory = type[sqlite3.Connection]


def outbox(folder: Path, factory: Factory = PLAIN) -> Outbox:
    return Outbox.open(folder / "outbox.db", clock=CLOCK, random=SystemRandom(), factory=factory, busy_ms=50)


def inbox(folder: Path, factory: Factory = PLAIN) -> Inbox:
    return Inbox.open(folder / "inbox.db", clock=CLOCK, factory=factory, busy_ms=50)


def draft(number: int) -> Draft:
    root, event_id = number.to_bytes(32, "big"), EventId(number.to_bytes(16, "big"))
    return Draft(event_id, root, CASE, "case.note", b"sealed", (), f"key-{number}")


def arrival(number: int, state: State) -> Arrival:
    place = Position("casebridge.events", 0, number)
    root, event_id = number.to_bytes(32, "big"), EventId(number.to_bytes(16, "big"))
    return Arrival(event_id, root, CASE, "case.note", "-", A, b"slice %d" % number, place, CLOCK.now(), state)


def keep(box: Outbox, *numbers: int) -> None:
    """As a publisher does it: under a key, so that trying again seals nothing twice."""
    with box.writing() as transaction:
        for number in numbers:
            if transaction.earlier(f"key-{number}") is None:
                transaction.put(transaction.next([A, B]), draft(number))


def receipt(box: Inbox) -> None:
    """As the receiver does it: a receipt for what stands in none yet."""
    with box.writing():
        due = [number for number, _ in box.unreceipted()]
        if due:
            number, _ = box.next_receipt(0)
            box.put_receipt(
                incarnation=0, number=number, case=CASE, digest=Digest(bytes(32)), record=b"r", openings=due
            )


def tell(box: Inbox) -> None:
    """Everything that an event brings, in one block."""
    with box.writing():
        box.store([arrival(5, State.RECEIVED)], {("casebridge.in.x", 0): 6})
        box.casebook.put_fact(CASE, position=5, event_id=arrival(5, State.RECEIVED).event_id, fact=b"fact")
        box.casebook.put_mandate(CASE, digest=Digest(b"m" * 32), link=b"link")
        box.casebook.tell(B, [Digest(b"m" * 32)])
        box.casebook.put_label(CASE, PersonRef(b"p" * 16), "P-1")


def prepare(folder: Path, file: str) -> None:
    """A home with something in it, the same each time."""
    private_folder(folder)
    if file == "outbox.db":
        out = outbox(folder)
        keep(out, 1, 2)
        out.close()
        return
    into = inbox(folder)
    into.store([arrival(1, State.RECEIVED), arrival(2, State.PENDING), arrival(3, State.PENDING)], {})
    opening = Opening(arrival(1, State.RECEIVED).event_id, Compartment.CASE, None, "post", "protect", CLOCK.now())
    into.opening([opening])
    into.put_receipt(incarnation=9, number=0, case=CASE, digest=Digest(bytes(32)), record=b"earlier")
    into.close()


def noted(box: Inbox) -> None:
    """As a post opens: what was noted by an attempt that failed need not be noted again for this test."""
    event_id = arrival(1, State.RECEIVED).event_id
    if len(box.openings(event_id)) == 1:
        box.opening([Opening(event_id, Compartment.LOCATION, PersonRef(b"p" * 16), "post", "protect", CLOCK.now())])


OUTBOX_WRITES: Final[dict[str, Callable[[Outbox], object]]] = {
    "envelopes are kept": lambda box: keep(box, 3, 4, 5),
    "an envelope was sent": lambda box: box.mark_sent([(1, Position("casebridge.events", 0, 4))]),
    "an envelope was accepted": lambda box: box.mark_accepted(draft(1).event_id, Position("t", 0, 4)),
    "an envelope was refused": lambda box: box.mark_refused(draft(2).event_id, 9),
}

INBOX_WRITES: Final[dict[str, Callable[[Inbox], object]]] = {
    "slices are stored": lambda box: box.store([arrival(n, State.RECEIVED) for n in (1, 7, 8)], {("t", 0): 9}),
    "a waiting slice is released": lambda box: box.received(2, kept=b"kept"),
    "a waiting slice waits on": lambda box: box.waits(3, needs="a bundle"),
    "an opening is noted": noted,
    "a receipt is kept": receipt,
    "receipts were sent": lambda box: box.receipts_sent([1]),
    "an event with all it brings": tell,
}


def on_outbox(write: Callable[[Outbox], object]) -> Callable[[Path, Factory], None]:
    """The write on an outbox opened for it."""

    def do(folder: Path, factory: Factory) -> None:
        box = outbox(folder, factory)
        try:
            write(box)
        finally:
            box.close()

    return do


def on_inbox(write: Callable[[Inbox], object]) -> Callable[[Path, Factory], None]:
    """The write on an inbox opened for it."""

    def do(folder: Path, factory: Factory) -> None:
        box = inbox(folder, factory)
        try:
            write(box)
        finally:
            box.close()

    return do


WRITES: Final = [
    *(pytest.param("outbox.db", on_outbox(write), id=name) for name, write in OUTBOX_WRITES.items()),
    *(pytest.param("inbox.db", on_inbox(write), id=name) for name, write in INBOX_WRITES.items()),
]


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, apart from what is random."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    names = [n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    rows = {n: connection.execute(f"SELECT * FROM {n} ORDER BY 1, 2").fetchall() for n in names if n != "instance"}
    connection.close()
    rows.pop("sqlite_sequence")
    return rows


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.REPORTED])
@pytest.mark.parametrize(("file", "write"), WRITES)
def test_every_statement_of_every_write_may_fail_both_ways(
    tmp_path: Path, file: str, write: Callable[[Path, Factory], None], fault: Fault
) -> None:
    """Whichever statement fails, the file is as before or as after; done again, it is as if nothing had failed."""
    clean = tmp_path / "clean"
    prepare(clean, file)
    before = contents(clean / file)
    write(clean, PLAIN)
    after = contents(clean / file)
    assert before != after
    for at in count():
        folder = tmp_path / str(at)
        prepare(folder, file)
        failing = failing_connection(at, fault)
        try:
            write(folder, failing)
            said = ""
        except StoreError as error:
            said = str(error)
        assert said == "" or "disk failed" in said
        assert contents(folder / file) in ([before, after] if said else [after])
        write(folder, PLAIN)
        assert contents(folder / file) == after
        if not vars(failing)["fired"]:
            assert at > 2
            return


def test_what_the_outbox_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    """Killed at any moment while it seals: all that was kept is there, in whole batches, one chain, no counter twice."""
    path = private_folder(tmp_path / "home") / "outbox.db"
    acknowledged = [event for lines in (1, 30, 90) for event in killed_after(lines, "seal", path, 10**6)]
    box = Outbox.open(path, clock=CLOCK, random=SystemRandom())
    kept = box.pending(10**6)
    assert len(acknowledged) >= 121
    assert {bytes.fromhex(event) for event in acknowledged} <= {k.draft.event_id for k in kept}
    assert [k.sequence for k in kept] == list(range(len(kept)))
    assert len(kept) % 4 == 0
    assert box.head == kept[-1].draft.root
    with box.writing() as transaction:
        allocation = transaction.next([A, B])
        assert allocation.previous_root == kept[-1].draft.root
        assert allocation.sequence == allocation.counters[A] == allocation.counters[B] == len(kept)
        transaction.put(allocation, draft(1))
    box.close()


def test_a_full_disk_gives_back_every_number(tmp_path: Path) -> None:
    """A batch that does not fit is refused whole with a plain sentence, and what fits is kept after it."""
    box = outbox(private_folder(tmp_path / "home"), SmallDisk)
    keep(box, 1)

    def too_much() -> None:
        with box.writing() as transaction:
            for number in range(2, 40):
                large = Draft(draft(number).event_id, draft(number).root, CASE, "case.note", bytes(20_000))
                transaction.put(transaction.next([A]), large)

    with pytest.raises(StoreError, match="disk is full"):
        too_much()
    keep(box, 2)
    assert [(k.sequence, k.draft) for k in box.pending(10)] == [(0, draft(1)), (1, draft(2))]
    box.close()


def test_a_full_disk_leaves_inbox_and_position_together(tmp_path: Path) -> None:
    """Slices that do not fit leave the position where it was: they will be read again."""
    box = inbox(private_folder(tmp_path / "home"), SmallDisk)
    box.store([arrival(1, State.RECEIVED)], {("t", 0): 1})
    large = [arrival(n, State.RECEIVED) for n in range(2, 2_000)]
    with pytest.raises(StoreError, match="disk is full"):
        box.store(large, {("t", 0): 2_000})
    assert (len(box.slices()), box.positions("t")) == (1, {0: 1})
    box.close()


def test_a_transaction_that_the_disk_undid_is_not_carried_on(tmp_path: Path) -> None:
    """A caller that swallows the error cannot commit the second half without the first."""
    box = inbox(private_folder(tmp_path / "home"), SmallDisk)
    large = [arrival(n, State.RECEIVED) for n in range(2, 2_000)]

    def carry_on() -> None:
        with box.writing():
            box.store([arrival(1, State.RECEIVED)], {("t", 0): 1})
            with pytest.raises(StoreError, match="disk is full"):
                box.store(large, {("t", 0): 2_000})
            box.casebook.put_label(CASE, PersonRef(b"p" * 16), "P-1")

    with pytest.raises(StoreError):
        carry_on()
    found = (len(box.slices()), box.positions("t"), len(box.casebook.labels(CASE)))
    assert found == (0, {}, 0)
    box.close()


def test_a_file_held_by_another_is_reported_and_readers_go_on(tmp_path: Path) -> None:
    """While another program writes, keeping is refused after a moment and reading is not; then it goes on."""
    box = outbox(private_folder(tmp_path / "home"))
    keep(box, 1)
    holder = sqlite3.connect(tmp_path / "home" / "outbox.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="another program holds it"):
        keep(box, 2)
    assert len(box.pending(10)) == 1
    holder.execute("ROLLBACK")
    holder.close()
    keep(box, 2)
    assert len(box.pending(10)) == 2
    box.close()


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _inbox_for_outbox(path: Path) -> None:
    path.unlink()
    inbox(path.parent).close()
    (path.parent / "inbox.db").rename(path)


def _no_folder(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.write_bytes(b"")


DAMAGED: Final = [
    pytest.param(_cut, "damaged", id="the second half of the file is gone"),
    pytest.param(lambda path: path.write_bytes(b"{}" * 5_000), "not a casebridge outbox", id="another kind of file"),
    pytest.param(_inbox_for_outbox, "not a casebridge outbox", id="an inbox in its place"),
    pytest.param(lambda path: path.chmod(0o644), "mode to 0600", id="a file that others may read"),
    pytest.param(lambda path: path.parent.chmod(0o755), "mode to 0700", id="a folder that others may look into"),
    pytest.param(_no_folder, "not a folder", id="a file where the folder should be"),
]


@pytest.mark.parametrize(("harm", "words"), DAMAGED)
def test_a_home_that_is_not_right_is_refused(tmp_path: Path, harm: object, words: str) -> None:
    """One plain sentence, and nothing is changed."""
    assert callable(harm)
    folder = private_folder(tmp_path / "home")
    outbox(folder).close()
    harm(folder / "outbox.db")
    with pytest.raises(StoreError, match=words):
        outbox(folder)


def test_a_folder_is_made_private_and_its_parent_must_be_there(tmp_path: Path) -> None:
    """Mode 0700; a missing parent is an error that says where to look."""
    assert private_folder(tmp_path / "home").stat().st_mode & 0o777 == 0o700
    with pytest.raises(StoreError, match="folder above"):
        private_folder(tmp_path / "missing" / "home")
    outbox(tmp_path / "home").close()
    assert (tmp_path / "home" / "outbox.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "words"),
    [
        pytest.param(0o400, 0o700, "cannot be written", id="the file may only be read"),
        pytest.param(0o600, 0o500, "writable", id="the folder may only be read"),
    ],
)
def test_a_read_only_home_is_refused_at_the_door(tmp_path: Path, file_mode: int, folder_mode: int, words: str) -> None:
    """Opening says that it cannot be written, in one sentence."""
    folder = private_folder(tmp_path / "home")
    outbox(folder).close()
    (folder / "outbox.db").chmod(file_mode)
    folder.chmod(folder_mode)
    try:
        (said,) = said_by("open-outbox", folder / "outbox.db")
    finally:
        folder.chmod(0o700)
    assert said.startswith("StoreError: ")
    assert words in said


def test_making_a_file_fails_whole(tmp_path: Path) -> None:
    """In a folder that may not be written nothing is left behind."""
    folder = private_folder(tmp_path / "home")
    folder.chmod(0o500)
    try:
        (said,) = said_by("open-outbox", folder / "outbox.db")
    finally:
        folder.chmod(0o700)
    assert said.startswith("StoreError: ")
    assert list(folder.iterdir()) == []


def test_what_the_caller_raises_passes_unchanged(tmp_path: Path) -> None:
    """An error of sealing is not taken for one of the store, and undoes the transaction."""
    database = Database.open(private_folder(tmp_path / "home") / "outbox.db", FORMAT)

    def seal() -> None:
        with database.writing() as db:
            db.execute("INSERT INTO incarnations VALUES (9, 0, ?, 0, ?)", (NO_PREVIOUS, NO_PREVIOUS))
            raise FileNotFoundError("a key file")

    with pytest.raises(FileNotFoundError):
        seal()
    with database.reading() as db:
        assert db.execute("SELECT count(*) FROM incarnations").fetchone() == (0,)
    database.close()
