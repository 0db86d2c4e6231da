"""The checks that a broker makes before it accepts, and that everybody can repeat (§12, numbers 5 to 14)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final
from uuid import UUID

from broker import limits
from broker.checks import Check
from broker.clock import day_of, rfc3339
from broker.errors import Invalid
from broker.keys.handles import verify
from broker.names import AgencyId, Digest, Millis
from broker.seal.acceptance import Acceptance
from broker.seal.envelope import Envelope
from broker.seal.ground import Ground
from broker.seal.header import Header
from broker.seal.parts import PartKind, Signed, acceptance_message, batch_message
from broker.seal.slot import SlotForm, read_slot

_KEPT: Final = 1_024
_PADDING, _CREDENTIALS, _SLOT, _BLOCK, _LEDGER = map(
    int, (PartKind.PADDING, PartKind.CREDENTIALS, PartKind.SLOT, PartKind.BLOCK, PartKind.LEDGER)
)


class Verified:
    """Signatures that were found good lately, so that a batch is verified once; bounded, and only for speed."""

    def __init__(self) -> None:
        self._good: OrderedDict[tuple[bytes, bytes, bytes], None] = OrderedDict()

    def check(self, public: bytes, signature: bytes, message: bytes) -> None:
        """Verifies, or remembers that it did.

        Raises:
            Invalid: check SIGNATURE.
        """
        name = (public, signature, message)
        if name in self._good:
            return
        verify(public, signature, message)
        self._good[name] = None
        if len(self._good) > _KEPT:
            self._good.popitem(last=False)


def check_header(header: Header, *, ground: Ground, accepted_at: Millis) -> None:
    """Checks 5, 6, 7 and 14.

    Raises:
        Invalid: one of them.
    """
    ground.check_type(header.type, header.variant, header.schema_id)
    ground.check_bundle(header.bundle, accepted_at)
    ground.check_publisher(header.agency, accepted_at)
    sealed_at, window = header.sealed_at, ground.parameters(accepted_at)
    if int.from_bytes(header.event_id[:6], "big") != sealed_at or header.event_id[6] >> 4 != 7:
        raise Invalid(Check.TIME, "the event id does not carry the time of sealing")
    if sealed_at > accepted_at + window.sealed_ahead or header.act_at > sealed_at + window.sealed_ahead:
        raise Invalid(Check.TIME, "the event says that it comes from the future; check the clock of the sender")
    if sealed_at < accepted_at - window.sealed_behind:
        raise Invalid(Check.TIME, "the event was held back for too long; seal it again as a new event")


def check_signature(
    header: Header, signed: Signed, root: Digest, *, ground: Ground, accepted_at: Millis, verified: Verified
) -> None:
    """Checks 8 and 10.

    Raises:
        Invalid: one of them.
    """
    public = ground.signing_key(header.agency, signed.key_id, accepted_at)
    message = batch_message(header.agency, signed.key_id, signed.batch, signed.root_over(root))
    verified.check(public, signed.signature, message)


def check_acceptance(acceptance: Acceptance, root: Digest, *, ground: Ground, verified: Verified) -> None:
    """Check 20: the broker accepted this root, and signed that it did.

    Raises:
        Invalid: ACCEPTANCE, or SIGNING_KEY of the broker.
    """
    statement, signed = acceptance.statement, acceptance.signed
    if statement.root != root:
        raise Invalid(Check.ACCEPTANCE, "the acceptance is for another envelope")
    public = ground.broker_key(acceptance.broker, signed.key_id, statement.appended_at)
    try:
        message = acceptance_message(
            acceptance.broker, signed.key_id, signed.batch, signed.root_over(statement.encode())
        )
        verified.check(public, signed.signature, message)
    except Invalid:
        raise Invalid(Check.ACCEPTANCE, "the acceptance is not signed by the broker") from None


def check_envelope(
    envelope: Envelope, *, ground: Ground, accepted_at: Millis, verified: Verified
) -> dict[AgencyId, tuple[int, SlotForm]]:
    """Checks 5 to 14 of a whole envelope; 1 to 4 were made when it was parsed.

    Returns:
        Each reader's slot and its part number.

    Raises:
        Invalid: the first check that fails.
    """
    header = envelope.header
    check_header(header, ground=ground, accepted_at=accepted_at)
    check_signature(header, envelope.signed, envelope.root, ground=ground, accepted_at=accepted_at, verified=verified)
    of_kind: dict[int, list[int]] = {_CREDENTIALS: [], _LEDGER: [], _BLOCK: [], _SLOT: [], _PADDING: []}
    for index, (kind, _) in enumerate(envelope.parts, 1):
        of_kind[kind].append(index)
    if len(of_kind[_CREDENTIALS]) != 1 or len(of_kind[_LEDGER]) != 1:
        raise Invalid(Check.PARTS, "an envelope has exactly one credentials part and one ledger")
    slots: dict[AgencyId, tuple[int, SlotForm]] = {}
    for index in of_kind[_SLOT]:
        slot = read_slot(envelope.parts[index - 1].body)
        if slot.reader in slots:
            raise Invalid(Check.PARTS, "a reader has more than one slot")
        slots[slot.reader] = (index, slot)
    holders = ground.auditors(accepted_at) | {header.agency}
    if not holders <= slots.keys():
        raise Invalid(Check.PARTS, "the author or an auditor has no slot")
    if len(slots) > limits.READERS or len(of_kind[_BLOCK]) > limits.BLOCKS:
        raise Invalid(Check.SIZE, "the envelope has more readers or blocks than it may")
    blocks, ledger, day = frozenset(of_kind[_BLOCK]), of_kind[_LEDGER][0], day_of(header.sealed_at)
    for reader, (_, slot) in slots.items():
        listed = frozenset(slot.parts)
        if not listed <= blocks and not (reader in holders and listed - blocks == {ledger}):
            raise Invalid(Check.SLOT_FORM, "a slot names a part that its reader cannot have")
        if reader in holders and ledger not in listed:
            raise Invalid(Check.SLOT_FORM, "the slot of the author or an auditor lacks the ledger")
        if slot.day != day:
            raise Invalid(Check.PREKEY, "a slot secret is not of the day of sealing")
        ground.check_prekey(reader, slot.prekey_id, header.sealed_at)
    return slots


def check_hints(key: bytes, headers: tuple[tuple[str, bytes], ...], header: Header) -> None:
    """Check 15: what stands outside on the stream must not contradict the signed header.

    Raises:
        Invalid: HINTS.
    """
    if key != header.case_ref:
        raise Invalid(Check.HINTS, "the key on the stream is not the case reference")
    expected = dict(hints_of(header))
    for name, value in headers:
        if value != expected.get(name, value):
            raise Invalid(Check.HINTS, f"the header {name} on the stream differs from the signed one")


def hints_of(header: Header) -> tuple[tuple[str, bytes], ...]:
    """The CloudEvents attributes that follow from the signed header (``docs/spec/stream.md`` §7)."""
    return (
        ("ce_id", str(UUID(bytes=header.event_id)).encode()),
        ("ce_source", header.agency.encode()),
        ("ce_type", header.type.encode()),
        ("ce_time", rfc3339(header.sealed_at).encode()),
        ("ce_dataschema", f"urn:casebridge:schema:{header.schema_id}".encode()),
    )
