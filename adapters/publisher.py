"""Publishing: from a native record to signed bytes in the outbox, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from adapters.casefile import CaseFile
from adapters.casefiles import CaseFiles
from adapters.home import Home, Rules
from adapters.outbox import Writing
from adapters.outbox_file import Allocation, Draft
from broker.authority import values
from broker.authority.model import Plan
from broker.authority.plan import plan
from broker.authority.state import CaseState
from broker.clock import uuid7
from broker.dispatch import hint_headers
from broker.errors import InputError, Refused, StoreError
from broker.event.model import Event
from broker.event.record import parse
from broker.names import PERSON_SCOPED, AgencyId, CaseRef, Compartment, Digest, EventId, Millis
from broker.pipeline import publish
from broker.seal.block import Label
from broker.seal.compose import Materials, Place
from broker.seal.disclosure import disclose
from broker.seal.ground import BundleGround
from broker.seal.seal import Sealed, sign
from broker.seal.secrets import SealingSecrets


@dataclass(frozen=True, slots=True)
class Prepared:
    """A record that was checked and planned; nothing was sealed yet. ``file`` is None where it opens a case."""

    event: Event
    plan: Plan
    event_id: EventId
    case: CaseRef
    case_salt: bytes | None
    file: CaseFile | None
    at: Millis


@dataclass(frozen=True, slots=True)
class Published:
    """What was kept in the outbox; ``again`` says that an earlier call with the same idempotency key had kept it."""

    event_id: EventId
    case: CaseRef
    root: Digest
    again: bool = False


@dataclass(slots=True)
class Publisher:
    """Prepares records and keeps them sealed."""

    home: Home
    rules: Rules
    ground: BundleGround
    files: CaseFiles
    secrets: SealingSecrets

    def prepare(self, raw: bytes | Mapping[str, Any]) -> Prepared:
        """Checks a native record and decides who would read what; changes nothing.

        Raises:
            InputError: the record has faults, listed together.
            Refused: this agency may not send it, or must address somebody else.
        """
        home = self.home
        self.files.refresh()
        event = parse(raw, case=self.files, clock=home.clock, random=home.random)
        at = home.clock.now()
        event_id = uuid7(at, home.random)
        salt = home.random.bytes(16) if event.case is None else None
        case = event.case if event.case is not None else values.case_ref(home.agency, salt or b"")
        file = self.files.get(case) if event.case is not None else None
        directory = self.ground.directory(at)
        sender = directory.agency(home.agency, field="agency")
        if not sender.may_send(event.clear.post, event.type):
            raise Refused(f"post: the directory does not let {event.clear.post!r} send {event.type}; use another post")
        decided = plan(
            event,
            event_id=event_id,
            author=home.agency,
            state=file.state if file is not None else None,
            directory=directory,
            table=self.rules.table,
            decide=self.rules.policy.decide,
            at=at,
            case=case,
            case_salt=salt,
        )
        return Prepared(event, decided, event_id, case, salt, file, at)

    def prepare_all(
        self, raw: Sequence[bytes | Mapping[str, Any]], *, seen: Callable[[], None] = lambda: None
    ) -> list[Prepared]:
        """``prepare`` for each of several records; an error says in its detail which ``record`` it is of, from 1.

        Args:
            seen: called after each.

        Raises:
            InputError, Refused: see ``prepare``.
        """
        prepared = []
        for number, one in enumerate(raw, 1):
            try:
                prepared.append(self.prepare(one))
            except (InputError, Refused) as error:
                if len(raw) > 1:
                    error.detail["record"] = number
                raise
            seen()
        return prepared

    def publish(
        self,
        raw: Sequence[bytes | Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        seen: Callable[[], None] = lambda: None,
    ) -> list[Published]:
        """Seals records and keeps them in the outbox, all or none; durable on return.

        Args:
            seen: called twice for each record: when it is checked, and when it is sealed.

        Raises:
            InputError, Refused: see ``prepare``; nothing is kept.
            StoreError: the disk refused; nothing is kept.
        """
        outbox = self.home.outbox
        if idempotency_key is not None and (found := outbox.by_idempotency_key(idempotency_key)) is not None:
            return [Published(found.draft.event_id, found.draft.case, Digest(found.draft.root), again=True)]
        prepared = self.prepare_all(raw, seen=seen)
        with outbox.writing() as writing:
            sealed = []
            for one in prepared:
                sealed.append(self._seal(one, writing))
                seen()
            envelopes = sign([one for _, one in sealed], agency=self.home.agency, key=self.home.ring.signing)
            for (allocation, done), envelope in zip(sealed, envelopes, strict=True):
                header = done.header
                writing.put(
                    allocation,
                    Draft(
                        header.event_id,
                        done.root,
                        header.case_ref,
                        header.type,
                        envelope,
                        hint_headers(header),
                        idempotency_key,
                    ),
                )
        for one in prepared:
            self._remember(one)
        return [Published(done.header.event_id, done.header.case_ref, done.root) for _, done in sealed]

    def materials(self, prepared: Prepared) -> Materials:
        """What sealing needs beside the event and its plan: prekeys, proofs of mandates, what a grant hands on.

        Raises:
            KeyUnavailable: a reader has no prekey, or the proof of a mandate is gone.
            Refused: a grant names what this agency cannot read.
        """
        directory, auditors = self.ground.directory(prepared.at), self.ground.auditors(prepared.at)
        readers = {reader.agency for reader in prepared.plan.readers} | auditors
        file = prepared.file
        return Materials(
            event_id=prepared.event_id,
            case=prepared.case,
            case_salt=prepared.case_salt,
            bundle=self.ground.in_force(prepared.at),
            seen=file.state.last if file is not None else -1,
            sealed_at=prepared.at,
            prekeys={reader: directory.prekey(reader, prepared.at) for reader in sorted(readers)},
            auditors=auditors,
            chain=[file.link(digest) for digest in self._cited(prepared)] if file is not None else [],
            rosters=self._rosters(prepared),
            back_reading=self._back_reading(prepared),
        )

    def _seal(self, prepared: Prepared, writing: Writing) -> tuple[Allocation, Sealed]:
        materials = self.materials(prepared)
        allocation = writing.next(list(materials.prekeys))
        place = Place(
            self.home.agency,
            self.home.outbox.instance,
            allocation.incarnation,
            allocation.sequence,
            Digest(allocation.previous_root),
            allocation.counters,
        )
        sealed = publish(prepared.event, prepared.plan, place, materials, secrets=self.secrets, random=self.home.random)
        writing.link(allocation, sealed.root)
        return allocation, sealed

    @staticmethod
    def _cited(prepared: Prepared) -> list[Digest]:
        """The mandates under which this event is sent and gives roles, with all that prove them, opener first."""
        if prepared.file is None:
            return []
        state = prepared.file.state
        cited = [claim.mandate for claim in prepared.plan.claims if claim.mandate is not None]
        cited += [one.under_mandate for one in prepared.plan.mandates if one.under_mandate in state.given]
        return [given.digest for given in state.chain(dict.fromkeys(cited))]

    def _rosters(self, prepared: Prepared) -> dict[AgencyId, list[bytes]]:
        """What each reader is told of earlier mandates, with all that prove them, unless it was told before."""
        file = prepared.file
        if file is None:
            return {}
        shown = frozenset(self._cited(prepared))
        found = {}
        for reader in prepared.plan.readers:
            told = shown | self.home.inbox.casebook.told(reader.agency)
            fresh = [given.digest for given in file.state.chain(reader.roster) if given.digest not in told]
            if fresh:
                found[reader.agency] = [file.link(digest) for digest in fresh]
        return found

    def _back_reading(self, prepared: Prepared) -> dict[AgencyId, list[bytes]]:
        """The old blocks that a grant hands on.

        Raises:
            Refused: this agency cannot read one of them itself.
        """
        file = prepared.file
        handed = handed_on(prepared.event, file.state) if file is not None else None
        if file is None or handed is None:
            return {}
        links = []
        for event in handed.messages:
            kept = file.kept(event)
            for label in handed.labels:
                if kept is not None and any(entry.label == label for entry in kept.row.entries):
                    links.append(disclose(kept.slice, kept.part(label), label, kept.disclose_seed(label)))
        if handed.messages and not links:
            raise Refused("none of the messages named holds a block that this agency reads and could hand on")
        return {handed.agency: links} if links else {}

    def _remember(self, prepared: Prepared) -> None:
        """Names of new persons, and who was told what: for convenience, so after the outbox.

        What is in the outbox is published: an error here must not read as if it were not. Names come again with the
        agency's own slice, and who was not noted as told is told once more.
        """
        casebook = self.home.inbox.casebook
        with suppress(StoreError), self.home.inbox.writing():
            for person, alias in prepared.event.aliases.items():
                casebook.put_label(prepared.case, person, alias)
            for reader in prepared.plan.readers:
                if reader.roster:
                    casebook.tell(reader.agency, reader.roster)


@dataclass(frozen=True, slots=True)
class HandedOn:
    """Old blocks that a grant shows to its reader."""

    agency: AgencyId
    messages: tuple[EventId, ...]
    labels: tuple[Label, ...]


def handed_on(event: Event, state: CaseState) -> HandedOn | None:
    """What an ``access.grant`` or ``disclosure.decision`` hands on of the messages that it names; else None."""
    fields = event.blocks.get((Compartment.ACCESS, None), {})
    if event.type == "access.grant":
        prefix, agency = "grant", values.agency(fields.get("grant.to"))
    elif event.type == "disclosure.decision" and event.variant != "refuse":
        prefix = "dec"
        request = state.facts.get(values.event_id(fields["dec.request"]))
        agency = request.author if request is not None else None
    else:
        return None
    if agency is None:
        return None
    person = values.person(fields.get(f"{prefix}.person"))
    labels = tuple(
        Label(compartment, 0, person if compartment in PERSON_SCOPED else None)
        for compartment in sorted(values.compartments(fields.get(f"{prefix}.compartments")))
    )
    named = fields.get(f"{prefix}.messages")
    return HandedOn(agency, values.event_ids(named) if values.known(named) else (), labels)
