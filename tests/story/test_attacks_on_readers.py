"""A malicious sender with real keys, or a malicious broker, against a reader: checks 20 to 39, and incidents.

The sender signs what it should not; the broker, which can open nothing, cannot see it. The reader refuses, says which
check failed, and takes the next message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from adapters.inbox_file import State
from broker.authority import mandate as mandates
from broker.authority.model import Claim, Held
from broker.checks import Check
from broker.clock import HOUR
from broker.names import AgencyId, Basis, Compartment, Digest, Millis, PersonRef, Phase, Role
from broker.seal.acceptance import Acceptance, decode_acceptance
from broker.seal.block import Label
from broker.seal.credentials import Credentials, decode_credentials
from broker.seal.envelope import Slice, decode_slice, encode_slice
from broker.seal.parts import Part, PartKind, acceptance_message, sign_batch
from broker.seal.seal import Draft, Keyed
from broker.seal.slot import read_slot
from tests.story import forge
from tests.story.small_exchange import CWC, HOME, HUB, NCRB, OTHER, RESCUE, SHELTER, World, alert
from tests.story.test_attacks_on_envelopes import play

Attack = Callable[[World, Draft], Draft]


def _person(draft: Draft) -> PersonRef:
    return next(label.person for label in draft.blocks if label.person is not None)


def _label(draft: Draft, compartment: Compartment) -> Label:
    return next(label for label in draft.blocks if label.compartment is compartment)


def _give(reader: AgencyId, compartment: Compartment, basis: Basis, role: Role, ground: bytes = b"") -> Attack:
    """The reader gets one more block, on this ground."""

    def attack(made: World, draft: Draft) -> Draft:
        label = _label(draft, compartment)
        return forge.with_slot(reader, forge.keyed_to(label, basis=basis, role=role, ground=ground))(draft)

    return attack


def _claim(**changes: Any) -> Attack:
    """The sender claims something else."""

    def attack(made: World, draft: Draft) -> Draft:
        said = decode_credentials(draft.credentials)
        claims = tuple(replace(claim, **changes) for claim in said.claims)
        return replace(draft, credentials=said._replace(claims=claims).encode())

    return attack


def _salt(made: World, draft: Draft) -> Draft:
    said = decode_credentials(draft.credentials)
    return replace(draft, credentials=said._replace(case_salt=b"x" * 16).encode())


def _mandate(**changes: Any) -> Attack:
    """The mandate that the message gives to the home committee says something else."""

    def attack(made: World, draft: Draft) -> Draft:
        blocks, digests = dict(draft.blocks), {}
        for label, content in draft.blocks.items():
            if label.compartment is Compartment.MANDATE and mandates.decode(content).role is Role.CH:
                blocks[label] = mandates.encode(replace(mandates.decode(content), **changes))
                digests[mandates.digest(content)] = mandates.digest(blocks[label])
        readers = [
            replace(
                slot,
                roles=tuple(
                    replace(held, mandate=digests.get(held.mandate, held.mandate) if held.mandate else None)
                    for held in slot.roles
                ),
            )
            for slot in draft.readers
        ]
        return replace(draft, blocks=blocks, readers=readers)

    return attack


def _twice(made: World, draft: Draft) -> Draft:
    """Two blocks for one compartment and person, told apart by a serial."""
    label = _label(draft, Compartment.SPOTTING)
    second = label._replace(serial=1)
    keyed = Keyed(second, Basis.ROLE, Role.AS, b"missing.alert.spotting.live")
    more = replace(draft, blocks={**draft.blocks, second: draft.blocks[label]})
    return forge.with_slot(OTHER, lambda slot: replace(slot, keyed=(*slot.keyed, keyed)))(more)


def _other_rule(made: World, draft: Draft) -> Draft:
    return forge.with_slot(
        OTHER,
        lambda slot: replace(
            slot,
            keyed=tuple(
                one._replace(ground=b"missing.alert.case.read") if one.basis is Basis.ROLE else one
                for one in slot.keyed
            ),
        ),
    )(draft)


def _bad_content(made: World, draft: Draft) -> Draft:
    return replace(draft, credentials=draft.credentials + b"\x00")


def _no_claims(made: World, draft: Draft) -> Draft:
    return replace(draft, credentials=Credentials((), None, 0, ()).encode())


def _stranger_blocks(made: World, draft: Draft) -> Draft:
    label, stranger = _label(draft, Compartment.SPOTTING), PersonRef(b"s" * 16)
    moved = Label(Compartment.SPOTTING, 0, stranger)
    blocks = {moved if one == label else one: content for one, content in draft.blocks.items()}
    readers = [
        replace(
            slot,
            keyed=tuple(one._replace(label=moved) if one.label == label else one for one in slot.keyed),
        )
        for slot in draft.readers
    ]
    return replace(draft, blocks=blocks, readers=readers)


def _smuggle(label: Label, content: bytes = b"what the desk may not know") -> Attack:
    """A desk gets a block under a label of the envelope's own, as a party."""

    def attack(made: World, draft: Draft) -> Draft:
        more = replace(draft, blocks={**draft.blocks, label: content})
        return forge.with_slot(OTHER, forge.keyed_to(label, basis=Basis.PARTY, role=Role.OR))(more)

    return attack


NOT_GIVEN: Final = Digest(b"m" * 32)

ATTACKS: Final[list[tuple[str, AgencyId, Check, Attack]]] = [
    (
        "a slot gives the name to a desk of another State",
        OTHER,
        Check.BASIS,
        _give(OTHER, Compartment.PERSON_IDENTITY, Basis.ROLE, Role.AS, b"missing.alert.person-identity.read"),
    ),
    (
        "a slot gives the name under a role that the desk does not hold",
        OTHER,
        Check.ROLE,
        _give(OTHER, Compartment.PERSON_IDENTITY, Basis.ROLE, Role.HP, b"missing.alert.person-identity.read"),
    ),
    (
        "a slot gives a block to another as if it were the author",
        OTHER,
        Check.BASIS,
        _give(OTHER, Compartment.PERSON_IDENTITY, Basis.AUTHOR, Role.OR),
    ),
    (
        "a slot gives a block to a party that is none",
        OTHER,
        Check.BASIS,
        _give(OTHER, Compartment.PERSON_IDENTITY, Basis.PARTY, Role.OR),
    ),
    (
        "a slot cites a grant that does not exist",
        OTHER,
        Check.GRANT,
        _give(OTHER, Compartment.PERSON_IDENTITY, Basis.GRANT, Role.OR, b"g" * 16),
    ),
    (
        "content is smuggled under the label of the credentials",
        OTHER,
        Check.ROW,
        _smuggle(Label(Compartment.CREDENTIALS, 0, None)),
    ),
    (
        "content is smuggled as a ledger of one person",
        OTHER,
        Check.ROW,
        _smuggle(Label(Compartment.LEDGER, 0, PersonRef(b"p" * 16))),
    ),
    (
        "an alert, which grants nothing, shows old blocks",
        OTHER,
        Check.BASIS,
        _smuggle(Label(Compartment.DISCLOSURE, 0, None), bytes(2)),
    ),
    ("a slot states another rule than the one that permits", OTHER, Check.BASIS, _other_rule),
    ("two blocks are of one compartment and person", OTHER, Check.ROW, _twice),
    ("the credentials have bytes left over", OTHER, Check.CREDENTIALS, _bad_content),
    ("the sender claims nothing", CWC, Check.CREDENTIALS, _no_claims),
    ("a block is of a person for whom nothing is claimed", OTHER, Check.CREDENTIALS, _stranger_blocks),
    ("the opener's salt does not give the case", OTHER, Check.CASE_OPENER, _salt),
    ("the sender claims a role that nothing proves", OTHER, Check.CHAIN, _claim(role=Role.HP, phase=Phase.MISSING)),
    (
        "the sender cites a mandate that is not there",
        OTHER,
        Check.CHAIN,
        _claim(role=Role.HP, phase=Phase.MISSING, mandate=NOT_GIVEN),
    ),
    ("the sender claims a phase in which it may not send", OTHER, Check.SENDER, _claim(phase=Phase.CLOSED)),
    ("a mandate is of another case", CWC, Check.CHAIN, _mandate(case=b"c" * 16)),
    ("a mandate is of another event", CWC, Check.CHAIN, _mandate(event_id=b"e" * 16)),
    ("a mandate names another giver", CWC, Check.CHAIN, _mandate(giver=OTHER)),
    ("a mandate gives a role that this type does not give", CWC, Check.MANDATE, _mandate(role=Role.CJ)),
    ("a mandate gives a committee's role to a shelter", CWC, Check.MANDATE, _mandate(agency=SHELTER)),
    ("a mandate never ends", CWC, Check.MANDATE, _mandate(not_after=Millis(1 << 60))),
    ("a mandate ended before it was accepted", CWC, Check.MANDATE_ENDED, _mandate(not_after=Millis(1))),
    (
        "a mandate cites a link that is missing",
        CWC,
        Check.CHAIN,
        _mandate(under=Role.HP, under_mandate=NOT_GIVEN, case_salt=None),
    ),
    ("a mandate names a salt that does not give the case", CWC, Check.CASE_OPENER, _mandate(case_salt=b"x" * 16)),
]


def test_every_attack_by_a_sender_is_refused_by_its_reader_with_the_check(tmp_path: Path) -> None:
    """The reader refuses the slice, names the check, and takes the next message."""

    async def story(made: World) -> None:
        for number, (sentence, reader, check, attack) in enumerate(ATTACKS):
            made.clock.at = Millis(made.clock.at + 60_000)
            draft = attack(made, forge.draft_of(made, HOME, alert(), counter=1_000 + number))
            await forge.send(made, HOME, forge.envelope_of(made, HOME, draft), draft.header)
            await made.settle()
            (one,) = made.adapter(reader).home.inbox.slices_of(draft.header.event_id)
            assert one.arrival.state is State.QUARANTINED, sentence
            assert one.arrival.check == check, (sentence, one.arrival.check, one.arrival.reason)
            await made.next_works()

    play(tmp_path, story)


def test_a_sender_that_uses_a_counter_again_is_refused(tmp_path: Path) -> None:
    """Two envelopes with one counter: the second is refused, and two with one sequence number are a fork."""

    async def story(made: World) -> None:
        for _ in range(2):
            draft = forge.draft_of(made, HOME, alert(), counter=5)
            await forge.send(made, HOME, forge.envelope_of(made, HOME, draft), draft.header)
            await made.settle()
        assert made.quarantined(OTHER) == [Check.COUNTER]
        draft = forge.draft_of(made, HOME, alert(), counter=6)
        forked = replace(draft, header=draft.header._replace(sequence=5))
        await forge.send(made, HOME, forge.envelope_of(made, HOME, forked), forked.header)
        await made.settle()
        assert [(one[0], one[2]) for one in made.adapter(OTHER).home.inbox.casebook.forks()] == [(HOME, 5)]

    play(tmp_path, story)


def _encode(got: Slice, **changes: Any) -> bytes:
    new = got._replace(**changes)
    return encode_slice(
        new.header_bytes, new.signed.encode(), new.size, sorted(new.parts.items()), new.proof, new.acceptance
    )


def _mixed(one: Slice, two: Slice) -> bytes:
    """A block that only the other reader has, in the place of one of this reader's."""
    foreign = next(
        part for part in two.parts.values() if part.kind == PartKind.BLOCK and part not in one.parts.values()
    )
    index = next(i for i, part in one.parts.items() if part.kind == PartKind.BLOCK)
    return _encode(one, parts={**one.parts, index: foreign})


def _less(one: Slice, _: Slice) -> bytes:
    index = next(i for i, part in one.parts.items() if part.kind == PartKind.BLOCK)
    return _encode(one, parts={i: part for i, part in one.parts.items() if i != index})


def _slot_of_another(one: Slice, two: Slice) -> bytes:
    index = next(i for i, part in one.parts.items() if part.kind == PartKind.SLOT)
    other = next(part for part in two.parts.values() if part.kind == PartKind.SLOT)
    return _encode(one, parts={**one.parts, index: other})


def _altered_block(one: Slice, _: Slice) -> bytes:
    index = next(i for i, part in one.parts.items() if part.kind == PartKind.BLOCK)
    body = bytearray(one.parts[index].body)
    body[-1] ^= 1
    return _encode(one, parts={**one.parts, index: Part(PartKind.BLOCK, bytes(body))})


def test_a_broker_that_mixes_or_thins_slices_is_found_out(tmp_path: Path) -> None:
    """Parts of another slice, parts left out or altered do not lead to the root that the author signed."""

    async def story(made: World) -> None:
        made.publish(HOME, alert())
        await made.settle()
        mine, yours = [decode_slice((await forge.slices_of(made, one))[0]) for one in (OTHER, CWC)]
        for attack in (_mixed, _less, _slot_of_another, _altered_block):
            made.adapter(OTHER).files.forget()
            await forge.deliver(made, OTHER, attack(mine, yours), mine.header.case_ref)
            await made.adapter(OTHER).receive()
        assert set(made.quarantined(OTHER)) <= {Check.TREE, Check.ACCEPTANCE, Check.SLICE}
        assert len(made.quarantined(OTHER)) == 4
        await made.next_works()

    play(tmp_path, story)


def test_a_broker_that_swaps_slices_is_found_out(tmp_path: Path) -> None:
    """The slice of another reader is refused, and gives nothing away: its slot does not open."""

    async def story(made: World) -> None:
        made.publish(HOME, alert())
        await made.settle()
        (value,) = await forge.slices_of(made, CWC)
        await forge.deliver(made, OTHER, value, bytes(16))
        await made.adapter(OTHER).receive()
        assert made.quarantined(OTHER) == [Check.SLICE]
        await made.next_works()

    play(tmp_path, story)


def test_two_acceptances_of_one_envelope_are_an_incident(tmp_path: Path) -> None:
    """A broker that says of one envelope that it entered at two times contradicts itself, over its own signature."""

    async def story(made: World) -> None:
        made.publish(HOME, alert())
        await made.settle()
        got = decode_slice((await forge.slices_of(made, OTHER))[0])
        said = decode_acceptance(got.acceptance)
        key = made.exchange.homes[HUB].ring.signing
        for change in ({"appended_at": Millis(said.statement.appended_at + 1_000)}, {"partition": 99}):
            statement = said.statement._replace(**change)
            (signed,) = sign_batch(
                [statement.encode()], signer=HUB, key_id=key.id, sign=key.sign, message=acceptance_message
            )
            other = Acceptance(statement, HUB, signed).encode()
            await forge.deliver(made, OTHER, _encode(got, acceptance=other), got.header.case_ref)
            await made.adapter(OTHER).receive()
        assert made.quarantined(OTHER) == [Check.ACCEPTANCE_CONFLICT] * 2
        await made.next_works()

    play(tmp_path, story)


def test_an_acceptance_that_the_broker_did_not_sign_is_refused(tmp_path: Path) -> None:
    """A member cannot accept in the broker's name."""

    async def story(made: World) -> None:
        made.publish(HOME, alert())
        await made.settle()
        got = decode_slice((await forge.slices_of(made, OTHER))[0])
        said = decode_acceptance(got.acceptance)
        key = made.adapter(RESCUE).home.ring.signing
        (signed,) = sign_batch(
            [said.statement.encode()], signer=RESCUE, key_id=key.id, sign=key.sign, message=acceptance_message
        )
        for broker, check in ((RESCUE, Check.SIGNING_KEY), (HUB, Check.SIGNING_KEY)):
            forged = Acceptance(said.statement, broker, signed).encode()
            await forge.deliver(made, OTHER, _encode(got, acceptance=forged), got.header.case_ref)
            await made.adapter(OTHER).receive()
            assert made.quarantined(OTHER)[-1] == check
        await made.next_works()

    play(tmp_path, story)


def test_a_slot_that_shows_another_row_than_it_seals_is_refused(tmp_path: Path) -> None:
    """A slot's clear digest, which stands for its row in the ledger, must be that of the row inside."""

    async def story(made: World) -> None:
        made.publish(HOME, alert())
        await made.settle()
        got = decode_slice((await forge.slices_of(made, OTHER))[0])
        index = next(i for i, part in got.parts.items() if part.kind == PartKind.SLOT)
        body = bytearray(got.parts[index].body)
        body[body.index(read_slot(bytes(body)).row_digest)] ^= 1
        altered = _encode(got, parts={**got.parts, index: Part(PartKind.SLOT, bytes(body))})
        await forge.deliver(made, OTHER, altered, got.header.case_ref)
        await made.adapter(OTHER).receive()
        assert made.quarantined(OTHER)[0] in (Check.TREE, Check.ACCEPTANCE, Check.SLOT_FORM)
        await made.next_works()

    play(tmp_path, story)


def test_a_stranger_cannot_report_a_rescue_in_somebodys_case(tmp_path: Path) -> None:
    """A desk without a role in the case that claims one, or claims to have opened it, is refused by every reader."""

    async def story(made: World) -> None:
        published = made.publish(HOME, alert())
        await made.settle()
        draft = forge.draft_of(
            made, RESCUE, alert(to=[OTHER, CWC, NCRB, HOME], mandates=[{"role": "CH", "agency": CWC}])
        )
        for number, role in enumerate((Role.DP, Role.OPENER)):
            header = draft.header._replace(
                case_ref=published.case, type="missing.alert", sequence=number, attempt=bytes([number]) * 16
            )
            said = decode_credentials(draft.credentials)
            claims = tuple(Claim(one.person, role, None, Phase.MISSING) for one in said.claims)
            forged = replace(draft, header=header, credentials=said._replace(claims=claims).encode())
            forged = replace(forged, readers=[replace(slot, counter=2_000 + number) for slot in forged.readers])
            await forge.send(made, RESCUE, forge.envelope_of(made, RESCUE, forged), header)
            await made.settle()
        assert set(made.quarantined(OTHER)) <= {Check.CHAIN, Check.CASE_OPENER, Check.SENDER}
        assert len(made.quarantined(OTHER)) == 2
        state = made.adapter(OTHER).files.get(published.case).state
        assert {one.phase for one in state.persons.values()} == {Phase.MISSING}
        await made.next_works()

    play(tmp_path, story)


def test_a_held_role_is_named_truthfully_in_the_row(tmp_path: Path) -> None:
    """A slot that says its reader holds a mandate that was never given waits, and opens nothing meanwhile."""

    async def story(made: World) -> None:
        def pretend(draft: Draft) -> Draft:
            return forge.with_slot(
                OTHER, lambda slot: replace(slot, roles=(*slot.roles, Held(Role.TP, None, NOT_GIVEN)))
            )(draft)

        draft = pretend(forge.draft_of(made, HOME, alert()))
        await forge.send(made, HOME, forge.envelope_of(made, HOME, draft), draft.header)
        await made.settle()
        (waiting,) = made.received(OTHER, State.PENDING)
        assert "mandate" in waiting.arrival.needs
        await made.next_works()

    play(tmp_path, story)


def test_times_are_judged_at_acceptance(tmp_path: Path) -> None:
    """An envelope that waited some hours is valid, and both times are kept."""

    async def story(made: World) -> None:
        published = made.publish(HOME, alert())
        made.clock.at = Millis(made.clock.at + 5 * HOUR)
        await made.settle()
        (one,) = made.received(OTHER)
        kept = made.adapter(OTHER).files.get(published.case).kept(published.event_id)
        assert kept is not None
        assert one.arrival.accepted_at == kept.slice.header.sealed_at + 5 * HOUR

    play(tmp_path, story)
