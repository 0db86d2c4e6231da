"""Checkpoints (c2sp.org/tlog-checkpoint): a log's name, the size of its tree and its root, as the text of a note."""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

from broker.merkle import EMPTY_ROOT, HASH_SIZE

_DIGITS: Final = 19


class Checkpoint(NamedTuple):
    """What a log says of its tree. There are no extension lines: nobody could audit them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The text of the note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def decimal(text: str) -> int:
    """A number as these formats write it: ASCII digits without leading zeros, below 2^63.

    Raises:
        ValueError: not that.
    """
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or (text[0] == "0" and text != "0"):
        raise ValueError("not a number in its one form")
    number = int(text)
    if number >> 63:
        raise ValueError("a number that is too large")
    return number


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint with this text.

    Raises:
        ValueError: not one, or with extension lines, or an empty tree with another root than that of nothing.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise ValueError("a checkpoint has three lines")
    origin, size, root = lines[0], decimal(lines[1]), lines[2]
    try:
        digest = base64.b64decode(root, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a checkpoint's root is base64") from None
    found = Checkpoint(origin, size, digest)
    if not origin or len(digest) != HASH_SIZE or found.text() != text:
        raise ValueError("a checkpoint in another form than its one")
    if not size and digest != EMPTY_ROOT:
        raise ValueError("an empty tree has the root of nothing")
    return found
