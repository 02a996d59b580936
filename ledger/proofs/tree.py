"""The Merkle tree of RFC 6962, section 2.1: hashes, roots, and proofs of inclusion and of consistency. Pure.

Proofs are made in one pass over the leaf hashes, in memory that grows with the number of proofs and the logarithm of
the number of leaves. They are checked by the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2. A root does not
say how many leaves it stands for: sizes must come from where the root comes from, such as a signed checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.errors import ConsistencyProofError, InclusionProofError, TreeSizeError

HASH_BYTES = 32
EMPTY = hashlib.sha256(b"").digest()

Path = tuple[bytes, ...]


@dataclass(frozen=True)
class Proved:
    """A tree's size and root, and the proofs that were asked for."""

    size: int
    root: bytes
    inclusion: Mapping[int, Path]  # by the leaf's index, which counts from 0
    consistency: Mapping[int, Path]  # by the size of the older tree


@dataclass(frozen=True)
class _Target:
    """A leaf that a proof is made for: its hash, and its siblings so far, from the bottom up."""

    leaf: bytes
    path: list[bytes] = field(default_factory=list)


# A subtree: how many leaves it has, its hash, and the targets that lie in it. Plain, for there is one a leaf.
_Subtree = tuple[int, bytes, tuple[_Target, ...]]


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256 of a zero byte and the leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of a one byte and both children's hashes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """The tree's hash, in memory that grows with the logarithm of the number of leaves; `EMPTY` for none."""
    sha256 = hashlib.sha256
    peaks: list[bytes] = []  # perfect subtrees, from left to right: one for each bit of the count
    for count, leaf in enumerate(leaf_hashes, start=1):
        subtree, bits = leaf, count
        while not bits & 1:  # `node_hash`, without a call for each node
            subtree, bits = sha256(b"\x01" + peaks.pop() + subtree).digest(), bits >> 1
        peaks.append(subtree)
    whole = peaks.pop() if peaks else EMPTY
    while peaks:
        whole = node_hash(peaks.pop(), whole)
    return whole


def prove(leaf_hashes: Iterable[bytes], indices: Iterable[int] = (), older: Iterable[int] = ()) -> Proved:
    """The tree over these leaf hashes, with proofs that the leaves at `indices` are in it, and that it continues the
    trees of the `older` sizes (RFC 6962, sections 2.1.1 and 2.1.2). The leaves are read once.

    Raises `TreeSizeError` for an index or an older size that is not in the tree.
    """
    wanted, sizes = frozenset(indices), frozenset(older)
    # The proof from an older size is that of its last leaf, without the part below the subtree that it completes.
    marked = wanted | {size - 1 for size in sizes if size}
    targets: dict[int, _Target] = {}
    peaks: list[_Subtree] = []  # perfect subtrees, from left to right
    count = 0
    for leaf in leaf_hashes:
        inside: tuple[_Target, ...] = ()
        if count in marked:
            targets[count] = _Target(leaf)
            inside = (targets[count],)
        count += 1
        subtree = (1, leaf, inside)
        while peaks and peaks[-1][0] == subtree[0]:
            subtree = _joined(peaks.pop(), subtree)
        peaks.append(subtree)
    outside = [index for index in wanted if index not in targets] + [size for size in sizes if not 0 <= size <= count]
    if outside:
        raise TreeSizeError(min(outside), count)
    whole = peaks.pop() if peaks else (0, EMPTY, ())
    while peaks:
        whole = _joined(peaks.pop(), whole)
    return Proved(
        size=count,
        root=whole[1],
        inclusion={index: tuple(targets[index].path) for index in sorted(wanted)},
        consistency={size: _consistency(targets[size - 1], size) if 0 < size < count else () for size in sorted(sizes)},
    )


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash at `index`, from 0, is in the tree of this size and root (RFC 9162, section 2.1.3.2).

    Raises `InclusionProofError`.
    """
    if not 0 <= index < size:
        raise InclusionProofError(index, size, "there is no such leaf")
    if any(len(hash) != HASH_BYTES for hash in (leaf, root, *path)):
        raise InclusionProofError(index, size, "a hash has another length than a SHA-256")
    place, last, top = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise InclusionProofError(index, size, "it is too long")
        if place & 1 or place == last:
            top = node_hash(sibling, top)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            top = node_hash(top, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise InclusionProofError(index, size, "it is too short")
    if top != root:
        raise InclusionProofError(index, size, "it leads to another root")


def verify_consistency(older: int, newer: int, older_root: bytes, newer_root: bytes, path: Sequence[bytes]) -> None:
    """Check that the tree of the `newer` size begins with all leaves of the `older` one (RFC 9162, section 2.1.4.2).

    The empty tree begins every tree. Raises `ConsistencyProofError`.
    """
    if not 0 <= older <= newer:
        raise ConsistencyProofError(older, newer, "the tree has become smaller")
    if any(len(hash) != HASH_BYTES for hash in (older_root, newer_root, *path)):
        raise ConsistencyProofError(older, newer, "a hash has another length than a SHA-256")
    if older in (0, newer):
        if path:
            raise ConsistencyProofError(older, newer, "it is too long")
        if older_root != (newer_root if older == newer else EMPTY) or (newer == 0 and newer_root != EMPTY):
            raise ConsistencyProofError(older, newer, "the roots of one size differ")
        return
    # A power of two is a subtree of the newer tree, which the proof leaves out.
    steps = list(path) if older & (older - 1) else [older_root, *path]
    if not steps:
        raise ConsistencyProofError(older, newer, "it is too short")
    place, last = older - 1, newer - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            raise ConsistencyProofError(older, newer, "it is too long")
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise ConsistencyProofError(older, newer, "it is too short")
    if before != older_root:
        raise ConsistencyProofError(older, newer, "it leads to another older root: what came before was changed")
    if after != newer_root:
        raise ConsistencyProofError(older, newer, "it leads to another newer root")


def _joined(left: _Subtree, right: _Subtree) -> _Subtree:
    for target in left[2]:
        target.path.append(right[1])
    for target in right[2]:
        target.path.append(left[1])
    return left[0] + right[0], node_hash(left[1], right[1]), left[2] + right[2]


def _consistency(last: _Target, size: int) -> Path:
    """The proof from the older tree whose last leaf this is; the newer tree is larger."""
    levels = (size & -size).bit_length() - 1  # of the subtree that the last leaf completes
    below, above = last.path[:levels], last.path[levels:]
    if not size & (size - 1):  # that subtree is the whole older tree
        return tuple(above)
    subtree = last.leaf
    for sibling in below:
        subtree = node_hash(sibling, subtree)
    return (subtree, *above)
