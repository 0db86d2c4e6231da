"""The case files of an adapter, rebuilt from the inbox when asked for and kept until something is stored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from adapters.casefile import CaseFile
from adapters.home import Home, Rules
from adapters.inbox_file import State
from adapters.kept import Kept, recall
from broker.errors import InputError, KeyUnavailable
from broker.names import CaseRef, EventId, Millis, PersonRef, case_name
from broker.receive import recall_fact
from broker.seal.ground import Ground

_KEPT: Final = 64
"""Case files held in memory between batches."""


@dataclass(slots=True)
class CaseFiles:
    """All cases that this agency knows; also what a native record names them by (``broker.event.record.CaseView``)."""

    home: Home
    rules: Rules
    ground: Ground
    _open: OrderedDict[CaseRef, CaseFile] = field(default_factory=OrderedDict)
    _version: tuple[int, int] = (-1, -1)

    def get(self, case: CaseRef) -> CaseFile:
        """The file of a case, empty where nothing is known."""
        found = self._open.get(case)
        if found is None:
            found = self._open[case] = self._load(case)
        self._open.move_to_end(case)
        return found

    def trim(self) -> None:
        """Lets go of the files that were not asked for lately; only between batches, when all is stored."""
        while len(self._open) > _KEPT:
            self._open.popitem(last=False)

    def refresh(self) -> None:
        """Forgets, if another process of this home has stored or erased something; not in the middle of a batch."""
        version = (self.home.inbox.version, self.home.keystore.version)
        if version != self._version:
            self._open.clear()
            self._version = version

    def forget(self) -> None:
        """Everything is read again when it is asked for next."""
        self._open.clear()

    def _load(self, case: CaseRef) -> CaseFile:
        file = CaseFile.empty(case, self.rules.table)
        memos = self.home.inbox.casebook.memos(case)
        after = 0
        while batch := self.home.inbox.slices(case=case, state=State.RECEIVED, after=after):
            for one in batch:
                after = one.id
                place = one.arrival.accepted
                memo = None if place is None else memos.get((one.arrival.event_id, place.offset))
                if memo is None:
                    continue
                try:
                    kept = recall(one.arrival.slice, memo, self.home.keystore)
                    self.take(file, kept)
                except KeyUnavailable:
                    continue
        file.aliases.update(self.home.inbox.casebook.labels(case))
        return file

    def take(self, file: CaseFile, kept: Kept) -> None:
        """Takes a kept slice into its file."""
        fact = recall_fact(kept, self.home.agency, self.ground)
        file.add(kept, fact)
        file.hold(kept)

    def resolve_case(self, text: str) -> CaseRef | None:
        """See ``CaseView``."""
        for case in self.home.inbox.cases():
            if text in (case_name(case), case.hex()):
                return case
        return None

    def known(self, text: str) -> CaseRef:
        """The case of this name.

        Raises:
            InputError: this agency knows no such case.
        """
        case = self.resolve_case(text)
        if case is None:
            raise InputError(f"case {text!r} is not known here; casebridge inbox lists the cases", field="case")
        return case

    def person(self, case: CaseRef, alias: str) -> PersonRef | None:
        """See ``CaseView``."""
        for person, name in self.get(case).aliases.items():
            if alias in (name, person.hex()):
                return person
        return None

    def erased(self, event: EventId) -> Millis | None:
        """When this agency erased the case of an event that it had received; None where it did not."""
        for one in self.home.inbox.slices_of(event):
            if one.arrival.state is State.RECEIVED and self.get(one.arrival.case).kept(event) is None:
                whole = [erasure.at for erasure in self.home.keystore.erasures(one.arrival.case) if not erasure.person]
                return whole[-1] if whole else None
        return None

    def aliases(self, case: CaseRef) -> Mapping[PersonRef, str]:
        """See ``CaseView``."""
        return self.get(case).aliases

    def kind_of(self, event: EventId) -> tuple[str, str] | None:
        """See ``CaseView``."""
        try:
            arrival = self.home.inbox.get(event).arrival
        except InputError:
            return None
        return arrival.type, arrival.variant
