"""The Merkle tree of RFC 6962 §2.1, with proofs for several leaves at once.

Used for the parts of an envelope, for signature batches and for the transparency log. Levels are kept
bottom up: a lone right node moves up unchanged, which is the tree of RFC 6962 (split at the largest power
of two below n). Leaves what a leaf says to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: ``SHA-256(0x00 || data)``."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: ``SHA-256(0x01 || left || right)``."""
    return sha256(b"\x01" + left + right).digest()


def levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels of the tree over these leaf hashes, leaves first, the root alone in the last.

    Raises:
        ValueError: no leaves.
    """
    if not leaves:
        raise ValueError("a tree of parts has at least one leaf")
    level = list(leaves)
    tree = [level]
    digest = sha256
    while len(level) > 1:
        above = [digest(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) & 1:
            above.append(level[-1])
        tree.append(above)
        level = above
    return tree


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes; of none, ``SHA-256("")``."""
    return levels(leaves)[-1][0] if leaves else EMPTY_ROOT


def prove(tree: Sequence[Sequence[bytes]], known: Iterable[int]) -> list[bytes]:
    """The hashes that lead from the leaves at ``known`` to the root: level by level, left to right.

    Args:
        tree: as ``levels`` returns it.
        known: ascending positions of the leaves that the verifier will have.
    """
    proof: list[bytes] = []
    have = list(known)
    for level in tree[:-1]:
        size, above, i, count = len(level), [], 0, len(have)
        while i < count:
            index = have[i]
            sibling = index ^ 1
            if i + 1 < count and have[i + 1] == sibling:
                i += 1
            elif sibling < size:
                proof.append(level[sibling])
            above.append(index >> 1)
            i += 1
        have = above
    return proof


def root_from_proof(size: int, known: Mapping[int, bytes], proof: Sequence[bytes]) -> bytes:
    """The root of a tree of ``size`` leaves, from some leaf hashes and the proof that ``prove`` gave for them.

    Raises:
        ValueError: a position is outside the tree, nothing is known, or the proof is too short or too long.
    """
    order = sorted(known)
    if not order or size < 1 or order[0] < 0 or order[-1] >= size:
        raise ValueError("proof is for other positions than those given")
    if len(order) == 1:
        return _root_from_path(size, order[0], known[order[0]], proof)
    values = [known[index] for index in order]
    given = iter(proof)
    digest = sha256
    try:
        while size > 1:
            above: list[int] = []
            nodes: list[bytes] = []
            i, count = 0, len(order)
            while i < count:
                index, value = order[i], values[i]
                i += 1
                if index & 1:
                    value = digest(b"\x01" + next(given) + value).digest()
                elif i < count and order[i] == index + 1:
                    value = digest(b"\x01" + value + values[i]).digest()
                    i += 1
                elif index + 1 < size:
                    value = digest(b"\x01" + value + next(given)).digest()
                above.append(index >> 1)
                nodes.append(value)
            order, values, size = above, nodes, (size + 1) >> 1
    except StopIteration:
        raise ValueError("proof is too short") from None
    if next(given, None) is not None:
        raise ValueError("proof is too long")
    return values[0]


def _root_from_path(size: int, index: int, value: bytes, path: Sequence[bytes]) -> bytes:
    """The same for one leaf."""
    used = 0
    try:
        while size > 1:
            if index & 1:
                value = sha256(b"\x01" + path[used] + value).digest()
                used += 1
            elif index + 1 < size:
                value = sha256(b"\x01" + value + path[used]).digest()
                used += 1
            index, size = index >> 1, (size + 1) >> 1
    except IndexError:
        raise ValueError("proof is too short") from None
    if used != len(path):
        raise ValueError("proof is too long")
    return value


def path_from_proof(size: int, known: Mapping[int, bytes], proof: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of one known leaf, from a proof for several.

    Raises:
        ValueError: the proof is not for these leaves, or ``index`` is not among them.
    """
    root_from_proof(size, known, proof)
    if index not in known:
        raise ValueError("that leaf is not known")
    path: list[bytes] = []
    nodes = dict(known)
    given = iter(proof)
    while size > 1:
        above: dict[int, bytes] = {}
        for at in sorted(nodes):
            sibling = at ^ 1
            if sibling in nodes and sibling < at:
                continue
            if sibling >= size:
                above[at >> 1] = nodes[at]
                continue
            other = nodes[sibling] if sibling in nodes else next(given)
            nodes_pair = (nodes[at], other) if at < sibling else (other, nodes[at])
            above[at >> 1] = node_hash(*nodes_pair)
            if index in (at, sibling):
                path.append(other if index == at else nodes[at])
        nodes, index, size = above, index >> 1, (size + 1) >> 1
    return path
