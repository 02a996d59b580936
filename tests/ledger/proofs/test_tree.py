"""The Merkle tree against published vectors, RFC 6962's recursive definitions, and every flipped bit."""

from __future__ import annotations

import base64
import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import ConsistencyProofError, InclusionProofError, TreeSizeError
from ledger.proofs import tree
from tests.alone import alone

VECTORS = Path(__file__).parent / "vectors"
REFERENCE = json.loads((VECTORS / "reference_tree.json").read_text())
ARGON = json.loads((VECTORS / "argon_2020.json").read_text())
LEAVES = [tree.leaf_hash(bytes.fromhex(leaf)) for leaf in REFERENCE["leaves"]]
ROOTS = [bytes.fromhex(root) for root in REFERENCE["roots"]]

sizes = st.integers(1, 70)


def hashes(count: int) -> list[bytes]:
    return [tree.leaf_hash(str(number).encode()) for number in range(count)]


# RFC 6962, sections 2.1 to 2.1.2, word for word.


def split(count: int) -> int:
    """The largest power of two smaller than `count`."""
    return int(1 << (count - 1).bit_length() - 1)


def naive_root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(older: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    if older == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = split(len(leaves))
    if older <= k:
        return [*naive_consistency(older, leaves[:k], whole), naive_root(leaves[k:])]
    return [*naive_consistency(older - k, leaves[k:], False), naive_root(leaves[:k])]


# Published vectors


@pytest.mark.parametrize("size", range(9))
def test_the_reference_tree_has_its_published_roots(size: int) -> None:
    assert tree.root(LEAVES[:size]) == (ROOTS[size - 1] if size else hashlib.sha256(b"").digest())


@pytest.mark.parametrize("vector", REFERENCE["inclusion"], ids=lambda v: f"{v['index']} in {v['size']}")
def test_the_reference_tree_has_its_published_inclusion_proofs(vector: dict) -> None:  # type: ignore[type-arg]
    index, size, path = vector["index"], vector["size"], tuple(map(bytes.fromhex, vector["path"]))
    assert tree.prove(LEAVES[:size], [index]).inclusion == {index: path}
    tree.verify_inclusion(index, size, LEAVES[index], path, ROOTS[size - 1])


@pytest.mark.parametrize("vector", REFERENCE["consistency"], ids=lambda v: f"{v['older']} to {v['newer']}")
def test_the_reference_tree_has_its_published_consistency_proofs(vector: dict) -> None:  # type: ignore[type-arg]
    older, newer, path = vector["older"], vector["newer"], tuple(map(bytes.fromhex, vector["path"]))
    assert tree.prove(LEAVES[:newer], older=[older]).consistency == {older: path}
    tree.verify_consistency(older, newer, ROOTS[older - 1], ROOTS[newer - 1], path)


def test_proofs_of_a_real_log_of_a_thousand_million_certificates_hold() -> None:
    size, root = ARGON["size"], base64.b64decode(ARGON["root"])
    included, continued = ARGON["inclusion"], ARGON["consistency"]
    path = [base64.b64decode(hash) for hash in included["path"]]
    tree.verify_inclusion(included["index"], size, base64.b64decode(included["leaf_hash"]), path, root)
    path = [base64.b64decode(hash) for hash in continued["path"]]
    tree.verify_consistency(continued["older"], size, base64.b64decode(continued["older_root"]), root, path)


# The recursive definition


@given(sizes, st.data())
def test_proofs_made_in_one_pass_are_those_of_the_recursive_definition(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    indices = data.draw(st.sets(st.integers(0, size - 1)))
    older = data.draw(st.sets(st.integers(1, size)))
    proved = tree.prove(iter(leaves), indices, older)
    assert (proved.size, proved.root) == (size, naive_root(leaves))
    assert proved.inclusion == {index: tuple(naive_path(index, leaves)) for index in indices}
    assert proved.consistency == {size: tuple(naive_consistency(size, leaves)) for size in older}


@given(sizes, st.data())
def test_every_proof_verifies(size: int, data: st.DataObject) -> None:
    leaves = hashes(size)
    index, older = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    proved = tree.prove(leaves, [index], [older])
    tree.verify_inclusion(index, size, leaves[index], proved.inclusion[index], proved.root)
    tree.verify_consistency(older, size, tree.root(leaves[:older]), proved.root, proved.consistency[older])


# What is changed


def flipped(value: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(value)):
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def damaged(path: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    """The path with any one bit flipped, any hash left out, doubled or cut, and something put before or after."""
    for number, hash in enumerate(path):
        before, after = tuple(path[:number]), tuple(path[number + 1 :])
        yield from ((*before, changed, *after) for changed in flipped(hash))
        yield (*before, *after)
        yield (*before, hash, hash, *after)
        yield (*before, hash[:-1], *after)
    for extra in (b"", bytes(32), tree.EMPTY):
        yield (extra, *path)
        yield (*path, extra)


def accepted(check: Callable[..., None], cases: Iterator[tuple]) -> int:  # type: ignore[type-arg]
    found = 0
    for case in cases:
        try:
            check(*case)
        except (InclusionProofError, ConsistencyProofError):
            continue
        found += 1
    return found


@pytest.mark.parametrize(("index", "size"), [(0, 1), (0, 8), (5, 8), (2, 3), (6, 7), (10, 11), (3, 6)])
def test_whatever_is_changed_about_an_inclusion_proof_is_refused(index: int, size: int) -> None:
    leaves = hashes(size)
    proved = tree.prove(leaves, [index])
    path, root, leaf = proved.inclusion[index], proved.root, leaves[index]
    tree.verify_inclusion(index, size, leaf, path, root)
    wrong = [(index, size, leaf, other, root) for other in damaged(path)]
    wrong += [(index, size, other, path, root) for other in flipped(leaf)]
    wrong += [(index, size, leaf, path, other) for other in flipped(root)]
    wrong += [(other, size, leaf, path, root) for other in (*range(-1, index), *range(index + 1, 2 * size + 2))]
    wrong += [(index, 0, leaf, path, root), (index, index, leaf, path, root), (index, 4 * size, leaf, path, root)]
    assert len(wrong) > 500
    assert accepted(tree.verify_inclusion, iter(wrong)) == 0


@pytest.mark.parametrize(("older", "newer"), [(1, 8), (6, 8), (2, 5), (6, 7), (4, 7), (3, 11), (7, 7), (8, 8)])
def test_whatever_is_changed_about_a_consistency_proof_is_refused(older: int, newer: int) -> None:
    leaves = hashes(newer)
    proved = tree.prove(leaves, older=[older])
    path, root, older_root = proved.consistency[older], proved.root, tree.root(leaves[:older])
    tree.verify_consistency(older, newer, older_root, root, path)
    wrong = [(older, newer, older_root, root, other) for other in damaged(path)]
    wrong += [(older, newer, other, root, path) for other in flipped(older_root)]
    wrong += [(older, newer, older_root, other, path) for other in flipped(root)]
    wrong += [(other, newer, older_root, root, path) for other in range(-1, newer + 2) if other != older]
    wrong += [(older, older - 1, older_root, root, path), (older, 4 * newer, older_root, root, path)]
    assert len(wrong) > 500
    assert accepted(tree.verify_consistency, iter(wrong)) == 0


def test_a_tree_that_shrinks_or_begins_otherwise_is_not_consistent() -> None:
    root = tree.root(hashes(5))
    for case in [
        (6, 5, tree.root(hashes(6)), root, ()),
        (0, 5, root, root, ()),  # nothing has the root of the empty tree
        (0, 5, tree.EMPTY, root, (root,)),
        (0, 0, root, root, ()),
        (3, 5, tree.root(hashes(3)), root, ()),
        (4, 5, tree.root(hashes(4)), root, ()),
    ]:
        with pytest.raises(ConsistencyProofError):
            tree.verify_consistency(*case)
    tree.verify_consistency(0, 5, tree.EMPTY, root, ())
    tree.verify_consistency(0, 0, tree.EMPTY, tree.EMPTY, ())


@given(sizes, st.data())
def test_a_leaf_changed_before_the_older_size_breaks_consistency_and_one_added_after_it_does_not(
    older: int, data: st.DataObject
) -> None:
    leaves = hashes(older + data.draw(st.integers(0, 20)))
    kept = tree.root(leaves[:older])
    rewritten = data.draw(st.integers(0, older - 1))
    changed = [*leaves[:rewritten], tree.leaf_hash(b"another story"), *leaves[rewritten + 1 :]]
    proved = tree.prove(changed, older=[older])
    with pytest.raises(ConsistencyProofError):
        tree.verify_consistency(older, proved.size, kept, proved.root, proved.consistency[older])


@pytest.mark.parametrize(("indices", "older"), [([3], []), ([-1], []), ([], [4]), ([], [-1]), ([0, 7], [1])], ids=str)
def test_what_lies_outside_the_tree_is_not_proved(indices: list[int], older: list[int]) -> None:
    with pytest.raises(TreeSizeError, match="3 leaves"):
        tree.prove(hashes(3), indices, older)


def test_a_proof_of_the_wrong_length_is_refused_for_that() -> None:
    proved = tree.prove(hashes(11), [4], [6])
    path, continued, root, older = proved.inclusion[4], proved.consistency[6], proved.root, tree.root(hashes(6))
    for wrong, reason in ((path[:-1], "too short"), ((*path, root), "too long"), ((), "too short")):
        with pytest.raises(InclusionProofError, match=reason):
            tree.verify_inclusion(4, 11, hashes(11)[4], wrong, root)
    for wrong, reason in ((continued[:-1], "too short"), ((*continued, root), "too long"), ((), "too short")):
        with pytest.raises(ConsistencyProofError, match=reason):
            tree.verify_consistency(6, 11, older, root, wrong)


def test_hashes_whose_bounds_were_moved_are_refused() -> None:
    """Both children are hashed as one text: a byte moved from one to the other would lead to the same root."""
    leaves = hashes(8)
    proved = tree.prove(leaves, [0], [2])
    first, *rest = proved.inclusion[0]
    assert tree.node_hash(leaves[0] + first[:1], first[1:]) == tree.node_hash(leaves[0], first)
    with pytest.raises(InclusionProofError, match="another length"):
        tree.verify_inclusion(0, 8, leaves[0] + first[:1], (first[1:], *rest), proved.root)
    with pytest.raises(InclusionProofError, match="another length"):
        tree.verify_inclusion(0, 1, b"", (), b"")
    older, (second, *more) = tree.root(leaves[:2]), proved.consistency[2]
    with pytest.raises(ConsistencyProofError, match="another length"):
        tree.verify_consistency(2, 8, older + second[:1], proved.root, (second[1:], *more))


@alone
def test_proofs_of_many_leaves_are_made_in_memory_that_does_not_grow_with_the_log() -> None:
    def peak(size: int) -> int:
        tracemalloc.start()
        try:
            tree.prove((number.to_bytes(32, "big") for number in range(size)), range(0, 1024, 64), [1000])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(2**15) < 1.5 * peak(2**11)
