"""Tiles and entry bundles (c2sp.org/tlog-tiles): a tree as files that never change.

A tile of level L holds up to 256 hashes, each over 256^L leaves. The names are those of the web resources.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from broker.merkle import HASH_SIZE, levels, node_hash

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
ENTRIES: Final = -1
"""The level that stands for entry bundles."""
ENTRY_BYTES: Final = 65_535
_LEVELS: Final = 64
_PATH: Final = re.compile(r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


class Tile(NamedTuple):
    """One tile, or one entry bundle where ``level`` is ``ENTRIES``; partial where ``width`` is below 256."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """The name of the resource, without the log's prefix."""
        groups = [f"{self.number % 1000:03}"]
        rest = self.number // 1000
        while rest:
            groups.insert(0, f"x{rest % 1000:03}")
            rest //= 1000
        level = "entries" if self.level == ENTRIES else str(self.level)
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{level}/{'/'.join(groups)}{partial}"


def parse_path(path: str) -> Tile:
    """The tile of this name.

    Raises:
        ValueError: not the one name of a tile.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError("not the name of a tile")
    level, groups, width = found.groups()
    index = int(groups.replace("x", "").replace("/", ""))
    tile = Tile(ENTRIES if level == "entries" else int(level), index, WIDTH if width is None else int(width))
    if tile.level >= _LEVELS or tile.path != path:
        raise ValueError("not the name of a tile")
    return tile


def tiles_of(size: int, *, level: int) -> Iterator[Tile]:
    """The tiles of one level (``ENTRIES`` for bundles) of a tree of ``size`` leaves, in order."""
    count = size >> (HEIGHT * max(level, 0))
    yield from (Tile(level, index) for index in range(count // WIDTH))
    if count % WIDTH:
        yield Tile(level, count // WIDTH, count % WIDTH)


def right_edge(size: int) -> list[Tile]:
    """The partial tiles of a tree of ``size`` leaves, one for each level that has one, from the bottom."""
    found, level = [], 0
    while count := size >> (HEIGHT * level):
        if count % WIDTH:
            found.append(Tile(level, count // WIDTH, count % WIDTH))
        level += 1
    return found


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of an entry bundle.

    Raises:
        ValueError: an entry is longer than its length field can say.
    """
    if any(len(entry) > ENTRY_BYTES for entry in entries):
        raise ValueError("an entry of a log has at most 65,535 bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle of this width.

    Raises:
        ValueError: not such a bundle.
    """
    entries, at = [], 0
    for _ in range(width):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise ValueError("an entry bundle is cut short")
        entries.append(data[at + 2 : end])
        at = end
    if at != len(data):
        raise ValueError("an entry bundle has bytes left over")
    return entries


def hashes(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile of this width.

    Raises:
        ValueError: not such a tile.
    """
    if len(data) != width * HASH_SIZE:
        raise ValueError("a tile has another width than its name says")
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]


class TileNodes:
    """Hashes of a tree of ``size`` leaves, read from its tiles; use it as ``tree.Nodes``.

    ``read`` gives the bytes of a tile, or raises what its store raises. Tiles are not verified here: prove what comes
    out of them against a signed root.
    """

    def __init__(self, size: int, read: Callable[[Tile], bytes]) -> None:
        self._size, self._read = size, read
        self._kept: dict[tuple[int, int], list[list[bytes]]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """The hash over the leaves ``index << level`` to ``(index + 1) << level``.

        Raises:
            ValueError: they are not all in the tree, or a tile is not one.
        """
        if (index + 1) << level > self._size:
            raise ValueError("the tree has no such complete subtree")
        tile_level, inside = divmod(level, HEIGHT)
        place = index << inside
        kept = self._tile(tile_level, place // WIDTH)
        return kept[inside][(place % WIDTH) >> inside]

    def _tile(self, level: int, index: int) -> list[list[bytes]]:
        found = self._kept.get((level, index))
        if found is None:
            count = self._size >> (HEIGHT * level)
            width = min(WIDTH, count - index * WIDTH)
            found = self._kept[level, index] = levels(hashes(self._read(Tile(level, index, width)), width))
        return found


class Edge:
    """The right edge of a growing tree: what is needed to append, and nothing else."""

    def __init__(self, size: int, read: Callable[[Tile], bytes]) -> None:
        """The edge of a tree of ``size`` leaves, from its partial tiles.

        Raises:
            ValueError: a tile is not one.
        """
        self.size = size
        self._open: dict[int, list[bytes]] = {tile.level: hashes(read(tile), tile.width) for tile in right_edge(size)}

    def append(self, leaves: Sequence[bytes]) -> dict[Tile, bytes]:
        """Takes in leaf hashes; gives every tile that is new: the full ones, and the partial ones of the new size."""
        made: dict[Tile, bytes] = {}
        for leaf in leaves:
            self.size += 1
            self._push(0, leaf, made)
        for tile in right_edge(self.size):
            made[tile] = b"".join(self._open[tile.level])
        return made

    def _push(self, level: int, value: bytes, made: dict[Tile, bytes]) -> None:
        held = self._open.setdefault(level, [])
        held.append(value)
        if len(held) == WIDTH:
            index = (self.size >> (HEIGHT * (level + 1))) - 1
            made[Tile(level, index)] = b"".join(held)
            self._open[level] = []
            self._push(level + 1, levels(held)[-1][0], made)

    def root(self) -> bytes:
        """The root of the tree as it is.

        Raises:
            ValueError: the tree is empty.
        """
        found: bytes | None = None
        for level in sorted(self._open):
            for value in _peaks(self._open[level]):
                found = value if found is None else node_hash(value, found)
        if found is None:
            raise ValueError("an empty tree has no edge")
        return found


def _peaks(held: Sequence[bytes]) -> Iterator[bytes]:
    """The roots of the complete subtrees of a partial tile, from the right."""
    end, bit = len(held), 1
    while end:
        if end & bit:
            yield levels(held[end - bit : end])[-1][0]
            end -= bit
        bit <<= 1
