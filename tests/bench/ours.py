"""Our side of the comparison: 20 fields in 5 blocks for one person, sealed, dispatched and opened with every check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from broker.authority.model import Claim, Held
from broker.clock import DAY, SystemClock, SystemRandom, uuid7
from broker.event.codec import decode_block, encode_block
from broker.keys.handles import Prekey, SigningKey
from broker.names import AgencyId, Basis, CaseRef, Compartment, Digest, KeyId, Millis, PersonRef, Phase, Role
from broker.seal.acceptance import Acceptance, Statement
from broker.seal.block import Label
from broker.seal.check import Verified, check_envelope
from broker.seal.credentials import Credentials
from broker.seal.cut import cut
from broker.seal.envelope import decode_envelope
from broker.seal.header import Header
from broker.seal.open import receive_slice
from broker.seal.parts import acceptance_message, sign_batch
from broker.seal.seal import Draft, Keyed, SlotDraft, seal, sign
from broker.seal.secrets import OpeningSecrets, SealingSecrets
from broker.trust.bundle import Parameters
from broker.trust.directory import Directory

AUTHOR: Final = AgencyId("in.bench.author")
AUDITOR: Final = AgencyId("in.bench.auditor")
BROKER: Final = AgencyId("in.bench.hub")
SCHEMA: Final = 100
CONTENT: Final[Mapping[Compartment, Mapping[str, object]]] = {
    Compartment.SPOTTING: {
        "spot.ageBand": "_12_14",
        "spot.sex": "F",
        "spot.heightCm": {"from": 138, "to": 142},
        "spot.clothing": [{"lang": "en-IN", "text": "green salwar, white scarf", "machine": False}],
        "spot.marks": [{"lang": "en-IN", "text": "scar over the left eye", "machine": False}],
    },
    Compartment.CASE: {
        "case.firNo": {"ps": "Demo", "district": 414, "no": "00", "year": 2026, "zero": False},
        "case.sections": [{"act": "BNS", "section": "137(2)"}],
        "case.traffickingStatus": "PossibleVictim",
        "risk.level": "high",
    },
    Compartment.PERSON_IDENTITY: {
        "person.fullName": [{"lang": "en-IN", "text": "Tara Dhurwe", "machine": False}],
        "person.aliases": [[{"lang": "en-IN", "text": "Taru", "machine": False}]],
        "person.guardianNames": [[{"lang": "en-IN", "text": "Sumitra Dhurwe", "machine": False}]],
        "person.school": [{"lang": "en-IN", "text": "village school", "machine": False}],
    },
    Compartment.SUSPECT: {
        "suspect.phones": ["+910000000001"],
        "suspect.vehicles": [{"type": "car", "regNo": "MP00XX0000", "colour": "white"}],
        "suspect.accounts": [{"platform": "demo", "handle": "bablu"}],
        "suspect.list": "unknown",
    },
    Compartment.CONTACT_REPORTER: {
        "reporter.name": [{"lang": "en-IN", "text": "stall holder", "machine": False}],
        "reporter.phone": "+910000000002",
        "reporter.relation": "public",
    },
}
PERSONAL: Final = frozenset((Compartment.SPOTTING, Compartment.PERSON_IDENTITY, Compartment.CONTACT_REPORTER))


class Open:
    """A ground on which everybody is enrolled: what is timed is our own work, not the look-up of a directory."""

    def __init__(self, keys: Mapping[AgencyId, SigningKey]) -> None:
        self._keys = keys

    def check_type(self, event_type: str, variant: str, schema_id: int) -> None:
        """Accepts."""

    def knows(self, bundle: Digest) -> bool:
        """Always."""
        return True

    def check_bundle(self, cited: Digest, at: Millis) -> None:
        """Accepts."""

    def check_publisher(self, agency: AgencyId, at: Millis) -> None:
        """Accepts."""

    def signing_key(self, agency: AgencyId, key_id: KeyId, at: Millis) -> bytes:
        """The signer's key."""
        return self._keys[agency].public

    def broker_key(self, agency: AgencyId, key_id: KeyId, at: Millis) -> bytes:
        """The broker's key."""
        return self._keys[agency].public

    def check_prekey(self, reader: AgencyId, prekey_id: KeyId, at: Millis) -> None:
        """Accepts."""

    def auditors(self, at: Millis) -> frozenset[AgencyId]:
        """One."""
        return frozenset((AUDITOR,))

    def directory(self, at: Millis) -> Directory:
        """None is asked for."""
        raise NotImplementedError("nothing that is timed asks for a directory")

    def parameters(self, at: Millis) -> Parameters:
        """The usual ones."""
        return Parameters()

    def in_force(self, at: Millis) -> Digest:
        """One bundle."""
        return Digest(bytes(32))


@dataclass(slots=True)
class Bench:
    """A batch of events for some readers beside author and auditor, with keys that were used before."""

    readers: int
    persons: int = 1
    batch: int = 64
    random: SystemRandom = field(default_factory=SystemRandom)
    keys: dict[AgencyId, SigningKey] = field(default_factory=dict)
    prekeys: dict[AgencyId, Prekey] = field(default_factory=dict)
    people: list[PersonRef] = field(default_factory=list)
    sent: int = 0

    def __post_init__(self) -> None:
        names = [AUTHOR, AUDITOR, *[AgencyId(f"in.bench.reader{number:03}") for number in range(self.readers)]]
        far = Millis(1 << 50)
        self.prekeys = {name: Prekey(self.random.bytes(32), not_before=Millis(0), not_after=far) for name in names}
        self.keys = {name: SigningKey.generate(self.random) for name in (AUTHOR, BROKER)}
        self.people = [PersonRef(self.random.bytes(16)) for _ in range(self.persons)]
        self.case = CaseRef(self.random.bytes(16))
        self.ground = Open(self.keys)
        self.sealing = SealingSecrets(AUTHOR, b"instance", self.random)
        self.last = names[-1]
        self.opening = OpeningSecrets(lambda _: self.prekeys[self.last])
        self.verified = Verified()
        self.now = SystemClock().now()

    case: CaseRef = field(init=False)
    ground: Open = field(init=False)
    sealing: SealingSecrets = field(init=False)
    opening: OpeningSecrets = field(init=False)
    verified: Verified = field(init=False)
    last: AgencyId = field(init=False)
    now: Millis = field(init=False)

    def draft(self) -> Draft:
        """One event, its fields encoded: what a CSFLE serializer starts from is encoded here too."""
        blocks = {
            Label(one, 0, person): encode_block(SCHEMA, one, fields)
            for one, fields in CONTENT.items()
            for person in (self.people if one in PERSONAL else [None])
        }
        keyed = tuple(Keyed(label, Basis.ROLE, Role.IA, b"missing.alert.spotting.read") for label in blocks)
        roles = (Held(Role.IA, None, Digest(bytes(32))),)
        aliases = tuple((person, f"P-{number}") for number, person in enumerate(self.people, 1))
        number, self.sent = self.sent, self.sent + 1
        readers = [
            SlotDraft(
                name, prekey, number, roles, () if name == AUDITOR else keyed, aliases, (), name in (AUTHOR, AUDITOR)
            )
            for name, prekey in sorted(self.prekeys.items())
        ]
        claims = tuple(Claim(person, Role.OPENER, None, Phase.NEW) for person in self.people)
        return Draft(self._header(number), blocks, Credentials(claims, bytes(range(16)), 0, ()).encode(), readers)

    def _header(self, number: int) -> Header:
        at = self.now
        return Header(
            1, uuid7(at, self.random), self.random.bytes(16), "missing.alert", "child", SCHEMA, self.case, AUTHOR,
            b"instance", 0, number, Digest(bytes(32)), "duty-officer", at, at, None, Millis(at + DAY), "Actual",
            "Alert", "Immediate", "Severe", "Observed", "AMBER", ("en-IN",), "+910000000000", (), None,
            Digest(bytes(32)), -1,
        )  # fmt: skip

    def seal(self) -> list[bytes]:
        """Seals and signs one batch."""
        sealed = [seal(self.draft(), secrets=self.sealing, random=self.random) for _ in range(self.batch)]
        return sign(sealed, agency=AUTHOR, key=self.keys[AUTHOR])

    def dispatch(self, envelopes: list[bytes]) -> list[dict[AgencyId, bytes]]:
        """Checks, accepts and cuts one batch."""
        judged = []
        for value in envelopes:
            envelope = decode_envelope(value)
            slots = check_envelope(envelope, ground=self.ground, accepted_at=self.now, verified=self.verified)
            judged.append((envelope, slots))
        statements = [
            Statement(bytes(16), 0, offset, self.now, Digest(bytes(32)), envelope.root)
            for offset, (envelope, _) in enumerate(judged)
        ]
        key = self.keys[BROKER]
        signed = sign_batch(
            [one.encode() for one in statements],
            signer=BROKER,
            key_id=key.id,
            sign=key.sign,
            message=acceptance_message,
        )
        return [
            dict(cut(envelope, slots, Acceptance(statement, BROKER, member).encode()))
            for (envelope, slots), statement, member in zip(judged, statements, signed, strict=True)
        ]

    def open(self, slices: list[bytes]) -> None:
        """Verifies slices with every check of their bytes, and opens and decodes every block."""
        for value in slices:
            got = receive_slice(
                value, recipient=self.last, secrets=self.opening, ground=self.ground, verified=self.verified
            )
            for entry in got.row.entries:
                decode_block(SCHEMA, entry.label.compartment, got.open(entry.label))
