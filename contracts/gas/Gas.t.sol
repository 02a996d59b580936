// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Base} from "../test/Base.sol";
import {Tree} from "../test/Tree.sol";
import {Token} from "../test/mocks/Tokens.sol";
import {Bitmap} from "./Bitmap.sol";

/// @dev What whole transactions cost, their base fee of 21,000 and their data included, with trees of the reference
/// JavaScript. Each call is a transaction of its own (forge's isolation), and nobody had tokens before the first claim.
contract GasTest is Base {
    address private constant DEPLOYER = address(0xDE);

    /// @dev A file of words, and how much of it was read.
    struct Words {
        bytes file;
        uint256 read;
    }

    function setUp() public override {
        token = new Token();
        vm.prank(DEPLOYER);
        distributor = deploy(address(token), owner, publisher, guardian, DELAY);
    }

    function test_gas_at_1000_leaves() public {
        _measure("1000");
    }

    function test_gas_at_100000_leaves() public {
        _measure("100000");
    }

    function _measure(string memory leaves) private {
        Words memory words = Words(vm.readFileBinary(string.concat("cache/tree-", leaves)), 0);
        bytes32 root = bytes32(_next(words));
        uint256 accounts = _next(words);
        Distributor.Claim[] memory first = new Distributor.Claim[](accounts);
        Distributor.Claim[] memory second = new Distributor.Claim[](accounts);
        for (uint256 i = 0; i < accounts; ++i) {
            (first[i].id, second[i].id) = (2, 3);
            first[i].account = second[i].account = address(uint160(_next(words)));
            first[i].cumulativeAmount = _next(words);
            first[i].proof = _proof(words);
            second[i].cumulativeAmount = _next(words);
            second[i].proof = _proof(words);
        }
        fund(type(uint128).max);
        _submit(1, root);
        _submit(2, root);
        vm.snapshotGasLastCall(leaves, "submitRoot");
        _claim(leaves, "first", ", the distributor's very first", first);
        _submit(3, root);
        _claim(leaves, "repeated", ", the first by its root", second);
        _claimFromBitmap(leaves, first[1].proof);
        uint256[] memory ids = new uint256[](100);
        for (uint256 i = 0; i < 100; ++i) {
            ids[i] = i + 4;
            _submit(ids[i], root);
        }
        vm.prank(guardian);
        distributor.revokeRoots(ids);
        vm.snapshotGasLastCall(leaves, "revokeRoots of 100");
    }

    /// @dev The opening claim costs more than those after it, since it sets or raises what holds for all accounts.
    function _claim(string memory leaves, string memory what, string memory opening, Distributor.Claim[] memory all)
        private
    {
        vm.warp(block.timestamp + DELAY);
        distributor.claim(all[0]);
        vm.snapshotGasLastCall(leaves, string.concat(what, " claim", opening));
        distributor.claim(all[1]);
        vm.snapshotGasLastCall(leaves, string.concat(what, " claim"));
        Distributor.Claim[] memory many = new Distributor.Claim[](100);
        for (uint256 i = 0; i < 100; ++i) {
            many[i] = all[i + 2];
        }
        distributor.claimMany(many);
        vm.snapshotGasLastCall(leaves, string.concat("claimMany of 100 ", what, " claims"));
    }

    /// @dev The least there is, with proofs as long: paying who has no tokens, and who has some as in Uniswap's tests.
    function _claimFromBitmap(string memory leaves, bytes32[] memory proof) private {
        address account = address(0x2000);
        for (uint256 i = 0; i < 2; ++i) {
            bytes32 root = keccak256(abi.encodePacked(uint256(1), account, uint256(1e18)));
            for (uint256 j = 0; j < proof.length; ++j) {
                root = Tree.pair(root, proof[j]);
            }
            Bitmap bitmap = new Bitmap(IERC20(address(token)), root);
            token.mint(address(bitmap), 1e24);
            bitmap.claim(1, account, 1e18, proof);
            vm.snapshotGasLastCall(leaves, i == 0 ? "bitmap, to an empty account" : "bitmap, to an account with tokens");
        }
    }

    function _submit(uint256 id, bytes32 root) private {
        vm.prank(publisher);
        distributor.submitRoot(id, root, 1e30 * id, keccak256("checkpoint"));
    }

    function _proof(Words memory words) private pure returns (bytes32[] memory proof) {
        proof = new bytes32[](_next(words));
        for (uint256 i = 0; i < proof.length; ++i) {
            proof[i] = bytes32(_next(words));
        }
    }

    function _next(Words memory words) private pure returns (uint256 word) {
        bytes memory file = words.file;
        uint256 place = words.read += 32;
        assembly ("memory-safe") {
            word := mload(add(file, place))
        }
    }
}
