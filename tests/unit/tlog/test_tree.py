"""Trees, proofs and tiles of the transparency log, held against the tree of ``broker.merkle`` and published values."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.merkle import EMPTY_ROOT, leaf_hash, levels
from broker.tlog import tree
from broker.tlog.tiles import (
    ENTRIES,
    WIDTH,
    Edge,
    Tile,
    TileNodes,
    decode_bundle,
    encode_bundle,
    parse_path,
    right_edge,
    tiles_of,
)

TESSERA = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eit",
    "nain",
    "ten",
    "ileven",
    "twelf",
    "threeten",
    "fourten",
    "fivten",
]
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 13, 255, 256, 257, 511, 512, 513, 700]


def leaves(count: int) -> list[bytes]:
    """That many different leaf hashes."""
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def nodes_of(hashed: list[bytes]) -> tree.Nodes:
    """All complete subtrees of a small tree."""
    return lambda level, index: levels(hashed[index << level : (index + 1) << level])[-1][0]


def test_the_log_of_fifteen_entries_has_its_published_root() -> None:
    """Tessera's test log: entries one to fivten."""
    hashed = [leaf_hash(word.encode()) for word in TESSERA]
    assert base64.b64encode(tree.root(15, nodes_of(hashed))) == b"rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs="


def test_a_tree_of_no_leaves_has_the_root_of_nothing() -> None:
    """RFC 6962 §2.1: the hash of an empty string."""
    assert tree.root(0, nodes_of([])) == EMPTY_ROOT == sha256(b"").digest()


@pytest.mark.parametrize("size", SIZES)
def test_roots_and_proofs_agree_with_the_small_tree(size: int) -> None:
    """Every size has the root of ``broker.merkle``; every leaf is proved, and no other leaf by its proof."""
    hashed = leaves(size)
    nodes = nodes_of(hashed)
    root = tree.root(size, nodes)
    assert root == levels(hashed)[-1][0]
    for index in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
        proof = tree.inclusion(index, size, nodes)
        tree.verify_inclusion(hashed[index], index, size, proof, root)
        for wrong in (index - 1, index + 1):
            with pytest.raises(ValueError, match="inclusion proof"):
                tree.verify_inclusion(hashed[index], wrong, size, proof, root)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 600), st.integers(0, 600), st.data())
def test_proofs_of_any_size_hold_and_no_altered_one_does(new: int, less: int, data: st.DataObject) -> None:
    """Consistency between any two sizes is proved; a bit flipped, a hash more or fewer is refused."""
    old = max(1, new - less)
    nodes = nodes_of(leaves(new))
    first, second = tree.root(old, nodes), tree.root(new, nodes)
    proof = tree.consistency(old, new, nodes)
    tree.verify_consistency(old, new, proof, first, second)
    changed = list(proof)
    match data.draw(st.sampled_from(["bit", "more", "front", "fewer", "roots"])):
        case "bit" if proof:
            at = data.draw(st.integers(0, len(proof) - 1))
            changed[at] = bytes((changed[at][0] ^ 1,)) + changed[at][1:]
        case "fewer" if proof:
            changed.pop(data.draw(st.integers(0, len(proof) - 1)))
        case "front":
            changed.insert(0, first)
        case "roots" if first != second:
            first, second = second, first
        case _:
            changed.append(bytes(32))
    with pytest.raises(ValueError, match=r"consistency proof|of one size"):
        tree.verify_consistency(old, new, changed, first, second)


def test_a_proof_from_nothing_is_not_invented() -> None:
    """Any tree continues the empty one, but no proof shows it; sizes that run backwards have none either."""
    with pytest.raises(ValueError, match="not for these trees"):
        tree.verify_consistency(0, 5, [], EMPTY_ROOT, bytes(32))
    assert tree.consistency(0, 5, nodes_of(leaves(5))) == []
    with pytest.raises(ValueError, match="larger"):
        tree.consistency(6, 5, nodes_of(leaves(6)))
    with pytest.raises(ValueError, match="not in the tree"):
        tree.inclusion(5, 5, nodes_of(leaves(5)))


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(1, 1_234_067), "tile/1/x001/x234/067"),
        (Tile(2, 0, 1), "tile/2/000.p/1"),
        (Tile(ENTRIES, 1_000), "tile/entries/x001/000"),
        (Tile(63, 999_999, 255), "tile/63/x999/999.p/255"),
    ],
)
def test_each_tile_has_one_name(tile: Tile, path: str) -> None:
    """Names as the specification writes them, there and back."""
    assert tile.path == path
    assert parse_path(path) == tile


@pytest.mark.parametrize(
    "path",
    ["tile/00/000", "tile/64/000", "tile/0/0", "tile/0/x000/001", "tile/0/001/000", "tile/0/000.p/0", "tile/0/000.p/256",
     "tile/0/000.p/01", "tile/-1/000", "/tile/0/000", "tile/0/000/", "tile/entries/x00a/000", "tile/0/٠٠٠"],
)  # fmt: skip
def test_no_other_name_is_a_tile(path: str) -> None:
    """Leading zeros, widths out of range and digits of other scripts are refused."""
    with pytest.raises(ValueError, match="name of a tile"):
        parse_path(path)


def test_a_tree_of_seventy_thousand_has_the_tiles_of_the_specification() -> None:
    """273 full tiles and one of 112 at the bottom, one full and one of 17 above, one of 1 at the top."""
    bottom = list(tiles_of(70_000, level=0))
    assert (len(bottom), bottom[-1]) == (274, Tile(0, 273, 112))
    assert list(tiles_of(70_000, level=1)) == [Tile(1, 0), Tile(1, 1, 17)]
    assert right_edge(70_000) == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert right_edge(256) == [Tile(1, 0, 1)]


@pytest.mark.parametrize("steps", [[1] * 300, [255, 1, 1, 255, 256, 257], [700], [65_536 + 300]])
def test_what_is_appended_in_pieces_is_the_tree_of_all(steps: list[int]) -> None:
    """Tiles never change, each is written once, and every root and proof can be read from them alone."""
    hashed = leaves(sum(steps))
    store: dict[Tile, bytes] = {}
    size = 0
    for step in steps:
        edge = Edge(size, store.__getitem__)
        for tile, data in edge.append(hashed[size : size + step]).items():
            assert store.setdefault(tile, data) == data
        size += step
        assert edge.size == size
        nodes = TileNodes(size, store.__getitem__)
        assert edge.root() == tree.root(size, nodes)
    assert tree.root(size, nodes) == levels(hashed)[-1][0]
    middle = size // 2
    tree.verify_inclusion(hashed[middle], middle, size, tree.inclusion(middle, size, nodes), tree.root(size, nodes))
    every = {tile for level in range(3) for tile in tiles_of(size, level=level)}
    assert every <= store.keys()
    assert all(len(store[tile]) == tile.width * 32 for tile in store)


def test_tiles_that_are_damaged_are_refused() -> None:
    """A tile of another width, and a subtree that is not there."""
    nodes = TileNodes(300, lambda tile: bytes(32 * (tile.width - 1)))
    with pytest.raises(ValueError, match="another width"):
        nodes(0, 0)
    with pytest.raises(ValueError, match="no such complete"):
        nodes(8, 1)
    with pytest.raises(ValueError, match="no edge"):
        Edge(0, lambda _: b"").root()


def test_a_bundle_is_read_as_it_was_written_and_in_no_other_way() -> None:
    """Cut short, with bytes left over, or with an entry that is too long, it is refused."""
    entries = [b"", b"one", bytes(65_535)]
    data = encode_bundle(entries)
    assert decode_bundle(data, 3) == entries
    for broken, width in ((data[:-1], 3), (data + b"\0", 3), (data, 2), (data, 4), (b"\0", 1)):
        with pytest.raises(ValueError, match="bundle"):
            decode_bundle(broken, width)
    with pytest.raises(ValueError, match="65,535"):
        encode_bundle([bytes(65_536)])
    assert WIDTH == 256
