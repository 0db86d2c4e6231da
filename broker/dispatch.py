"""What the broker does with a batch of one partition: check, accept, cut, deliver, quarantine, tell, record.

It holds no key that opens anything and keeps no state but positions: given the same bytes at the same place it says
the same again, and the ends de-duplicate (architecture §7).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from broker.audit.record import NO_CASE, Chain, Kind, Step
from broker.checks import Check
from broker.clock import Clock, Random
from broker.errors import Invalid
from broker.keys.handles import SigningKey
from broker.names import AgencyId, CaseRef, Digest, Millis
from broker.seal.acceptance import Acceptance, Statement
from broker.seal.check import Verified, check_envelope, check_hints, hints_of
from broker.seal.cut import cut
from broker.seal.envelope import Envelope, decode_envelope
from broker.seal.ground import Ground
from broker.seal.header import SUITE, Header, decode_header
from broker.seal.notice import Notice
from broker.seal.parts import acceptance_message, sign_batch
from broker.seal.slot import SlotForm, read_slot
from broker.seal.wire import NO_DIGEST, text
from broker.stream.protocol import Message, Stored, Stream
from broker.stream.topics import QUARANTINE, RECORDS, in_topic


@dataclass(slots=True)
class Broker:
    """One broker process: who it is, what it stands on, where it writes."""

    agency: AgencyId
    key: SigningKey
    stream: Stream
    ground: Ground
    chain: Chain
    clock: Clock
    random: Random
    topic_id: bytes
    verified: Verified = field(default_factory=Verified)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An envelope that passed checks 1 to 15."""

    envelope: Envelope
    slots: dict[AgencyId, tuple[int, SlotForm]]
    statement: Statement


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A value that did not: which check, and why, in one plain sentence."""

    stored: Stored
    check: int
    reason: str
    header: Header | None
    root: Digest | None
    readers: tuple[AgencyId, ...]


def judge(stored: Stored, *, topic_id: bytes, ground: Ground, verified: Verified) -> Accepted | Quarantined:
    """The verdict on one value of the events topic; the same whenever it is asked for."""
    envelope: Envelope | None = None
    try:
        envelope = decode_envelope(stored.message.value)
        slots = check_envelope(envelope, ground=ground, accepted_at=stored.appended_at, verified=verified)
        check_hints(stored.message.key, stored.message.headers, envelope.header)
        bundle = ground.in_force(stored.appended_at)
    except Invalid as error:
        return _refused(stored, error, envelope)
    statement = Statement(topic_id, stored.partition, stored.offset, stored.appended_at, bundle, envelope.root)
    return Accepted(envelope, slots, statement)


def _refused(stored: Stored, error: Invalid, envelope: Envelope | None) -> Quarantined:
    if envelope is None:
        return Quarantined(stored, error.check, str(error), _header_of(stored.message.value), None, ())
    readers = []
    for part in envelope.parts:
        try:
            readers.append(read_slot(part.body).reader)
        except Invalid:
            continue
    signed = error.check > Check.SIGNATURE
    return Quarantined(
        stored, error.check, str(error), envelope.header, envelope.root, tuple(readers) if signed else ()
    )


def _header_of(value: bytes) -> Header | None:
    try:
        return decode_header(value, 5)[0]
    except Invalid:
        return None


async def deliver(broker: Broker, verdicts: Sequence[Accepted | Quarantined]) -> None:
    """Writes slices, notices and records of these verdicts, in order; returns when every one is durable.

    Raises:
        StreamError: not known to be delivered; start again.
    """
    accepted = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
    messages, steps = _deliveries(broker, accepted)
    for verdict in verdicts:
        if isinstance(verdict, Quarantined):
            messages += _quarantine(broker, verdict)
            header = verdict.header
            case = header.case_ref if header is not None else NO_CASE
            root = verdict.root or Digest(NO_DIGEST)
            steps.append(
                Step(Kind.QUARANTINED, verdict.stored.appended_at, case, root, verdict.check.to_bytes(2, "big"))
            )
    records = broker.chain.write(steps, key_id=broker.key.id, sign=broker.key.sign, random=broker.random)
    messages += [Message(RECORDS, step.case, record) for step, record in zip(steps, records, strict=True)]
    if messages:
        await broker.stream.publish(messages)


def _deliveries(broker: Broker, accepted: Sequence[Accepted]) -> tuple[list[Message], list[Step]]:
    """The slices of the accepted envelopes, under one signature, and what the record says of them."""
    if not accepted:
        return [], []
    signed = sign_batch(
        [verdict.statement.encode() for verdict in accepted],
        signer=broker.agency,
        key_id=broker.key.id,
        sign=broker.key.sign,
        message=acceptance_message,
    )
    messages: list[Message] = []
    steps: list[Step] = []
    for verdict, member in zip(accepted, signed, strict=True):
        header, statement = verdict.envelope.header, verdict.statement
        acceptance = Acceptance(statement, broker.agency, member).encode()
        hints = hint_headers(header)
        messages += [
            Message(in_topic(reader), header.case_ref, data, hints)
            for reader, data in cut(verdict.envelope, verdict.slots, acceptance)
        ]
        readers = b"".join(text(reader) for reader in verdict.slots)
        steps += (
            Step(Kind.ACCEPTED, statement.appended_at, header.case_ref, statement.root, statement.encode()),
            Step(Kind.DELIVERED, statement.appended_at, header.case_ref, statement.root, readers),
        )
    return messages, steps


def hint_headers(header: Header) -> tuple[tuple[str, bytes], ...]:
    """The CloudEvents attributes of a message (1.0, Kafka binding, binary mode) and its W3C trace context; hints only.

    One attempt to seal is one trace: publishing, dispatching and receiving are seen as one. ``traceparent`` is not
    checked by anybody, since whatever carries a message may put itself into it.
    """
    trace = f"00-{header.attempt.hex()}-{header.event_id[8:].hex()}-01".encode()
    fixed = (("ce_specversion", b"1.0"), ("content-type", b"application/avro"))
    return (*fixed, *hints_of(header), ("traceparent", trace))


def _quarantine(broker: Broker, verdict: Quarantined) -> list[Message]:
    """The value as it came, for the operator; and a signed notice to its author and its readers.

    The author is told where the signature proves it; readers likewise, since a forger could name anybody.
    """
    stored, header = verdict.stored, verdict.header
    notice = Notice(
        suite=SUITE,
        root=verdict.root,
        digest=Digest(sha256(stored.message.value).digest()),
        event_id=header.event_id if header else None,
        case_ref=header.case_ref if header else None,
        agency=header.agency if header else AgencyId(""),
        instance=header.instance if header else None,
        incarnation=header.incarnation if header else 0,
        sequence=header.sequence if header else -1,
        check=verdict.check,
        reason=verdict.reason,
        partition=stored.partition,
        offset=stored.offset,
        at=stored.appended_at,
        broker=broker.agency,
        key_id=broker.key.id,
    ).signed(broker.key.sign)
    headers = (("check", str(verdict.check).encode()), ("notice", notice))
    messages = [Message(QUARANTINE, stored.message.key, stored.message.value, headers)]
    told = set(verdict.readers)
    if header is not None and _enrolled(broker.ground, header.agency, stored.appended_at):
        told.add(header.agency)
    for agency in sorted(told):
        if _enrolled(broker.ground, agency, stored.appended_at):
            messages.append(Message(in_topic(agency), header.case_ref if header else CaseRef(bytes(16)), notice))
    return messages


def _enrolled(ground: Ground, agency: AgencyId, at: Millis) -> bool:
    try:
        return ground.directory(at).enrolled(agency, at) is not None
    except Invalid:
        return False
