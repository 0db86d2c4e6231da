"""Opening: the decision is taken again, the receipt is durable, and only then is content decrypted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.casefile import CaseFile
from adapters.casefiles import CaseFiles
from adapters.home import Home, Rules
from adapters.inbox_file import Opening
from adapters.kept import Kept
from broker.authority.model import Fact, Grant
from broker.clock import rfc3339
from broker.errors import InputError, Invalid, KeyUnavailable, Refused
from broker.event.codec import decode_block
from broker.event.record import to_native
from broker.names import PERSON_SCOPED, Basis, Compartment, EventId, Millis, PersonRef, Role
from broker.policy.model import Question
from broker.receive import CATALOGUED, setting_of
from broker.seal.block import Label
from broker.seal.check import Verified
from broker.seal.disclosure import verify_disclosure
from broker.seal.ground import BundleGround
from broker.seal.slot import RowEntry

_CODE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_CODES: Final = {"post": "duty-officer, chairperson, …", "purpose": "case-work, supervision, court, …"}
"""Both stand in records that others read, so nobody's name and no sentence gets there."""
ERASED: Final = b""
"""Stands for what a grant showed, where the key of that was erased."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block that was asked for: its fields as JSON values, or why it stays closed.

    ``basis`` says on what ground it was read: ``author``, ``role HP by missing.alert.spotting``, ``grant <event>``.
    ``check`` is the number of the check that the block itself fails: its sender sealed something else than it said. The
    event stays valid, for others cannot see it.
    """

    compartment: Compartment
    person: PersonRef | None
    alias: str
    basis: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    check: int | None = None


@dataclass(slots=True)
class Opener:
    """Opens blocks of one agency's inbox."""

    home: Home
    rules: Rules
    ground: BundleGround
    files: CaseFiles

    def open(
        self,
        event: EventId,
        *,
        post: str,
        purpose: str,
        compartments: Sequence[Compartment] = (),
        person: str | None = None,
        only_check: bool = False,
    ) -> list[Block]:
        """The blocks of an event that this agency may read now; ``only_check`` decides and decrypts nothing.

        Args:
            compartments: which to open; all that it was given, where empty.
            person: alias or reference; all, where None.

        Raises:
            InputError: no such event here, the person is not known, or post or purpose is no code.
            KeyUnavailable: this agency erased the case.
            Refused: this agency has no key to a compartment that was named.
            StoreError: the receipt could not be kept; nothing was opened.
        """
        for name, code in (("post", post), ("purpose", purpose)):
            if not _CODE.fullmatch(code):
                like = f"small letters, digits and hyphens: {_CODES[name]}"
                raise InputError(f"--{name}: write a code of {like}", field=name)
        self.files.refresh()
        file, kept = self._find(event)
        who = self._person(file, person)
        wanted = [one for one in self._mine(file, kept, event) if self._matches(one, compartments, who, person)]
        missing = set(compartments) - {label.compartment for label, _, _ in wanted}
        if missing:
            names = ", ".join(sorted(one.label for one in missing))
            raise Refused(f"this agency has no key to {names} of this event; ask its owner with disclosure.request")
        now = self.home.clock.now()
        decided = [
            (label, basis, self._refusal(file, kept, event, label, basis, source, now), source)
            for label, basis, source in wanted
        ]
        if not only_check:
            self._receipt(event, decided, post=post, purpose=purpose, now=now)
        return [
            self._block(file, event, label, basis, refused, source, read=not only_check)
            for label, basis, refused, source in decided
        ]

    def _find(self, event: EventId) -> tuple[CaseFile, Kept | None]:
        for one in self.home.inbox.slices_of(event):
            file = self.files.get(one.arrival.case)
            kept = file.kept(event)
            if kept is not None:
                return file, kept
        for case in self.home.inbox.cases():
            file = self.files.get(case)
            if self._grants(file, event):
                return file, None
        erased = self.files.erased(event)
        if erased is not None:
            raise KeyUnavailable(f"this agency erased the keys of this event's case at {rfc3339(erased)}")
        raise InputError("no such event in the inbox of this agency; casebridge inbox lists them", field="event")

    def _grants(self, file: CaseFile, event: EventId) -> list[Grant]:
        return [
            grant
            for grant in file.state.grants.values()
            if grant.agency == self.home.agency and event in grant.messages
        ]

    def _person(self, file: CaseFile, person: str | None) -> PersonRef | None:
        if person is None:
            return None
        found = self.files.person(file.case, person)
        if found is None:
            raise InputError(f"person {person!r} is not known in this case", field="person")
        return found

    @staticmethod
    def _matches(
        one: tuple[Label, RowEntry | Grant, Kept | bytes],
        compartments: Sequence[Compartment],
        who: PersonRef | None,
        person: str | None,
    ) -> bool:
        label = one[0]
        return (not compartments or label.compartment in compartments) and (
            person is None or label.person in (None, who)
        )

    def _mine(
        self, file: CaseFile, kept: Kept | None, event: EventId
    ) -> list[tuple[Label, RowEntry | Grant, Kept | bytes]]:
        """Each block of the event to which this agency has a key, with its ground and where it stands."""
        found: dict[Label, tuple[RowEntry | Grant, Kept | bytes]] = {}
        if kept is not None:
            for entry in kept.row.entries:
                if entry.label.compartment < CATALOGUED:
                    found[entry.label] = (entry, kept)
        for grant in self._grants(file, event):
            for compartment in sorted(grant.compartments):
                label = Label(compartment, 0, grant.person if compartment in PERSON_SCOPED else None)
                try:
                    link = file.granted(event, grant.id, label)
                except KeyUnavailable:
                    link = ERASED
                if link is not None:
                    found.setdefault(label, (grant, link))
        order = sorted(found, key=lambda label: (label.compartment, _name(file, label)))
        return [(label, *found[label]) for label in order]

    def _refusal(
        self,
        file: CaseFile,
        kept: Kept | None,
        event: EventId,
        label: Label,
        ground: RowEntry | Grant,
        source: Kept | bytes,
        now: Millis,
    ) -> str:
        """Why a block may not be opened now, or empty (domain §5.2.2 rule 7)."""
        if source == ERASED:
            return "closed: this agency erased the key of this block"
        if isinstance(source, Kept):
            try:
                source.seed(label)
            except KeyUnavailable as error:
                return f"closed: {error}"
        if isinstance(ground, Grant):
            return "" if file.state.grant_live(ground, now) else "closed: the grant has ended or was withdrawn"
        if ground.basis is Basis.GRANT:
            grant = file.state.grants.get(EventId(ground.ground))
            live = grant is not None and file.state.grant_live(grant, now)
            return "" if live else "closed: the grant has ended or was withdrawn"
        if ground.basis is not Basis.ROLE or kept is None:
            return ""
        fact = file.state.facts[event]
        if any(self._permits(file, kept, fact, label, ground.role, person, now) for person in fact.persons):
            return ""
        if file.state.expired(event, label.person, now):
            return "closed, recalled: the alert has ended"
        return "closed: in the phase that the person is in now, this role does not read it"

    def _permits(
        self, file: CaseFile, kept: Kept, fact: Fact, label: Label, role: Role, person: PersonRef, now: Millis
    ) -> bool:
        if label.person not in (None, person):
            return False
        setting = setting_of(kept, fact, self.rules.catalogue, self.rules.table, file.state)
        kind = self.ground.directory(now).agency(self.home.agency).kind
        question = Question(
            setting.type,
            setting.variant,
            label.compartment,
            role,
            kind,
            file.state.phase(person),
            file.state.expired(fact.event_id, person, now),
            file.state.movement_ended(fact.event_id, now),
        )
        decision = self.rules.policy.decide(question)
        return decision.permit and not decision.error

    def _receipt(
        self,
        event: EventId,
        decided: Sequence[tuple[Label, RowEntry | Grant, str, Kept | bytes]],
        *,
        post: str,
        purpose: str,
        now: Millis,
    ) -> None:
        openings = [
            Opening(
                event if isinstance(source, Kept) else self._granting(ground),
                label.compartment,
                label.person,
                post,
                purpose,
                now,
            )
            for label, ground, refused, source in decided
            if not refused
        ]
        if openings:
            self.home.inbox.opening(openings)

    @staticmethod
    def _granting(ground: RowEntry | Grant) -> EventId:
        if not isinstance(ground, Grant):
            raise TypeError("only a grant shows a block of an event that is not here")
        return ground.id

    def _block(
        self,
        file: CaseFile,
        event: EventId,
        label: Label,
        ground: RowEntry | Grant,
        refused: str,
        source: Kept | bytes,
        *,
        read: bool,
    ) -> Block:
        alias = _name(file, label)
        basis = describe(ground)
        if refused or not read:
            return Block(label.compartment, label.person, alias, basis, refused=refused)
        try:
            if isinstance(source, Kept):
                header, content = source.slice.header, source.open(label)
            else:
                disclosed = verify_disclosure(source, ground=self.ground, verified=Verified())
                header, content = disclosed.header, disclosed.content
            # An amend carries the schema of what it amends, and no variant of it.
            variant = None if header.type == "amend" else header.variant
            fields = decode_block(header.schema_id, label.compartment, content, variant=variant)
        except KeyUnavailable as error:
            return Block(label.compartment, label.person, alias, basis, refused=f"closed: {error}")
        except Invalid as error:
            told = f"broken: {error} (check {error.check}); ask its sender to send it again"
            return Block(label.compartment, label.person, alias, basis, refused=told, check=error.check)
        native = to_native(header.schema_id, label.compartment, fields, aliases=file.aliases)
        return Block(label.compartment, label.person, alias, basis, native)


def _name(file: CaseFile, label: Label) -> str:
    """How the person of a block is called, ``-`` where it is of no one person."""
    return file.aliases.get(label.person, "?") if label.person is not None else "-"


def describe(ground: RowEntry | Grant) -> str:
    """The ground of a reading in words."""
    if isinstance(ground, Grant):
        return f"grant {ground.id.hex()}"
    match ground.basis:
        case Basis.AUTHOR:
            return "author"
        case Basis.GRANT:
            return f"grant {ground.ground.hex()}"
        case Basis.ROLE:
            return f"role {ground.role.label} by {ground.ground.decode()}"
        case _:
            return "party"
