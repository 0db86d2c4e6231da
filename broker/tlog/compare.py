"""A tree made anew from its entries, against the log that serves it: contents, not only consistency.

Memory is flat: of the tree only its right edge is held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from broker.errors import StoreError
from broker.merkle import EMPTY_ROOT, leaf_hash
from broker.tlog.checkpoint import Checkpoint
from broker.tlog.tiles import ENTRIES, WIDTH, Edge, Tile, encode_bundle


class Difference(NamedTuple):
    """Something that a log serves otherwise than its entries give it; ``place`` is the entry where that begins."""

    place: int
    reason: str


class Comparison:
    """One comparison. Give it every entry from the first on, then ask what differs; entries beyond the checkpoint
    are not the checkpoint's."""

    def __init__(self, checkpoint: Checkpoint, read: Callable[[Tile], bytes]) -> None:
        self._checkpoint, self._read = checkpoint, read
        self._edge = Edge(0, read)
        self._waiting: list[bytes] = []
        self._found: list[Difference] = []

    def take(self, entry: bytes) -> None:
        """The next entry."""
        if self._edge.size + len(self._waiting) < self._checkpoint.size:
            self._waiting.append(entry)
            if len(self._waiting) == WIDTH:
                self._bundle(whole=True)

    def finish(self) -> list[Difference]:
        """What differs, in the order of the tree."""
        if self._waiting:
            self._bundle(whole=False)
        size = self._checkpoint.size
        root = self._edge.root() if self._edge.size else EMPTY_ROOT
        if self._edge.size < size:
            self._found.append(Difference(self._edge.size, "messages of the checkpoint are withheld"))
        elif root != self._checkpoint.root:
            self._found.append(Difference(size, "the checkpoint is of another tree than the topic gives"))
        return sorted(self._found)

    def _bundle(self, *, whole: bool) -> None:
        number, entries = self._edge.size // WIDTH, self._waiting
        self._same(Tile(ENTRIES, number, len(entries)), encode_bundle(entries))
        made = self._edge.append([leaf_hash(entry) for entry in entries])
        for tile, data in made.items():
            if tile.width == WIDTH or not whole or self._edge.size == self._checkpoint.size:
                self._same(tile, data)
        self._waiting = []

    def _same(self, tile: Tile, data: bytes) -> None:
        place = tile.number * WIDTH ** (max(tile.level, 0) + 1)
        try:
            there = self._read(tile)
        except (StoreError, ValueError):
            self._found.append(Difference(place, f"the log does not serve {tile.path}"))
            return
        if there != data:
            self._found.append(Difference(place, f"{tile.path} is served with other contents than the topic gives"))
