"""Proofs over a tree that is too large to hold (RFC 9162 §2.1.3 and §2.1.4): hashes are asked for one by one.

The tree is that of RFC 6962 §2.1, as in ``broker.merkle``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker.merkle import EMPTY_ROOT, HASH_SIZE, node_hash

Nodes = Callable[[int, int], bytes]
"""``nodes(level, index)``: the hash over the leaves from ``index << level`` to ``(index + 1) << level``."""


def root(size: int, nodes: Nodes) -> bytes:
    """The root of the first ``size`` leaves; of none, ``SHA-256("")``."""
    return _range(0, size, nodes) if size else EMPTY_ROOT


def inclusion(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """The audit path of one leaf in the tree of the first ``size``, from its sibling upwards (RFC 9162 §2.1.3.1).

    Raises:
        ValueError: the leaf is not in that tree.
    """
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    path: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range(middle, high, nodes))
            high = middle
        else:
            path.append(_range(low, middle, nodes))
            low = middle
    return path[::-1]


def consistency(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """The proof that a tree continues an older one (RFC 9162 §2.1.4.1); empty where the old one is empty or the same.

    Raises:
        ValueError: the old tree is larger.
    """
    if not 0 <= old <= new:
        raise ValueError("the old tree is larger than the new one")
    if old in (0, new):
        return []
    proof: list[bytes] = []
    low, high, whole = 0, new, True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range(middle, high, nodes))
            high = middle
        else:
            proof.append(_range(low, middle, nodes))
            low, whole = middle, False
    return [*([] if whole else [_range(low, high, nodes)]), *proof[::-1]]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root_hash: bytes) -> None:
    """That a leaf hash stands at ``index`` of the tree with this root (RFC 9162 §2.1.3.2).

    Raises:
        ValueError: it is not shown.
    """
    if not 0 <= index < size or any(len(one) != HASH_SIZE for one in (leaf, root_hash, *proof)):
        raise ValueError("the inclusion proof is not for this tree")
    at, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise ValueError("the inclusion proof is too long")
        if at & 1 or at == last:
            found = node_hash(step, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, step)
        at, last = at >> 1, last >> 1
    if last or found != root_hash:
        raise ValueError("the inclusion proof does not lead to the root")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """That a tree continues an older one (RFC 9162 §2.1.4.2). A tree of no leaves is not proved to be a beginning here.

    Raises:
        ValueError: it is not shown.
    """
    if not 0 < old <= new or any(len(one) != HASH_SIZE for one in (old_root, new_root, *proof)):
        raise ValueError("the consistency proof is not for these trees")
    if old == new:
        if proof or old_root != new_root:
            raise ValueError("trees of one size differ")
        return
    steps = list(proof) if old & (old - 1) else [old_root, *proof]
    if not steps:
        raise ValueError("the consistency proof is empty")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise ValueError("the consistency proof is too long")
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, step)
        at, last = at >> 1, last >> 1
    if last or first != old_root or second != new_root:
        raise ValueError("the consistency proof does not lead from the old root to the new one")


def _split(count: int) -> int:
    """The largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def _range(low: int, high: int, nodes: Nodes) -> bytes:
    """The hash over the leaves from ``low`` to ``high``; ``low`` is a multiple of the power of two that they reach."""
    count = high - low
    level = count.bit_length() - 1
    if count == 1 << level:
        return nodes(level, low >> level)
    middle = low + _split(count)
    return node_hash(_range(low, middle, nodes), _range(middle, high, nodes))
