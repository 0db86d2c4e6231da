"""What a recipient must refuse, made by a sender or a broker with real keys: the failing vectors of the checks 13 to 39."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from broker.checks import Check
from broker.clock import day_of
from broker.event.codec import encode_block
from broker.names import AgencyId, Basis, Compartment, Millis, Role
from broker.seal.acceptance import Acceptance, decode_acceptance
from broker.seal.block import Label
from broker.seal.compose import Place, compose
from broker.seal.credentials import decode_credentials
from broker.seal.envelope import Slice, decode_slice, encode_slice
from broker.seal.header import header_hash
from broker.seal.parts import Part, PartKind, acceptance_message, sign_batch
from broker.seal.seal import Draft, Keyed, Sealed
from broker.seal.slot import decode_content, open_slot, read_slot, row_digest, seal_slot, slot_clear
from tests.story import forge, test_attacks_on_blocks, test_attacks_on_readers
from tests.story.small_exchange import CWC, HOME, HUB, OTHER, RESCUE, SHELTER, World, alert
from tests.story.test_attacks_on_blocks import given_to, signed

Made = Callable[[World, Draft], bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """One envelope that the broker accepts and its reader must refuse.

    ``blocks`` of it are broken where the event itself is valid (checks 26 and 27 at opening).
    """

    description: str
    reader: AgencyId
    check: Check
    make: Made
    author: AgencyId = HOME
    record: Callable[[World], dict[str, Any]] | None = None
    broken: Compartment | None = None


def sighting(_: World) -> dict[str, Any]:
    """A first report of a shelter, which opens a case."""
    return {
        "type": "sighting.report",
        "case": "new",
        "langs": ["en-IN"],
        "post": "duty-officer",
        "to": [OTHER, CWC],
        "persons": ["P-1"],
        "fields": {},
        "personFields": {
            "P-1": {
                "spot.ageBand": "12-14",
                "spot.sex": "F",
                "sight.at": "2026-02-02T09:00:00+05:30",
                "sight.area": {"state": "IN-KL", "district": 555, "text": "bus stand"},
                "sight.basis": "CCTV",
                "sight.confidence": 70,
            }
        },
    }


def drafted(change: Callable[[World, Draft], Draft], author: AgencyId = HOME) -> Made:
    """The draft is another before it is sealed."""
    return lambda made, draft: forge.envelope_of(made, author, change(made, draft))


def _more_than_it_may_write(_: World, draft: Draft) -> Draft:
    """The shelter writes about a suspect."""
    label, said = Label(Compartment.SUSPECT, 0, None), {"suspect.list": "unknown"}
    more = replace(
        draft, blocks={**draft.blocks, label: encode_block(draft.header.schema_id, Compartment.SUSPECT, said)}
    )
    return forge.with_slot(OTHER, forge.keyed_to(label, basis=Basis.ROLE, role=Role.AS, ground=b"any"))(more)


def _slot_again(change: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> Made:
    """A slot sealed again after digest and content were exchanged: what it shows is not what it seals."""

    def make(made: World, draft: Draft) -> bytes:
        sealed = forge.seal_draft(made, HOME, draft)
        place = given_to(sealed, OTHER, PartKind.SLOT)
        return signed(made, sealed, _with_slot(made, sealed, place, change))

    return make


def _with_slot(
    made: World, sealed: Sealed, place: int, change: Callable[[bytes, bytes], tuple[bytes, bytes]]
) -> list[Part]:
    slot, bound = read_slot(sealed.parts[place].body), header_hash(sealed.header_bytes)
    directory = made.adapter(HOME).ground.directory(sealed.header.sealed_at)
    prekey = directory.prekey(OTHER, sealed.header.sealed_at)
    prk, _ = made.adapter(HOME).publisher.secrets.get(OTHER, prekey, day_of(sealed.header.sealed_at))
    digest, content = change(slot.row_digest, open_slot(prk, bound, slot))
    clear = slot_clear(slot.reader, slot.prekey_id, slot.day, slot.sealed_secret, digest, slot.parts)
    body = seal_slot(prk, bound, slot.reader, clear, content)
    return [*sealed.parts[:place], Part(PartKind.SLOT, body), *sealed.parts[place + 1 :]]


def _other_digest(digest: bytes, content: bytes) -> tuple[bytes, bytes]:
    return bytes([digest[0] ^ 1]) + digest[1:], content


def _other_reader(_: bytes, content: bytes) -> tuple[bytes, bytes]:
    """The row inside, and its digest, are those of another reader."""
    said, row = decode_content(content)
    other = row._replace(reader=RESCUE).encode()
    return row_digest(said.salt, other), said._replace(row=other).encode()


def _fewer_entries(_: bytes, content: bytes) -> tuple[bytes, bytes]:
    """The row inside lacks an entry whose part the slot shows."""
    said, row = decode_content(content)
    other = row._replace(entries=row.entries[:-1]).encode()
    return row_digest(said.salt, other), said._replace(row=other, seeds=said.seeds[:-1]).encode()


def _bytes_behind(digest: bytes, content: bytes) -> tuple[bytes, bytes]:
    return digest, content + b"\x00"


def _chain(change: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]) -> Callable[[World, Draft], Draft]:
    """The sender's way back to the opener is another."""

    def attack(_: World, draft: Draft) -> Draft:
        said = decode_credentials(draft.credentials)
        assert said.chain, "the sender cites a mandate"
        return replace(draft, credentials=said._replace(chain=change(said.chain)).encode())

    return attack


def _no_right_to_it(_: World, draft: Draft) -> Draft:
    """The name goes to a desk that may not read it, on a grant that covers nothing of this event."""
    label = next(one for one in draft.blocks if one.compartment is Compartment.SPOTTING)
    keyed = Keyed(label, Basis.GRANT, Role.OR, draft.header.event_id)
    readers = [
        replace(slot, keyed=tuple(keyed if one.label == label else one for one in slot.keyed))
        if slot.reader == OTHER
        else slot
        for slot in draft.readers
    ]
    return replace(draft, readers=readers)


def follow_up(case: str) -> dict[str, Any]:
    """A second message of a case, sent under the mandate that the first gave."""
    return alert(case, clothing="blue dress", mandates=[])


OWN: Final[list[Case]] = [
    Case("the digest that a slot shows is not that of its row", OTHER, Check.ROW, _slot_again(_other_digest)),
    Case("the row is that of another reader", OTHER, Check.ROW, _slot_again(_other_reader)),
    Case("the row lacks a part that the slot shows", OTHER, Check.ROW, _slot_again(_fewer_entries)),
    Case("bytes follow the content of a slot", OTHER, Check.SLOT_OPEN, _slot_again(_bytes_behind)),
    Case("a block is given by a grant that is none", OTHER, Check.GRANT, drafted(_no_right_to_it)),
    Case(
        "a shelter writes about a suspect",
        OTHER,
        Check.MAY_NOT_WRITE,
        drafted(_more_than_it_may_write, SHELTER),
        author=SHELTER,
        record=sighting,
    ),
]
"""Beside the attacks of the stories."""


def cases(followed: str) -> list[Case]:
    """Every one; ``followed`` is the case in which a second message is sent."""
    found = [
        Case(sentence, reader, check, drafted(attack))
        for sentence, reader, check, attack in test_attacks_on_readers.ATTACKS
    ]
    found += [Case(sentence, reader, check, make) for sentence, reader, check, make in test_attacks_on_blocks.ATTACKS]
    found += [
        Case(sentence, OTHER, check, make, broken=Compartment.SPOTTING)
        for sentence, check, make in test_attacks_on_blocks.BROKEN
    ]

    def record(_: World) -> dict[str, Any]:
        return follow_up(followed)

    return [
        *found,
        *OWN,
        Case(
            "a mandate in the sender's chain does not lead to the root that was signed",
            OTHER,
            Check.ACCEPTANCE,
            drafted(_chain(lambda chain: (_altered(chain[0], _BODY),))),
            record=record,
        ),
        Case(
            "a mandate in the sender's chain is cut short",
            OTHER,
            Check.CHAIN,
            drafted(_chain(lambda chain: (chain[0][:-1],))),
            record=record,
        ),
        Case("the sender's chain is left out", OTHER, Check.CHAIN, drafted(_chain(lambda _: ())), record=record),
    ]


_BODY: Final = -400
"""Counted from the end of a disclosure: within the block that it proves."""


def _altered(value: bytes, at: int) -> bytes:
    at %= len(value)
    return value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :]


def draft(made: World, case: Case, counter: int) -> Draft:
    """What an honest adapter would seal."""
    publisher = made.adapter(case.author).publisher
    prepared = publisher.prepare(alert() if case.record is None else case.record(made))
    materials = publisher.materials(prepared)
    instance = made.adapter(case.author).home.outbox.instance
    counters = dict.fromkeys(materials.prekeys, counter)
    place = Place(case.author, instance, 7, counter, materials.bundle, counters)
    return compose(prepared.event, prepared.plan, place, materials, random=made.exchange.random)


# --- a broker that cuts wrongly --------------------------------------------------------------------------------------


def encode(got: Slice, **changes: Any) -> bytes:
    """A slice with something else in it."""
    new = got._replace(**changes)
    return encode_slice(
        new.header_bytes, new.signed.encode(), new.size, sorted(new.parts.items()), new.proof, new.acceptance
    )


def _place(got: Slice, kind: PartKind) -> int:
    return next(index for index, part in got.parts.items() if part.kind == kind)


def accepted_by(made: World, signer: AgencyId, got: Slice, broker: AgencyId = HUB, **changes: Any) -> bytes:
    """The slice under another acceptance, signed with the key of ``signer``."""
    statement = decode_acceptance(got.acceptance).statement._replace(**changes)
    key = made.exchange.homes[signer].ring.signing
    (member,) = sign_batch(
        [statement.encode()], signer=broker, key_id=key.id, sign=key.sign, message=acceptance_message
    )
    return encode(got, acceptance=Acceptance(statement, broker, member).encode())


def cut_wrongly(
    made: World, mine: bytes, theirs: bytes, another: bytes
) -> list[tuple[str, Check, tuple[bytes, ...], bytes]]:
    """Description, check, slices that came before, and the slice: from OTHER's, CWC's, and OTHER's of another envelope."""
    got, second = decode_slice(mine), decode_slice(another)
    block, slot = _place(got, PartKind.BLOCK), _place(got, PartKind.SLOT)
    without = {index: part for index, part in got.parts.items() if index != block}
    hidden: Mapping[int, Part] = {**got.parts, slot: Part(PartKind.HASH, bytes(32))}
    body = got.parts[block].body
    altered = {**got.parts, block: Part(PartKind.BLOCK, body[:-1] + bytes((body[-1] ^ 1,)))}
    at = Millis(decode_acceptance(got.acceptance).statement.appended_at + 1_000)
    said = decode_acceptance(got.acceptance)
    unsigned = said._replace(signed=said.signed._replace(signature=bytes(64))).encode()
    return [
        ("the slice is another reader's", Check.SLICE, (), theirs),
        ("a part is left out of the slice", Check.ACCEPTANCE, (), encode(got, parts=without)),
        ("a block is altered by the broker", Check.ACCEPTANCE, (), encode(got, parts=altered)),
        ("the slot is a hash of nothing", Check.ACCEPTANCE, (), encode(got, parts=hidden)),
        ("parts stand in another order", Check.CANONICAL, (), _reversed(got)),
        ("a hash too many stands in the proof", Check.TREE, (), encode(got, proof=[*got.proof, bytes(32)])),
        ("the acceptance is of another envelope", Check.ACCEPTANCE, (), encode(got, acceptance=second.acceptance)),
        ("the acceptance is not signed", Check.ACCEPTANCE, (), encode(got, acceptance=unsigned)),
        ("bytes follow the acceptance", Check.ACCEPTANCE, (), encode(got, acceptance=got.acceptance + b"\x00")),
        ("a member accepts in its own name", Check.SIGNING_KEY, (), accepted_by(made, RESCUE, got, RESCUE)),
        ("a member accepts in the broker's name", Check.SIGNING_KEY, (), accepted_by(made, RESCUE, got)),
        ("it was accepted before the bundle was in force", Check.BUNDLE, (), accepted_by(made, HUB, got, appended_at=1)),
        ("it was accepted eight days after it was sealed", Check.TIME, (), accepted_by(made, HUB, got, appended_at=_late(at))),
        ("it was accepted at another time before", Check.ACCEPTANCE_CONFLICT, (mine,), accepted_by(made, HUB, got, appended_at=at)),
        ("it was accepted in another partition before", Check.ACCEPTANCE_CONFLICT, (mine,), accepted_by(made, HUB, got, partition=99)),
    ]  # fmt: skip


def _late(at: Millis) -> Millis:
    return Millis(at + 8 * 86_400_000)


def _reversed(got: Slice) -> bytes:
    return encode_slice(
        got.header_bytes,
        got.signed.encode(),
        got.size,
        sorted(got.parts.items(), reverse=True),
        got.proof,
        got.acceptance,
    )
