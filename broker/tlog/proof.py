"""Proof files (c2sp.org/tlog-proof): that an entry stands in a log, to be checked off line with a policy alone."""

from __future__ import annotations

import base64
from typing import Final, NamedTuple

from broker.merkle import HASH_SIZE
from broker.tlog.checkpoint import Checkpoint, decimal
from broker.tlog.note import Note, Seen, decode64, parse_note
from broker.tlog.policy import Policy
from broker.tlog.tree import verify_inclusion

_HEAD: Final = "c2sp.org/tlog-proof@v1"
_STEPS: Final = 63


class Proof(NamedTuple):
    """An entry's place, the path from it to the root, and the checkpoint. ``extra`` is proved by nothing."""

    place: int
    path: tuple[bytes, ...]
    note: Note
    extra: bytes | None = None

    def encode(self) -> bytes:
        """The file's bytes."""
        lines = [_HEAD]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.place}")
        lines += [base64.b64encode(step).decode() for step in self.path]
        return "".join(f"{line}\n" for line in (*lines, "")).encode() + self.note.encode()

    def check(self, leaf: bytes, policy: Policy) -> tuple[Checkpoint, list[Seen]]:
        """That the entry with this leaf hash stands in a log that the policy believes; the checkpoint and who signed.

        Raises:
            ValueError: not shown, and why.
        """
        checkpoint, seen = policy.check(self.note)
        verify_inclusion(leaf, self.place, checkpoint.size, self.path, checkpoint.root)
        return checkpoint, seen


def parse_proof(data: bytes) -> Proof:
    """The proof in a file.

    Raises:
        ValueError: not one, or not in its one form.
    """
    head, found, rest = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ValueError("not a proof") from None
    if not found or lines.pop(0) != _HEAD or not lines:
        raise ValueError("not a proof")
    extra: bytes | None = None
    if lines[0].startswith("extra "):
        extra = decode64(lines.pop(0).removeprefix("extra "))
    if not lines or not lines[0].startswith("index "):
        raise ValueError("a proof names no index")
    index = decimal(lines.pop(0).removeprefix("index "))
    path = tuple(map(decode64, lines))
    if len(path) > _STEPS or any(len(step) != HASH_SIZE for step in path):
        raise ValueError("the path of a proof is not one of hashes")
    proof = Proof(index, path, parse_note(rest), extra)
    if proof.encode() != data:
        raise ValueError("a proof in another form than its one")
    return proof
