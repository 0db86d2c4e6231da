"""What an auditor finds in a ledger: honest senders give no finding, and each lie has its number."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.adapter import Adapter
from adapters.demo.script import Step
from adapters.findings import Found
from adapters.inbox_file import State
from adapters.review import envelope_of
from broker import merkle
from broker.authority.model import Held
from broker.checks import Check
from broker.clock import Random
from broker.dispatch import Accepted, Quarantined
from broker.errors import InputError, Invalid, StreamError
from broker.names import AgencyId, Basis, CaseRef, Compartment, Role, case_name
from broker.review import review_parts
from broker.seal.block import Label, RawSeed, decrypt, encrypt
from broker.seal.envelope import decode_envelope, leaves
from broker.seal.header import header_hash
from broker.seal.parts import Part, PartKind, root
from broker.seal.seal import LEDGER_LABEL, Draft, Sealed, seal, sign
from broker.seal.slot import Row, decode_row
from broker.seal.wire import Cursor, bytes16
from broker.stream.topics import auditor
from tests.story import forge
from tests.story.scenario import scenario
from tests.story.small_exchange import AUDITOR, CWC, HOME, NCRB, OTHER, SHELTER, World, alert, world

Lie = Callable[[bytes], bytes]


def findings(adapter: Adapter, case: CaseRef) -> list[Found]:
    """What an auditor's adapter found in a case by itself; every message of it was compared."""
    kept = adapter.home.inbox.findings
    assert kept.left(case) == 0
    return kept.found(case)


def test_the_whole_case_gives_no_finding(tmp_path: Path) -> None:
    """Every message of the scenario, of every type that it has, was sealed to whom the rules allow and the ledger says."""

    async def story() -> None:
        async with scenario(tmp_path) as made:
            await made.play()
            adapter = made.adapter(AUDITOR)
            assert len(adapter.home.inbox.slices(state=State.RECEIVED, limit=100)) == len(made.script.steps)
            names = {event: step for step, event in made.script.events.items()}
            for case in adapter.home.inbox.cases():
                assert [(names[one.event_id], one) for one in findings(adapter, case)] == []

    asyncio.run(story())


def test_nobody_is_blamed_for_not_addressing_whose_role_had_passed_to_another(tmp_path: Path) -> None:
    """The rescue made the desk at the place of rescue the investigating one: the order need not address the former."""

    def change(step: Step, record: dict[str, Any]) -> dict[str, Any]:
        if step.id != "M07":
            return record
        assert HOME in record["to"]
        return {**record, "to": [one for one in record["to"] if one != HOME]}

    async def story() -> None:
        async with scenario(tmp_path, change) as made:
            await made.play("M07")
            adapter = made.adapter(AUDITOR)
            assert [one for case in adapter.home.inbox.cases() for one in findings(adapter, case)] == []

    asyncio.run(story())


class Recording:
    """Randomness that remembers what it gave."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.drawn: list[bytes] = []

    def bytes(self, size: int) -> bytes:
        """Fresh bytes, remembered."""
        self.drawn.append(self._random.bytes(size))
        return self.drawn[-1]


def lying(made: World, draft: Draft, lie: Lie) -> bytes:
    """The envelope of a draft whose ledger says something else, signed as if it were true."""
    random = Recording(made.exchange.random)
    home = made.adapter(HOME)
    sealed = seal(draft, secrets=home.publisher.secrets, random=random)
    place, ledger_part = next((i, one) for i, one in enumerate(sealed.parts) if one.kind == PartKind.LEDGER)
    label = LEDGER_LABEL.encode(header_hash(sealed.header_bytes))
    for seed in map(RawSeed, random.drawn):
        try:
            told = decrypt(seed, label, ledger_part.body)
        except Invalid:
            continue
        said = Part(PartKind.LEDGER, encrypt(seed, label, lie(told)))
        return resealed(made, sealed, partial(_exchanged, place=place, part=said))
    raise AssertionError("the ledger's seed was not drawn")


def _exchanged(parts: list[Part], *, place: int, part: Part) -> list[Part]:
    return [*parts[:place], part, *parts[place + 1 :]]


def resealed(made: World, sealed: Sealed, change: Callable[[list[Part]], list[Part]]) -> bytes:
    """An envelope with other parts, signed by its author as if they were the true ones."""
    parts = change(list(sealed.parts))
    tree = merkle.levels(leaves(sealed.header_bytes, parts))
    changed = replace(sealed, parts=parts, tree=tree, root=root(len(parts) + 1, tree[-1][0]))
    return sign([changed], agency=HOME, key=made.adapter(HOME).home.ring.signing)[0]


def rows_of(told: bytes) -> list[tuple[bytes, Row]]:
    """The rows of a ledger with their salts."""
    cursor = Cursor(told)
    return [(cursor.take(16), decode_row(cursor.bytes16())) for _ in range(cursor.u16())]


def ledger_of(rows: list[tuple[bytes, Row]]) -> bytes:
    """The ledger with these rows."""
    return len(rows).to_bytes(2, "big") + b"".join(salt + bytes16(row.encode()) for salt, row in rows)


def _row_too_few(told: bytes) -> bytes:
    return ledger_of([one for one in rows_of(told) if one[1].reader != OTHER])


def _row_too_many(told: bytes) -> bytes:
    invented = (bytes(16), Row(SHELTER, (), ()))
    return ledger_of(sorted([*rows_of(told), invented], key=lambda one: one[1].reader))


def _two_rows(told: bytes) -> bytes:
    rows = rows_of(told)
    return ledger_of(
        sorted([*rows, next(one for one in rows if one[1].reader == OTHER)], key=lambda one: one[1].reader)
    )


def _no_rows(_: bytes) -> bytes:
    return ledger_of([])


def _stranger(told: bytes) -> bytes:
    invented = (bytes(16), Row(AgencyId("\x1b[2Jin.zz.nobody"), (), ()))
    return ledger_of(sorted([*rows_of(told), invented], key=lambda one: one[1].reader))


def _less_told(told: bytes) -> bytes:
    """The row of a reader says less than its slot gives."""
    return ledger_of(
        [
            (salt, row._replace(entries=row.entries[1:])) if row.reader == OTHER else (salt, row)
            for salt, row in rows_of(told)
        ]
    )


def _other_basis(told: bytes) -> bytes:
    return ledger_of(
        [
            (salt, row._replace(entries=tuple(one._replace(ground=b"another.rule") for one in row.entries)))
            if row.reader == OTHER
            else (salt, row)
            for salt, row in rows_of(told)
        ]
    )


def _other_order(told: bytes) -> bytes:
    return ledger_of(rows_of(told)[::-1])


def _cut(told: bytes) -> bytes:
    return told[:-1]


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        pytest.param(_row_too_few, "has a slot and no row", id="a row too few"),
        pytest.param(_row_too_many, "a reader that has no slot", id="a row too many"),
        pytest.param(_stranger, "a reader that has no slot", id="a row for an agency that nobody knows"),
        pytest.param(_two_rows, "has more than one row", id="two rows for one reader"),
        pytest.param(_no_rows, "has a slot and no row", id="a ledger without rows"),
        pytest.param(_less_told, "shows another row", id="a slot that gives more than its row in the ledger"),
        pytest.param(_other_basis, "shows another row", id="a row that states another basis than its slot"),
        pytest.param(_other_order, "in the order", id="rows in another order"),
        pytest.param(_cut, "cannot be read", id="a ledger that cannot be read"),
    ],
)
def test_a_ledger_that_lies_about_its_slots_is_found(tmp_path: Path, lie: Lie, says: str) -> None:
    """Check 50: rows and slots are one to one and the same, whatever the author wrote into the ledger."""

    async def story() -> None:
        async with world(tmp_path) as made:
            draft = forge.draft_of(made, HOME, alert())
            found = await sent(made, lying(made, draft, lie), draft)
            assert Check.LEDGER_ROWS in {one.check for one in found}
            assert any(says in one.reason and one.agency == HOME for one in found)

    asyncio.run(story())


async def sent(made: World, envelope: bytes, draft: Draft) -> list[Found]:
    """What the auditor finds in an envelope that the broker accepted.

    The event stays valid, at the auditor too; the next message arrives and has no finding.
    """
    await forge.send(made, HOME, envelope, draft.header)
    (verdict,) = await made.settle()
    assert isinstance(verdict, Accepted)
    adapter = made.adapter(AUDITOR)
    own = adapter.home.inbox.by_root(verdict.statement.root)
    assert own is not None
    assert own.arrival.state is State.RECEIVED
    found = [one for one in findings(adapter, draft.header.case_ref) if one.event_id == draft.header.event_id]
    honest = made.publish(HOME, alert())
    await made.settle()
    assert made.adapter(OTHER).home.inbox.by_root(honest.root) is not None
    assert findings(adapter, honest.case) == []
    assert all("\x1b" not in one.reason for one in found)
    return found


def _hidden(draft: Draft) -> Draft:
    """A block that stands in nobody's row, not even the author's."""
    return replace(draft, blocks={**draft.blocks, Label(Compartment.MANDATE, 9, None): b"hidden"})


def _two_for_one(draft: Draft) -> Draft:
    """Two spottings of one child: one for Telangana, one for all others."""
    label = next(one for one in draft.blocks if one.compartment is Compartment.SPOTTING)
    twin = forge.Twin(*label)
    more = replace(draft, blocks={**draft.blocks, twin: b"another child"})
    return forge.with_slot(
        OTHER,
        lambda slot: replace(
            slot, keyed=tuple(one._replace(label=twin) if one.label == label else one for one in slot.keyed)
        ),
    )(more)


def _unaddressed(draft: Draft) -> Draft:
    """The records bureau, which must know of every missing child, is left out."""
    return replace(draft, readers=[slot for slot in draft.readers if slot.reader != NCRB])


def _name(draft: Draft) -> Label:
    return next(one for one in draft.blocks if one.compartment is Compartment.PERSON_IDENTITY)


def _to_more(draft: Draft) -> Draft:
    """A desk of another State gets the name as if its role might read it."""
    ground = {"basis": Basis.ROLE, "role": Role.AS, "ground": b"missing.alert.person-identity.read"}
    return forge.with_slot(OTHER, forge.keyed_to(_name(draft), **ground))(draft)


def _by_no_grant(draft: Draft) -> Draft:
    """The same desk gets it by a grant that nobody gave."""
    ground = {"basis": Basis.GRANT, "role": Role.AS, "ground": bytes(16)}
    return forge.with_slot(OTHER, forge.keyed_to(_name(draft), **ground))(draft)


def _by_no_role(draft: Draft) -> Draft:
    """A desk that holds no role says that it is a committee of the home, without a mandate."""
    ground = {"basis": Basis.ROLE, "role": Role.CH, "ground": b"missing.alert.person-identity.read"}
    changed = forge.with_slot(OTHER, forge.keyed_to(_name(draft), **ground))(draft)
    held = Held(Role.CH, _name(draft).person, None)
    return forge.with_slot(OTHER, lambda slot: replace(slot, roles=(*slot.roles, held)))(changed)


def _other_rule(draft: Draft) -> Draft:
    """A block that the desk may read, by a rule that does not give it."""
    return forge.with_slot(
        OTHER,
        lambda slot: replace(
            slot,
            keyed=tuple(
                one._replace(ground=b"missing.alert.medical.read") if one.basis is Basis.ROLE else one
                for one in slot.keyed
            ),
        ),
    )(draft)


def _old_blocks(draft: Draft) -> Draft:
    """An alert, which grants nothing, shows a desk old blocks."""
    label = Label(Compartment.DISCLOSURE, 0, None)
    more = replace(draft, blocks={**draft.blocks, label: bytes(2)})
    return forge.with_slot(OTHER, forge.keyed_to(label, basis=Basis.PARTY, role=Role.OR))(more)


def _as_author(draft: Draft) -> Draft:
    """A desk gets a block as if it had written it."""
    ground = {"basis": Basis.AUTHOR, "role": Role.OR, "ground": b""}
    return forge.with_slot(OTHER, forge.keyed_to(_name(draft), **ground))(draft)


@pytest.mark.parametrize(
    ("change", "check", "agency"),
    [
        pytest.param(_hidden, Check.LEDGER_BLOCKS, HOME, id="a block that stands in no row"),
        pytest.param(_two_for_one, Check.LEDGER_LABELS, HOME, id="two blocks for one compartment and person"),
        pytest.param(_unaddressed, Check.MUST_ADDRESS, NCRB, id="an office that must be addressed is left out"),
        pytest.param(_to_more, Check.OVER_SHARED, OTHER, id="a slot that gives more than its role may read"),
        pytest.param(_other_rule, Check.OVER_SHARED, OTHER, id="a block given by another rule than policy names"),
        pytest.param(_old_blocks, Check.OVER_SHARED, OTHER, id="old blocks shown in an event that grants nothing"),
        pytest.param(_by_no_grant, Check.OVER_SHARED, OTHER, id="a block given by a grant that nobody gave"),
        pytest.param(_by_no_role, Check.OVER_SHARED, OTHER, id="a block given by a role that nobody gave"),
        pytest.param(_as_author, Check.OVER_SHARED, OTHER, id="a block given as to its author"),
    ],
)
def test_an_audience_that_is_not_the_rules_is_found(
    tmp_path: Path, change: Callable[[Draft], Draft], check: Check, agency: AgencyId
) -> None:
    """Checks 51 to 54, found by the auditor alone, also where author and reader agree to be silent."""

    async def story() -> None:
        async with world(tmp_path) as made:
            draft = change(forge.draft_of(made, HOME, alert()))
            found = await sent(made, forge.envelope_of(made, HOME, draft), draft)
            assert (check, agency) in {(one.check, one.agency) for one in found}, found
            assert {one.check for one in found} == {check}

    asyncio.run(story())


def test_a_holder_by_mandate_that_is_left_out_is_found(tmp_path: Path) -> None:
    """Check 53: the auditor is given no mandate, but proves from the first ledger that the committee holds its role."""

    async def story() -> None:
        async with world(tmp_path) as made:
            first = made.publish(HOME, alert())
            await made.settle()
            again = alert(case=case_name(first.case), mandates=[])
            draft = forge.draft_of(made, HOME, again)
            assert CWC in {slot.reader for slot in draft.readers}
            without = replace(draft, readers=[slot for slot in draft.readers if slot.reader != CWC])
            found = await sent(made, forge.envelope_of(made, HOME, without), without)
            assert [(one.check, one.agency) for one in found] == [(Check.MUST_ADDRESS, CWC)]

    asyncio.run(story())


def _no_ledger(parts: list[Part]) -> list[Part]:
    return [Part(PartKind.PADDING, bytes(32)) if one.kind == PartKind.LEDGER else one for one in parts]


@pytest.mark.parametrize(
    ("withheld", "check"),
    [
        pytest.param(False, Check.PARTS, id="a ledger left out"),
        pytest.param(True, Check.SLOT_FORM, id="a ledger that the auditor is not given"),
    ],
)
def test_without_a_ledger_nothing_is_accepted(tmp_path: Path, withheld: bool, check: Check) -> None:
    """The broker sees to it that every auditor has the ledger, though it cannot open it: checks 11 and 12."""

    async def story() -> None:
        async with world(tmp_path) as made:
            draft = forge.draft_of(made, HOME, alert())
            if withheld:
                draft = forge.with_slot(AUDITOR, lambda slot: replace(slot, ledger=False))(draft)
                envelope = forge.envelope_of(made, HOME, draft)
            else:
                envelope = resealed(made, forge.seal_draft(made, HOME, draft), _no_ledger)
            await forge.send(made, HOME, envelope, draft.header)
            (verdict,) = await made.settle()
            assert isinstance(verdict, Quarantined)
            assert verdict.check == check
            await made.next_works()

    asyncio.run(story())


def test_what_was_found_outlives_the_process_and_is_told_by_the_commands(tmp_path: Path) -> None:
    """A finding is durable and made once; ``trace`` and ``quarantine`` tell it, and the event is still there."""

    async def story() -> str:
        async with world(tmp_path) as made:
            draft = _unaddressed(forge.draft_of(made, HOME, alert()))
            found = await sent(made, forge.envelope_of(made, HOME, draft), draft)
            made.exchange.refresh()
            await made.settle()
            assert findings(made.adapter(AUDITOR), draft.header.case_ref) == found
            return case_name(draft.header.case_ref)

    case = asyncio.run(story())
    traced = _cli(tmp_path, "trace", case, "--json")
    assert [(one["check"], one["agency"]) for one in traced["findings"]] == [(Check.MUST_ADDRESS, NCRB)]
    assert traced["notCompared"] == 0
    assert len(traced["messages"]) == 1
    told = _cli(tmp_path, "quarantine", "--json", "--fail-if-any", code=1)
    assert told["quarantine"] == []
    assert [one["caseName"] for one in told["findings"]] == [case]
    assert [
        one["check"] for one in _cli(tmp_path, "quarantine", told["findings"][0]["event"], "--json")["findings"]
    ] == [Check.MUST_ADDRESS]


def _cli(folder: Path, *words: str, code: int = 0) -> dict[str, Any]:
    exchange = folder / "exchange"
    home = ["--home", str(exchange / "homes" / AUDITOR), "--key-file", str(exchange / "unlock.key"), "--offline"]
    command = [sys.executable, "-c", "from adapters.cli.main import main; main()", *home, *words]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_could_not_be_compared_yet_is_compared_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the events out of reach the message is here and said not to be compared; afterwards it is."""

    async def out_of_reach(*_: Any, **__: Any) -> None:
        raise StreamError("the stream is out of reach")

    async def story() -> None:
        async with world(tmp_path) as made:
            draft = _unaddressed(forge.draft_of(made, HOME, alert()))
            await forge.send(made, HOME, forge.envelope_of(made, HOME, draft), draft.header)
            adapter, case = made.adapter(AUDITOR), draft.header.case_ref
            with monkeypatch.context() as broken:
                broken.setattr("adapters.review.open_stream", out_of_reach)
                with pytest.raises(StreamError):
                    await made.settle()
            kept = adapter.home.inbox.findings
            assert (kept.left(case), kept.found(case)) == (1, [])
            assert len(made.received(AUDITOR)) == 1
            await made.settle()
            assert [one.check for one in findings(adapter, case)] == [Check.MUST_ADDRESS]

    asyncio.run(story())


def test_an_envelope_that_is_another_is_not_compared(tmp_path: Path) -> None:
    """An envelope from elsewhere proves nothing about a slice, and a stream that was replaced is named."""

    async def story() -> None:
        async with world(tmp_path) as made:
            published = made.publish(HOME, alert())
            other = made.publish(HOME, alert())
            await made.settle()
            adapter = made.adapter(AUDITOR)
            (kept,) = adapter.files.get(published.case).all_kept()
            with pytest.raises(InputError, match="not the one"):
                review_parts(kept, decode_envelope(made.adapter(HOME).home.outbox.get(other.event_id).draft.envelope))
            empty = tmp_path / "other"
            async with world(empty) as replaced:
                replaced.publish(HOME, alert())
                await replaced.settle()
                stream = await replaced.exchange.open_stream(auditor(AUDITOR))
                assert await envelope_of(kept, stream) is None
                await stream.close()

    asyncio.run(story())
