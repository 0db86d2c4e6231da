"""What an auditor finds in a ledger: honest senders give no finding, and each lie has its number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.adapter import Adapter
from adapters.exchange import Exchange
from adapters.review import Reviewer
from broker import merkle
from broker.authority.model import Held
from broker.checks import Check
from broker.clock import Random
from broker.dispatch import Accepted
from broker.errors import InputError, Invalid
from broker.names import AgencyId, Basis, CaseRef, Compartment, EventId, Role
from broker.review import Finding, review_parts
from broker.seal.block import Label, RawSeed, decrypt, encrypt
from broker.seal.envelope import decode_envelope, leaves
from broker.seal.header import header_hash
from broker.seal.parts import Part, PartKind, root
from broker.seal.seal import LEDGER_LABEL, Draft, seal, sign
from broker.seal.slot import Row, decode_row
from broker.seal.wire import Cursor, bytes16
from broker.stream.topics import auditor
from tests.story import forge
from tests.story.scenario import scenario
from tests.story.small_exchange import AUDITOR, HOME, NCRB, OTHER, SHELTER, World, alert, world

Lie = Callable[[bytes], bytes]


async def findings(adapter: Adapter, exchange: Exchange, case: CaseRef) -> dict[EventId, list[Finding]]:
    """All that an auditor's adapter finds in a case."""
    reviewer = Reviewer(adapter.rules, adapter.ground)
    file = adapter.files.get(case)
    stream = await exchange.open_stream(auditor(adapter.home.agency))
    try:
        parts = await reviewer.envelopes(file, stream)
    finally:
        await stream.close()
    rows = reviewer.ledgers(file)
    assert rows.keys() == parts.keys() == file.state.facts.keys()
    return {event: [*parts[event], *rows[event]] for event in rows}


def test_the_whole_case_gives_no_finding(tmp_path: Path) -> None:
    """Every message of the scenario, of every type that it has, was sealed to whom the rules allow and the ledger says."""

    async def story() -> None:
        async with scenario(tmp_path) as made:
            await made.play()
            adapter = made.adapter(AUDITOR)
            found: dict[EventId, list[Finding]] = {}
            for case in adapter.home.inbox.cases():
                found |= await findings(adapter, made.exchange, case)
            assert len(found) == len(made.script.steps)
            names = {event: step for step, event in made.script.events.items()}
            assert {names[event]: one for event, one in found.items() if one} == {}

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
        parts = list(sealed.parts)
        parts[place] = Part(PartKind.LEDGER, encrypt(seed, label, lie(told)))
        tree = merkle.levels(leaves(sealed.header_bytes, parts))
        changed = replace(sealed, parts=parts, tree=tree, root=root(len(parts) + 1, tree[-1][0]))
        return sign([changed], agency=HOME, key=home.home.ring.signing)[0]
    raise AssertionError("the ledger's seed was not drawn")


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
        pytest.param(_row_too_many, "has a row and no slot", id="a row too many"),
        pytest.param(_other_basis, "shows another row", id="a row that states another basis than its slot"),
        pytest.param(_other_order, "in order", id="rows in another order"),
        pytest.param(_cut, "", id="a ledger that cannot be read"),
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


async def sent(made: World, envelope: bytes, draft: Draft) -> list[Finding]:
    """What the auditor finds in an envelope that the broker accepted; the next message has no finding."""
    await forge.send(made, HOME, envelope, draft.header)
    (verdict,) = await made.settle()
    assert isinstance(verdict, Accepted)
    found = await findings(made.adapter(AUDITOR), made.exchange, draft.header.case_ref)
    honest = made.publish(HOME, alert())
    await made.settle()
    assert list((await findings(made.adapter(AUDITOR), made.exchange, honest.case)).values()) == [[]]
    return found[draft.header.event_id]


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
                found = await Reviewer(adapter.rules, adapter.ground).envelopes(
                    adapter.files.get(published.case), stream
                )
                await stream.close()
            assert [one.check for one in found[published.event_id]] == [Check.LEDGER_ROWS]

    asyncio.run(story())
