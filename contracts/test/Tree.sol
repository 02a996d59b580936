// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @dev A Merkle tree as OpenZeppelin's StandardMerkleTree builds it: leaves sorted by hash, the last first, in a heap.
library Tree {
    function leaf(address distributor, address account, uint256 amount) internal view returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(block.chainid, distributor, account, amount))));
    }

    function build(bytes32[] memory leaves) internal pure returns (bytes32[] memory nodes) {
        uint256 count = leaves.length;
        for (uint256 i = 1; i < count; ++i) {
            bytes32 moved = leaves[i];
            uint256 j = i;
            for (; j > 0 && leaves[j - 1] > moved; --j) {
                leaves[j] = leaves[j - 1];
            }
            leaves[j] = moved;
        }
        nodes = new bytes32[](2 * count - 1);
        for (uint256 i = 0; i < count; ++i) {
            nodes[nodes.length - 1 - i] = leaves[i];
        }
        for (uint256 i = nodes.length - count; i > 0; --i) {
            nodes[i - 1] = pair(nodes[2 * i - 1], nodes[2 * i]);
        }
    }

    function proof(bytes32[] memory nodes, bytes32 wanted) internal pure returns (bytes32[] memory path) {
        uint256 place = nodes.length;
        while (place > 0 && nodes[--place] != wanted) {}
        require(nodes[place] == wanted, "no such leaf");
        uint256 depth;
        for (uint256 i = place; i > 0; i = (i - 1) / 2) {
            ++depth;
        }
        path = new bytes32[](depth);
        for (uint256 i = 0; place > 0; place = (place - 1) / 2) {
            path[i++] = nodes[place % 2 == 0 ? place - 1 : place + 1];
        }
    }

    function pair(bytes32 one, bytes32 other) internal pure returns (bytes32) {
        return one < other ? keccak256(bytes.concat(one, other)) : keccak256(bytes.concat(other, one));
    }
}
