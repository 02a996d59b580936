"""Trees of what accounts may claim, as OpenZeppelin's StandardMerkleTree (@openzeppelin/merkle-tree 1.0) builds them.

A leaf is `keccak256(keccak256(abi.encode(chainId, distributor, account, cumulativeAmount)))`; the double hash keeps
leaves and inner nodes apart. Leaves are sorted by their hashes. The tree is a full binary one in an array, its root
first, its leaves last and in reverse; an inner node is the hash of its two children, the smaller before the larger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eth_utils.crypto import keccak

from ledger.chain.checksum import checksummed
from ledger.errors.chain import ClaimTreeError

_LARGEST = 2**256 - 1


def leaf_hash(chain_id: int, distributor: str, account: str, cumulative: int) -> bytes:
    """The 32 bytes that commit to what an account has earned in all. Raises AddressError, ClaimTreeError."""
    return _leaf(_prefix(chain_id, distributor), account, cumulative)


def verify(root: bytes, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof leads from a leaf to a root, as OpenZeppelin's MerkleProof finds."""
    if any(len(node) != 32 for node in (root, leaf, *proof)):
        return False
    node = leaf
    for sibling in proof:
        node = _parent(node, sibling)
    return node == root


class Tree:
    """A tree of what each account has earned in all; it has at least one leaf, and an account has one leaf."""

    def __init__(self, chain_id: int, distributor: str, leaves: Iterable[tuple[str, int]]) -> None:
        """Leaves are (checksummed address, cumulative amount). Raises AddressError, ClaimTreeError."""
        prefix = _prefix(chain_id, distributor)
        self.chain_id, self.distributor = chain_id, distributor
        self.leaves = dict[str, int]()
        hashed = list[tuple[bytes, str]]()
        for account, cumulative in leaves:
            if account in self.leaves:
                raise ClaimTreeError(f"{account} is in the tree twice")
            self.leaves[account] = cumulative
            hashed.append((_leaf(prefix, account, cumulative), account))
        if not hashed:
            raise ClaimTreeError("a tree needs at least one leaf")
        self.total = sum(self.leaves.values())
        if self.total > _LARGEST:
            raise ClaimTreeError(f"the leaves come to {self.total}, more than a contract can count")
        hashed.sort()
        size = len(hashed)
        self._nodes = [b""] * (size - 1) + [leaf for leaf, _ in reversed(hashed)]
        for index in reversed(range(size - 1)):
            self._nodes[index] = _parent(self._nodes[2 * index + 1], self._nodes[2 * index + 2])
        self._places = {account: 2 * size - 2 - rank for rank, (_, account) in enumerate(hashed)}

    @property
    def root(self) -> bytes:
        """The root, 32 bytes."""
        return self._nodes[0]

    def __len__(self) -> int:
        return len(self.leaves)

    def __contains__(self, account: object) -> bool:
        return account in self.leaves

    def cumulative(self, account: str) -> int:
        """What the account has earned in all. Raises ClaimTreeError."""
        self._place(account)
        return self.leaves[account]

    def proof(self, account: str) -> list[bytes]:
        """The siblings on the way from the account's leaf to the root, 32 bytes each. Raises ClaimTreeError."""
        place, proof = self._place(account), list[bytes]()
        while place > 0:
            proof.append(self._nodes[place + 1 if place % 2 else place - 1])
            place = (place - 1) // 2
        return proof

    def _place(self, account: str) -> int:
        if account not in self._places:
            raise ClaimTreeError(f"{account} is not in the tree")
        return self._places[account]


def _prefix(chain_id: int, distributor: str) -> bytes:
    return _word(chain_id) + _word(int(checksummed(distributor), 16))


def _leaf(prefix: bytes, account: str, cumulative: int) -> bytes:
    return keccak(keccak(prefix + bytes(12) + bytes.fromhex(checksummed(account)[2:]) + _word(cumulative)))


def _word(number: int) -> bytes:
    if not 0 <= number <= _LARGEST:
        raise ClaimTreeError(f"{number} is no amount: it lies outside 0 to 2**256 - 1")
    return number.to_bytes(32, "big")


def _parent(one: bytes, other: bytes) -> bytes:
    return keccak(one + other if one < other else other + one)
