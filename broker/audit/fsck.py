"""What the notary does not say of what it copies: the verdicts of whoever replays the audit topic.

``Fsck`` takes the messages of the topic in order and looks at each record's and envelope's signature, at each author's
chains, and at what the broker says against what stood on the stream (``docs/spec/audit.md`` §5). The tree is compared
by ``broker.tlog.compare``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from broker.audit.notary import AuditRecord, Place, decode_audit_record
from broker.audit.record import Kind, Record, decode_record, record_digest, records_message
from broker.errors import Invalid
from broker.names import AgencyId, Digest, Millis
from broker.seal.acceptance import Statement, decode_statement
from broker.seal.check import Verified, check_signature
from broker.seal.envelope import decode_slice
from broker.seal.ground import Ground
from broker.seal.parts import Signed
from broker.seal.wire import NO_DIGEST
from broker.stream.topics import EVENTS

_RESTS_ON_ACCEPTANCE: Final = {
    Kind.DELIVERED: "delivered",
    Kind.RECEIVED: "received",
    Kind.OPENED: "opened",
}
_BY_BROKERS: Final = (Kind.ACCEPTED, Kind.DELIVERED)


class Verdict(NamedTuple):
    """One thing that does not fit: the message's place in the tree, whom to ask, the envelope, and why."""

    place: int
    author: AgencyId
    root: Digest
    reason: str


class _Link(NamedTuple):
    """One record, or one envelope, in its author's chain."""

    place: int
    previous: Digest
    digest: Digest
    root: Digest


class _Chain(NamedTuple):
    """Whose chain, of what (``records`` or ``envelopes``), in which life."""

    author: AgencyId
    what: str
    instance: bytes
    incarnation: int


class _Stood(NamedTuple):
    """An envelope as it stood on the events topic; ``fault`` where its author did not sign it."""

    root: Digest
    appended_at: Millis
    fault: bool


class Fsck:
    """One replay of an audit topic: ``count`` messages, of which ``stood`` are of the events topic."""

    def __init__(self, ground: Ground) -> None:
        self._ground, self._verified = ground, Verified()
        self.count, self.stood = 0, 0
        self._verdicts: list[Verdict] = []
        self._lives: dict[_Chain, dict[int, _Link]] = {}
        self._envelopes: dict[Place, _Stood] = {}
        self._accepted: dict[Digest, tuple[int, AgencyId, Statement]] = {}
        self._rests: dict[Digest, tuple[int, AgencyId, str]] = {}

    def take(self, data: bytes) -> None:
        """The topic's next message."""
        place = self.count
        self.count += 1
        try:
            message = decode_audit_record(data)
        except Invalid:
            self._say(place, "", "no message of the audit topic")
            return
        self.stood += message.place.topic == EVENTS
        if message.kind == 1:
            self._record(place, message)
        elif message.kind == 2:
            self._envelope(place, message)

    def statement(self, root: Digest) -> Statement | None:
        """What the records say of the acceptance of an envelope."""
        found = self._accepted.get(root)
        return found and found[2]

    def finish(self) -> list[Verdict]:
        """All verdicts, in the order of the tree."""
        return sorted([*self._verdicts, *self._chains(), *self._acceptances(), *self._unaccepted()])

    def _acceptances(self) -> Iterator[Verdict]:
        """What the broker accepted, against what stood there; two envelopes at one place."""
        places: dict[Place, Digest] = {}
        for root, (place, author, said) in self._accepted.items():
            where = Place(EVENTS, said.partition, said.offset)
            stood = self._envelopes.get(where)
            if stood is None:
                yield Verdict(place, author, root, "accepted what the notary never saw at that place")
            elif (stood.root, stood.appended_at) != (said.root, said.appended_at):
                yield Verdict(place, author, root, "the acceptance names another envelope or time than stood there")
            elif stood.fault:
                yield Verdict(place, author, root, "accepted an envelope that its author did not sign")
            if places.setdefault(where, root) != root:
                yield Verdict(place, author, root, "another envelope was accepted at the same place")

    def _unaccepted(self) -> Iterator[Verdict]:
        for root, (place, author, did) in self._rests.items():
            if root not in self._accepted:
                yield Verdict(place, author, root, f"{did}, but no acceptance of it is recorded")

    def _say(self, place: int, author: str, reason: str, root: bytes = NO_DIGEST) -> None:
        self._verdicts.append(Verdict(place, AgencyId(author), Digest(root), reason))

    def _envelope(self, place: int, message: AuditRecord) -> None:
        try:
            bones = decode_slice(message.body)
        except Invalid:
            self._say(place, "", "what the notary kept of an envelope cannot be read")
            return
        header, root, at = bones.header, bones.root, message.appended_at
        fault = False
        try:
            check_signature(header, bones.signed, root, ground=self._ground, accepted_at=at, verified=self._verified)
        except Invalid:
            fault = True  # anybody may write to the topic; to accept it would be a lie
        self._envelopes[message.place] = _Stood(root, at, fault)
        if not fault:
            chain = _Chain(header.agency, "envelopes", header.instance, header.incarnation)
            self._chained(chain, header.sequence, _Link(place, header.previous, root, root))

    def _record(self, place: int, message: AuditRecord) -> None:
        try:
            record, body, signed = decode_record(message.body)
        except (Invalid, ValueError):
            self._say(place, "", "not a record that can be read")
            return
        try:
            check_record(record, body, signed, ground=self._ground, at=message.appended_at, verified=self._verified)
        except Invalid:
            self._say(place, record.author, "the signature does not verify", record.root)
            return
        chain = _Chain(record.author, "records", record.instance, record.incarnation)
        if self._chained(chain, record.sequence, _Link(place, record.previous, record_digest(body), record.root)):
            self._meaning(place, record)

    def _chained(self, chain: _Chain, sequence: int, link: _Link) -> bool:
        """Puts it into its author's chain; false where the same stands in the topic already."""
        before = self._lives.setdefault(chain, {}).setdefault(sequence, link)
        if before is link:
            return True
        if before.digest != link.digest:
            self._say(link.place, chain.author, f"the author signed two {chain.what} with one number", link.root)
        return before.digest != link.digest

    def _chains(self) -> Iterator[Verdict]:
        """Gaps and breaks. Lives are looked at when all is read: partitions are copied one after the other."""
        for (author, what, _, _), life in self._lives.items():
            following, head = 0, Digest(NO_DIGEST)
            for sequence, link in sorted(life.items()):
                if sequence > following:
                    reason = f"{what} of the author are missing before this one: {sequence - following}"
                    yield Verdict(link.place, author, link.root, reason)
                elif link.previous != head:
                    yield Verdict(link.place, author, link.root, f"it does not continue the author's chain of {what}")
                following, head = sequence + 1, link.digest

    def _meaning(self, place: int, record: Record) -> None:
        if record.kind in _RESTS_ON_ACCEPTANCE:
            self._rests.setdefault(record.root, (place, record.author, _RESTS_ON_ACCEPTANCE[record.kind]))
        if record.kind != Kind.ACCEPTED:
            return
        try:
            said = decode_statement(record.body)
        except Invalid:
            self._say(place, record.author, "not an acceptance that can be read", record.root)
            return
        _, _, before = self._accepted.setdefault(record.root, (place, record.author, said))
        if before != said:
            self._say(place, record.author, "the envelope was accepted in two ways", record.root)


def check_record(
    record: Record, body: bytes, signed: Signed, *, ground: Ground, at: Millis, verified: Verified
) -> None:
    """That the author of a record signed it, with a key valid when the stream took it; what brokers say, a broker.

    Raises:
        Invalid: SIGNING_KEY or SIGNATURE.
    """
    find = ground.broker_key if record.kind in _BY_BROKERS else ground.signing_key
    public = find(record.author, signed.key_id, at)
    message = records_message(record.author, signed.key_id, signed.batch, signed.root_over(body))
    verified.check(public, signed.signature, message)
