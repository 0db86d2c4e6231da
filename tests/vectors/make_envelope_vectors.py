"""Writes the golden vectors of the envelope: ``python -m tests.vectors.make_envelope_vectors``.

Every byte comes from fixed keys and fixed randomness (``tests.vectors.fixed``): made again, the files are the same, and a
test says so. The keys are for tests alone.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from adapters.exchange import DIRECTORY_FILE
from broker.authority.model import Held
from broker.checks import Check
from broker.clock import DAY
from broker.dispatch import Accepted, Quarantined, hint_headers
from broker.names import AgencyId, Compartment, Digest, Millis, Role
from broker.seal.acceptance import decode_acceptance
from broker.seal.block import Label
from broker.seal.envelope import decode_envelope, decode_slice
from broker.seal.open import Received, keep, receive_slice
from broker.seal.seal import CREDENTIALS_LABEL, Draft
from broker.seal.secrets import OpeningSecrets
from broker.seal.wire import NOTICE_ID, schema_id
from broker.service.loop import pass_once
from broker.stream.protocol import Message
from broker.stream.topics import EVENTS
from tests.story import forge
from tests.story.small_exchange import AGENCIES, AUDITOR, CWC, HOME, HUB, OTHER, World, alert
from tests.story.test_attacks_on_envelopes import ATTACKS
from tests.vectors import recipient_cases
from tests.vectors.fixed import CATALOGUE, POLICY, FixedRandom, draw_secrets, fixed_world
from tests.vectors.shown import shown

FOLDER: Final = Path(__file__).parent / "envelope"
SUITE: Final = FOLDER / "suite1.json"
RECIPIENT: Final = FOLDER / "recipient1.json"
Document = dict[str, Any]


async def make(folder: Path) -> tuple[Document, Document]:
    """Both documents; ``folder`` is where the exchange lives meanwhile."""
    async with fixed_world(folder) as (made, random):
        good, slices = await _good(made, random)
        common = _exchange(made, folder)
        suite = {"suite": 1, **common, "good": good, "failing": await _refused_by_the_broker(made, random)}
        recipient = await _refused_by_its_reader(made, random, good, slices)
    return suite, recipient


def _exchange(made: World, folder: Path) -> Document:
    registrar = made.exchange.registrar_key.signing.public
    parameters = made.adapter(HOME).ground.bundles.newest.parameters
    return {
        "broker": HUB,
        "auditor": AUDITOR,
        "registrar": registrar.hex(),
        "directory": (folder / "exchange" / DIRECTORY_FILE).read_text("utf-8"),
        "bundle": {
            "since": made.exchange.started_at,
            "policy": POLICY.hex(),
            "catalogue": CATALOGUE.hex(),
            "parameters": list(asdict(parameters).values()),
            "digest": made.adapter(HOME).ground.bundles.newest.digest.hex(),
        },
        "prekeySeeds": {
            agency: home.ring._current().prekeys[-1].seed.hex() for agency, home in made.exchange.homes.items()
        },
    }


async def _good(made: World, random: FixedRandom) -> tuple[list[Document], dict[str, dict[AgencyId, bytes]]]:
    """A batch of two alerts, which open cases; then a grant in the first."""
    random.start("good")
    publisher = made.adapter(HOME).publisher
    made.clock.at = Millis(made.clock.at + 60_000)
    draw_secrets(made, HOME)
    first, _ = publisher.publish([alert(), alert(clothing="unknown", persons=["P-1"])])
    await made.settle()
    random.start("grant")
    made.publish(HOME, _grant(first.case.hex(), str(UUID(bytes=first.event_id))))
    await made.settle()
    names = ["alert", "second alert of the batch", "grant"]
    slices: dict[str, dict[AgencyId, bytes]] = {name: {} for name in names}
    roots: dict[bytes, str] = {}
    found: list[Document] = []
    for name, one in zip(names, await _events(made), strict=True):
        envelope = decode_envelope(one)
        roots[envelope.root] = name
        found.append({"name": name, "envelope": one.hex(), "root": envelope.root.hex()})
    for agency in (AgencyId(one["id"]) for one in AGENCIES):
        for value in await forge.slices_of(made, agency):
            slices[roots[decode_slice(value).root]][agency] = value
    for entry in found:
        mine = slices[entry["name"]]
        entry["acceptedAt"] = decode_acceptance(
            decode_slice(next(iter(mine.values()))).acceptance
        ).statement.appended_at
        entry["slices"] = {
            reader: {"bytes": value.hex(), "says": shown(_received(made, reader, value))}
            for reader, value in sorted(mine.items())
        }
    return found, slices


async def _events(made: World) -> list[bytes]:
    """The values that stand on the events topic, in the order in which they were sealed."""
    stream = made.broker.stream
    positions: dict[int, int] = {}
    values: list[bytes] = []
    while batch := await stream.read(EVENTS, positions):
        for stored in batch:
            positions[stored.partition] = stored.offset + 1
            values.append(stored.message.value)
    return sorted(values, key=lambda value: decode_envelope(value).header.sequence)


def _received(made: World, reader: AgencyId, value: bytes) -> Received:
    adapter = made.adapter(reader)
    return receive_slice(
        value,
        recipient=reader,
        secrets=OpeningSecrets(adapter.home.ring.prekey),
        ground=adapter.ground,
        verified=adapter.receiver.judge.verified,
    )


def _grant(case: str, event: str) -> Document:
    """The home desk shows another one an old block."""
    return {
        "type": "access.grant",
        "variant": "owner",
        "case": case,
        "langs": ["en-IN"],
        "post": "duty-officer",
        "references": [event],
        "to": [OTHER],
        "persons": ["P-1"],
        "fields": {
            "grant.to": OTHER,
            "grant.person": "P-1",
            "grant.compartments": ["person-identity"],
            "grant.messages": [event],
            "grant.later": False,
            "grant.until": "2026-02-10T11:00:00+05:30",
            "grant.reason": "to ask at the bus stand",
            "grant.post": "duty-officer",
            "grant.orderNo": {"no": "00", "issuer": "CWC Mandla", "year": 2026},
        },
    }


async def _refused_by_the_broker(made: World, random: FixedRandom) -> list[Document]:
    """Envelopes that the broker refuses, each with the number of the check."""
    made.clock.at = Millis(made.clock.at + 9 * DAY)
    draw_secrets(made, HOME)
    rows: list[Document] = []
    for sentence, check, attack in ATTACKS:
        random.start(sentence)
        made.clock.at = Millis(made.clock.at + 60_000)
        value = attack(made, forge.draft_of(made, HOME, alert()))
        rows.append({"description": sentence, "check": int(check), "acceptedAt": made.clock.at, "bytes": value.hex()})
    random.start("cut")
    whole = forge.envelope_of(made, HOME, forge.draft_of(made, HOME, alert()))
    for sentence, value in (("it is cut within the header", whole[:60]), ("it is cut at the end", whole[:-1])):
        rows.append({"description": sentence, "check": Check.WIRE, "acceptedAt": made.clock.at, "bytes": value.hex()})
    rows.append(
        {
            "description": "it stands under the key of another case",
            "check": Check.HINTS,
            "acceptedAt": made.clock.at,
            "key": bytes(16).hex(),
            "bytes": whole.hex(),
        }
    )
    return rows


async def _refused_by_its_reader(
    made: World, random: FixedRandom, good: list[Document], slices: dict[str, dict[AgencyId, bytes]]
) -> Document:
    mine, theirs = slices["alert"][OTHER], slices["alert"][CWC]
    other = slices["second alert of the batch"][OTHER]
    failing = [
        {
            "description": said,
            "check": int(check),
            "reader": OTHER,
            "before": [b.hex() for b in before],
            "bytes": v.hex(),
        }
        for said, check, before, v in recipient_cases.cut_wrongly(made, mine, theirs, other)
    ]
    failing += await _sent_wrongly(made, random, decode_slice(mine).header.case_ref.hex(), mine)
    counted, waiting = await _twice_counted(made, random), await _waiting(made, random)
    kept, notice = _kept(made, slices["grant"][OTHER]), await _notice(made, random)
    return {"failing": [*failing, counted], "waiting": [waiting], "kept": kept, "notice": notice}


async def _sent(made: World, draft: Draft) -> str:
    """What OTHER is given of a draft that HOME sends."""
    await forge.send(made, HOME, forge.envelope_of(made, HOME, draft), draft.header)
    await pass_once(made.broker, seen=_all_accepted)
    values = await forge.slices_of(made, OTHER)
    (value,) = [one for one in values if decode_slice(one).header.event_id == draft.header.event_id]
    return value.hex()


async def _twice_counted(made: World, random: FixedRandom) -> Document:
    """Two envelopes whose slots for one reader have the same counter."""
    random.start("counter")
    before, after = [await _sent(made, forge.draft_of(made, HOME, alert(), counter=900)) for _ in range(2)]
    said = "the counter of a slot was used for another envelope"
    return {"description": said, "check": int(Check.COUNTER), "reader": OTHER, "before": [before], "bytes": after}


async def _waiting(made: World, random: FixedRandom) -> Document:
    """A row that cites a mandate which its reader has not received: neither valid nor invalid yet."""
    random.start("waiting")
    held = Held(Role.TP, None, Digest(b"m" * 32))
    draft = forge.draft_of(made, HOME, alert(), counter=901)
    cited = forge.with_slot(OTHER, lambda slot: replace(slot, roles=(*slot.roles, held)))(draft)
    said = "the row cites a mandate that has not arrived"
    return {"description": said, "reader": OTHER, "before": [], "bytes": await _sent(made, cited)}


async def _sent_wrongly(made: World, random: FixedRandom, case: str, first: bytes) -> list[Document]:
    expected: dict[bytes, Document] = {}
    readers: set[AgencyId] = set()
    for agency in {one.author for one in recipient_cases.cases(case)}:
        draw_secrets(made, agency)
    for number, one in enumerate(recipient_cases.cases(case)):
        random.start(one.description)
        made.clock.at = Millis(made.clock.at + 60_000)
        draft = recipient_cases.draft(made, one, 1_000 + number)
        value = one.make(made, draft)
        row: Document = {"description": one.description, "check": int(one.check), "reader": one.reader}
        row["before"] = [first.hex()] if one.record is not None and one.author == HOME else []
        if one.broken is not None:
            row["broken"] = one.broken.label
        expected[draft.header.event_id] = row
        readers.add(one.reader)
        await forge.send(made, one.author, value, draft.header)
    await pass_once(made.broker, seen=_all_accepted)
    for reader in sorted(readers):
        for value in await forge.slices_of(made, reader):
            if schema_id(value) == NOTICE_ID:
                continue
            row = expected.get(decode_slice(value).header.event_id, {"reader": None})
            if row["reader"] == reader:
                row["bytes"] = value.hex()
    return list(expected.values())


def _all_accepted(verdicts: Sequence[Accepted | Quarantined]) -> None:
    for one in verdicts:
        assert isinstance(one, Accepted), one


def _kept(made: World, value: bytes) -> Document:
    """A slice as its reader keeps it, and the seeds that it keeps apart."""
    got = _received(made, OTHER, value)
    seeds = [(1, CREDENTIALS_LABEL, got.content.credentials_seed)]
    seeds += [(entry.part, entry.label, seed) for entry, seed in zip(got.row.entries, got.content.seeds, strict=True)]
    return {
        "reader": OTHER,
        "bytes": keep(got).hex(),
        "root": got.slice.root.hex(),
        "seeds": [
            {"part": part, **_named(label), "seed": seed.hex(), "content": _plain(got, label).hex()}
            for part, label, seed in seeds
        ],
    }


def _named(label: Label) -> Document:
    person = label.person.hex() if label.person is not None else None
    return {"compartment": int(label.compartment), "serial": label.serial, "person": person}


def _plain(got: Received, label: Label) -> bytes:
    return got.credentials.encode() if label.compartment is Compartment.CREDENTIALS else got.open(label)


async def _notice(made: World, random: FixedRandom) -> Document:
    """The broker's word on an envelope without a slot for the auditor."""
    random.start("notice")
    draft = forge.draft_of(made, HOME, alert(), counter=5_000)
    value = forge.envelope_of(
        made, HOME, replace(draft, readers=[one for one in draft.readers if one.reader != AUDITOR])
    )
    message = Message(EVENTS, draft.header.case_ref, value, hint_headers(draft.header))
    await made.adapter(HOME).stream.publish([message])
    await pass_once(made.broker)
    (notice,) = [one for one in await forge.slices_of(made, HOME) if schema_id(one) == NOTICE_ID]
    fields = {"root": decode_envelope(value).root.hex(), "event_id": draft.header.event_id.hex()}
    return {"bytes": notice.hex(), "says": {**fields, "check": int(Check.PARTS), "agency": HOME, "broker": HUB}}


def write() -> None:
    """Writes the files."""
    with tempfile.TemporaryDirectory() as folder:
        suite, recipient = asyncio.run(make(Path(folder)))
    FOLDER.mkdir(exist_ok=True)
    for path, document in ((SUITE, suite), (RECIPIENT, recipient)):
        path.write_text(text_of(document), "utf-8")


def text_of(document: Document) -> str:
    """A document as its file has it."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write()
