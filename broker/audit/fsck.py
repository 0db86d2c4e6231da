"""What the notary does not say of what it copies: the verdicts of whoever replays the audit topic.

``Fsck`` takes the messages of the topic in order, makes the tree anew, and looks at each record's signature, at each
author's chain, and at what the broker says against what stood on the stream (``docs/spec/audit.md`` §5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from broker import merkle
from broker.audit.notary import AuditRecord, Place, decode_audit_record, entry_of
from broker.audit.record import Kind, Record, decode_record, record_digest, records_message
from broker.errors import Invalid
from broker.keys.handles import verify
from broker.names import AgencyId, Digest, KeyId, Millis
from broker.seal.acceptance import Statement, decode_statement
from broker.seal.envelope import decode_slice
from broker.seal.wire import NO_DIGEST
from broker.stream.topics import EVENTS
from broker.tlog.checkpoint import Checkpoint

FindKey = Callable[[AgencyId, KeyId, Millis], bytes]
"""The public key of an agency that was valid at a time; raises ``Invalid``."""
_BY_READERS: Final = (Kind.RECEIVED, Kind.OPENED)


class Verdict(NamedTuple):
    """One thing that does not fit: the message's place in the tree, whom to ask, the envelope, and why."""

    place: int
    author: AgencyId
    root: Digest
    reason: str


class _Link(NamedTuple):
    """One record in its author's chain."""

    place: int
    previous: Digest
    digest: Digest
    root: Digest


class Fsck:
    """One replay of an audit topic."""

    def __init__(self, find_key: FindKey) -> None:
        self._find_key = find_key
        self.leaves: list[bytes] = []
        self._verdicts: list[Verdict] = []
        self._lives: dict[tuple[AgencyId, bytes, int], dict[int, _Link]] = {}
        self._envelopes: dict[Place, tuple[Digest, Millis]] = {}
        self._accepted: dict[Digest, tuple[int, AgencyId, Statement]] = {}
        self._read: dict[Digest, tuple[int, AgencyId]] = {}

    def take(self, data: bytes) -> None:
        """The topic's next message."""
        index = len(self.leaves)
        self.leaves.append(merkle.leaf_hash(entry_of(data)))
        try:
            message = decode_audit_record(data)
        except Invalid:
            self._say(index, "", "no message of the audit topic")
            return
        if message.kind == 1:
            self._record(index, message)
        elif message.kind == 2:
            self._envelopes[message.place] = (decode_slice(message.body).root, message.appended_at)

    def finish(self, checkpoint: Checkpoint | None = None) -> list[Verdict]:
        """All verdicts, in the order of the tree; ``checkpoint``, its signatures checked, is compared with the tree."""
        found = [*self._verdicts, *self._chains()]
        for root, (index, author, said) in self._accepted.items():
            stood = self._envelopes.get(Place(EVENTS, said.partition, said.offset))
            if stood is None:
                found.append(Verdict(index, author, root, "accepted what the notary never saw at that place"))
            elif stood != (said.root, said.appended_at):
                found.append(
                    Verdict(index, author, root, "the acceptance names another envelope or time than stood there")
                )
        for root, (index, author) in self._read.items():
            if root not in self._accepted:
                found.append(Verdict(index, author, root, "received or opened, but no acceptance of it is recorded"))
        if checkpoint is not None:
            found += self._against(checkpoint)
        return sorted(found)

    def _against(self, checkpoint: Checkpoint) -> list[Verdict]:
        nobody, size = AgencyId(""), checkpoint.size
        if size > len(self.leaves):
            return [Verdict(len(self.leaves), nobody, Digest(NO_DIGEST), "messages of the checkpoint are withheld")]
        if merkle.root(self.leaves[:size]) != checkpoint.root:
            return [Verdict(size, nobody, Digest(NO_DIGEST), "the checkpoint is of another tree than the topic gives")]
        return []

    def _say(self, index: int, author: str, reason: str, root: bytes = NO_DIGEST) -> None:
        self._verdicts.append(Verdict(index, AgencyId(author), Digest(root), reason))

    def _record(self, index: int, message: AuditRecord) -> None:
        try:
            record, body, signed = decode_record(message.body)
        except (Invalid, ValueError):
            self._say(index, "", "not a record that can be read")
            return
        try:
            batch = signed.root_over(body)
            public = self._find_key(record.author, signed.key_id, message.appended_at)
            verify(public, signed.signature, records_message(record.author, signed.key_id, signed.batch, batch))
        except Invalid:
            self._say(index, record.author, "the signature does not verify", record.root)
            return
        if self._chained(index, record, body):
            self._meaning(index, record)

    def _chained(self, index: int, record: Record, body: bytes) -> bool:
        """Puts it into its author's chain; false where the record stands in the topic already."""
        life = self._lives.setdefault((record.author, record.instance, record.incarnation), {})
        link = _Link(index, record.previous, record_digest(body), record.root)
        before = life.setdefault(record.sequence, link)
        if before is link:
            return True
        if before.digest != link.digest:
            self._say(index, record.author, "the author signed two records with one number", record.root)
        return before.digest != link.digest

    def _chains(self) -> Iterator[Verdict]:
        """Gaps and breaks. Lives are looked at when all is read: partitions are copied one after the other."""
        for (author, _, _), life in self._lives.items():
            following, head = 0, Digest(NO_DIGEST)
            for sequence, link in sorted(life.items()):
                if sequence > following:
                    reason = f"records of the author are missing before this one: {sequence - following}"
                    yield Verdict(link.place, author, link.root, reason)
                elif link.previous != head:
                    yield Verdict(link.place, author, link.root, "the record does not continue the author's chain")
                following, head = sequence + 1, link.digest

    def _meaning(self, index: int, record: Record) -> None:
        if record.kind in _BY_READERS:
            self._read.setdefault(record.root, (index, record.author))
        if record.kind != Kind.ACCEPTED:
            return
        try:
            said = decode_statement(record.body)
        except Invalid:
            self._say(index, record.author, "not an acceptance that can be read", record.root)
            return
        _, _, before = self._accepted.setdefault(record.root, (index, record.author, said))
        if before != said:
            self._say(index, record.author, "the envelope was accepted in two ways", record.root)
