"""The case file: what an adapter knows of one case, rebuilt from its kept slices.

Facts, and with them roles, phases and grants, are a pure function of what was received (``broker.authority.fold``);
the mandates' proofs, which later messages cite, come from the same slices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from adapters.kept import Kept
from broker.authority import fold
from broker.authority import mandate as mandates
from broker.authority.model import Fact, Given
from broker.authority.state import CaseState
from broker.authority.table import Table
from broker.errors import KeyUnavailable
from broker.names import CaseRef, Compartment, Digest, EventId, PersonRef
from broker.receive import granted_links
from broker.seal.block import Label
from broker.seal.disclosure import decode_disclosure, disclose, recall_mandate
from broker.seal.header import decode_header
from broker.seal.open import View


@dataclass(slots=True)
class CaseFile:
    """One case as its adapter knows it. ``salt`` is set where this agency opened the case."""

    case: CaseRef
    table: Table
    state: CaseState
    aliases: dict[PersonRef, str] = field(default_factory=dict)
    salt: bytes | None = None
    _kept: dict[EventId, Kept] = field(default_factory=dict)
    _links: dict[Digest, bytes] = field(default_factory=dict)
    _here: dict[Digest, tuple[Kept, Label]] = field(default_factory=dict)

    @classmethod
    def empty(cls, case: CaseRef, table: Table) -> CaseFile:
        """A case of which nothing is known."""
        return cls(case, table, fold.fold(case, (), table=table))

    def add(self, view: View, fact: Fact) -> None:
        """Takes in one valid slice."""
        self.state = fold.add(self.state, fact)
        self.aliases.update((person, alias) for person, alias in view.content.aliases if person not in self.aliases)
        self.salt = self.salt or view.credentials.case_salt
        for link in (*view.credentials.chain, *view.content.roster):
            self._links.setdefault(recall_mandate(link).digest, link)

    def hold(self, kept: Kept) -> None:
        """Remembers where a kept slice stands, to open its blocks and to cite the mandates in it.

        Of two envelopes with the same event id the one accepted first counts, as in the fold.
        """
        event, place = kept.slice.header.event_id, kept.acceptance.statement.offset
        known = self._kept.get(event)
        if known is None or place < known.acceptance.statement.offset:
            self._kept[event] = kept
        for entry in kept.row.entries:
            if entry.label.compartment is Compartment.MANDATE:
                self._here.setdefault(mandates.digest(kept.open(entry.label)), (kept, entry.label))

    def kept(self, event: EventId) -> Kept | None:
        """The slice of an event, if this agency has one."""
        return self._kept.get(event)

    def all_kept(self) -> list[Kept]:
        """Every slice of the case that is here, in the order of acceptance."""
        return sorted(self._kept.values(), key=lambda one: one.acceptance.statement.offset)

    def given(self, digest: Digest) -> Given | None:
        """A mandate of this case that this agency was told of."""
        return self.state.given.get(digest)

    def link(self, digest: Digest) -> bytes:
        """The proof of a mandate, for those who will be shown it.

        Raises:
            KeyUnavailable: it is not, or no longer, here.
        """
        link = self._links.get(digest)
        if link is None and digest in self._here:
            kept, label = self._here[digest]
            link = disclose(kept.slice, kept.part(label), label, kept.disclose_seed(label))
            self._links[digest] = link
        if link is None:
            raise KeyUnavailable("the proof of a mandate is no longer here; ask the desk that gave it to send again")
        return link

    def granted(self, event: EventId, grant: EventId, label: Label) -> bytes | None:
        """The disclosure by which a grant shows this block of that event, or None.

        Raises:
            KeyUnavailable: what the grant showed was erased.
        """
        holder = self._kept.get(grant)
        if holder is None:
            return None
        for link in granted_links(holder):
            if shows(link, event, label):
                return link
        return None


def shows(link: bytes, event: EventId, label: Label) -> bool:
    """Whether a disclosure is of this block of this event."""
    disclosure = decode_disclosure(link)
    return disclosure.label == label and decode_header(disclosure.header_bytes)[0].event_id == event
