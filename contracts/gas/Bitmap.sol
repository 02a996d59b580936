// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

/// @dev The least that a distributor can do, as Uniswap's does: one root for ever, each leaf paid once, noted in a bit.
contract Bitmap {
    using SafeERC20 for IERC20;

    IERC20 private immutable TOKEN;
    bytes32 private immutable ROOT;
    mapping(uint256 word => uint256 bits) private _claimed;

    event Claimed(uint256 index, address account, uint256 amount);

    constructor(IERC20 token, bytes32 root) {
        TOKEN = token;
        ROOT = root;
    }

    function claim(uint256 index, address account, uint256 amount, bytes32[] calldata proof) external {
        (uint256 word, uint256 bit) = (index / 256, 1 << (index % 256));
        require(_claimed[word] & bit == 0, "claimed");
        require(MerkleProof.verifyCalldata(proof, ROOT, keccak256(abi.encodePacked(index, account, amount))), "proof");
        _claimed[word] |= bit;
        TOKEN.safeTransfer(account, amount);
        emit Claimed(index, account, amount);
    }
}
