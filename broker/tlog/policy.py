"""Trust policies (c2sp.org/tlog-policy): which logs are known, and which witnesses make a checkpoint believed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from broker.tlog.checkpoint import Checkpoint, decimal, parse_checkpoint
from broker.tlog.note import COSIGNATURE_ED25519, COSIGNATURE_MLDSA44, Note, Seen, Verifier, parse_vkey, verify_note

NONE: Final = "none"
_SPACE: Final = re.compile(r"[ \t]+")
_COSIGNERS: Final = frozenset((COSIGNATURE_ED25519, COSIGNATURE_MLDSA44))


@dataclass(frozen=True, slots=True)
class Group:
    """At least ``threshold`` of the members, witnesses or groups, must have cosigned."""

    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Logs, witnesses by name, groups by name, and the name that is the quorum (``none``: nobody need cosign)."""

    logs: tuple[Verifier, ...]
    witnesses: Mapping[str, Verifier]
    groups: Mapping[str, Group]
    quorum: str

    def check(self, note: Note) -> tuple[Checkpoint, list[Seen]]:
        """The checkpoint of a note that a known log signed and the quorum cosigned, with all signatures that hold.

        Raises:
            ValueError: not believed, and why.
        """
        checkpoint = parse_checkpoint(note.text)
        logs = [log for log in self.logs if log.name == checkpoint.origin]
        if not logs:
            raise ValueError("the log is not one that this policy knows")
        seen = [*verify_note(note, logs), *self._cosigned(note)]
        if not self._holds(self.quorum, {(one.name, one.key_id) for one in seen}):
            raise ValueError("too few witnesses of the policy have cosigned")
        return checkpoint, seen

    def _cosigned(self, note: Note) -> list[Seen]:
        known = {(one.name, one.key_id) for one in self.witnesses.values()}
        if not any((line.name, line.key_id) in known for line in note.lines):
            return []
        return verify_note(note, self.witnesses.values())

    def _holds(self, name: str, seen: set[tuple[str, bytes]]) -> bool:
        if name == NONE:
            return True
        witness = self.witnesses.get(name)
        if witness is not None:
            return (witness.name, witness.key_id) in seen
        group = self.groups[name]
        return sum(self._holds(member, seen) for member in group.members) >= group.threshold


def parse_policy(data: bytes) -> Policy:
    """The policy in a file.

    Raises:
        ValueError: not one; the message names the line.
    """
    if any((byte < 0x20 and byte not in b"\t\n") or byte == 0x7F for byte in data):
        raise ValueError("a policy has no control characters but tab and newline")
    if data and not data.endswith(b"\n"):
        raise ValueError("the last line of a policy ends with a newline")
    reading = _Reading()
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = _SPACE.split(line.strip(" \t"))
        if words == [""] or words[0].startswith("#"):
            continue
        try:
            reading.line(words)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return reading.policy()


class _Reading:
    """The lines of a policy that were read so far."""

    def __init__(self) -> None:
        self.logs: list[Verifier] = []
        self.witnesses: dict[str, Verifier] = {}
        self.groups: dict[str, Group] = {}
        self.members: set[str] = set()
        self.quorum: str | None = None

    def line(self, words: list[str]) -> None:
        match words:
            case ["log", key] | ["log", key, _]:
                self._log(parse_vkey(key))
            case ["witness", name, key] | ["witness", name, key, _]:
                self._witness(name, parse_vkey(key))
            case ["group", name, threshold, *members] if members:
                self._group(name, threshold, members)
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise ValueError("not a line of a policy")

    def _log(self, key: Verifier) -> None:
        _no_second(key, self.logs)
        self.logs.append(key)

    def _witness(self, name: str, key: Verifier) -> None:
        if key.kind not in _COSIGNERS:
            raise ValueError("the key of a witness is not one that cosigns")
        _no_second(key, self.witnesses.values())
        self._new(name)
        self.witnesses[name] = key

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        for member in members:
            self._known(member)
            if member in self.members:
                raise ValueError(f"{member} is a member of a group already")
            self.members.add(member)
        count = {"any": 1, "all": len(members)}.get(threshold) or decimal(threshold)
        if not 1 <= count <= len(members):
            raise ValueError("a group asks for more members than it has, or for none")
        self._new(name)
        self.groups[name] = Group(count, tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise ValueError("a policy has one quorum")
        if name != NONE:
            self._known(name)
        self.quorum = name

    def _new(self, name: str) -> None:
        if name == NONE or name in self.witnesses or name in self.groups:
            raise ValueError(f"the name {name} is taken")

    def _known(self, name: str) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise ValueError(f"{name} is not defined above")

    def policy(self) -> Policy:
        if self.quorum is None:
            raise ValueError("a policy has one quorum")
        return Policy(tuple(self.logs), dict(self.witnesses), dict(self.groups), self.quorum)


def _no_second(key: Verifier, others: Iterable[Verifier]) -> None:
    if any(one.public == key.public for one in others):
        raise ValueError("a key stands in the policy twice")
