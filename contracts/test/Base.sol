// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Tree} from "./Tree.sol";
import {Vm} from "./Vm.sol";
import {Token} from "./mocks/Tokens.sol";

/// @dev A distributor with its roles, three accounts, and what submits and claims in a line.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint64 internal constant DELAY = 1 days;

    address internal owner = address(0x0111);
    address internal publisher = address(0x0222);
    address internal guardian = address(0x0333);
    address internal stranger = address(0x0444);
    uint256 internal aliceKey = 0xa11ce;
    address internal alice = vm.addr(aliceKey);
    address internal bob = address(0xb0b);
    address internal carol = address(0xca401);

    Token internal token;
    Distributor internal distributor;

    struct Tier {
        address account;
        uint256 amount;
    }

    Tier[] internal tiers;

    function setUp() public virtual {
        use(new Token());
    }

    function use(Token token_) internal {
        token = token_;
        distributor = new Distributor(IERC20(address(token_)), owner, publisher, guardian, DELAY);
    }

    /// @dev What alice, bob and carol have earned in all, from now on.
    function earned(uint256 ofAlice, uint256 ofBob, uint256 ofCarol) internal {
        delete tiers;
        tiers.push(Tier(alice, ofAlice));
        tiers.push(Tier(bob, ofBob));
        tiers.push(Tier(carol, ofCarol));
    }

    function nodes() internal view returns (bytes32[] memory) {
        bytes32[] memory leaves = new bytes32[](tiers.length);
        for (uint256 i = 0; i < tiers.length; ++i) {
            leaves[i] = Tree.leaf(address(distributor), tiers[i].account, tiers[i].amount);
        }
        return Tree.build(leaves);
    }

    function total() internal view returns (uint256 sum) {
        for (uint256 i = 0; i < tiers.length; ++i) sum += tiers[i].amount;
    }

    function submit() internal returns (uint256 id) {
        id = distributor.lastId() + 1;
        vm.prank(publisher);
        distributor.submitRoot(id, nodes()[0], total(), keccak256("checkpoint"));
    }

    function fund(uint256 amount) internal {
        token.mint(address(distributor), amount);
    }

    /// @dev Funds what is missing, submits, and waits until the root is active.
    function settle(uint256 ofAlice, uint256 ofBob, uint256 ofCarol) internal returns (uint256 id) {
        earned(ofAlice, ofBob, ofCarol);
        uint256 covered = token.balanceOf(address(distributor)) + distributor.totalClaimed();
        if (covered < total()) fund(total() - covered);
        id = submit();
        vm.warp(block.timestamp + DELAY);
    }

    function claimOf(uint256 id, uint256 tier) internal view returns (Distributor.Claim memory) {
        Tier memory found = tiers[tier];
        bytes32 leaf = Tree.leaf(address(distributor), found.account, found.amount);
        return Distributor.Claim(id, found.account, found.amount, Tree.proof(nodes(), leaf));
    }

    function equal(uint256 found, uint256 wanted) internal pure {
        if (found != wanted) revert Unequal(found, wanted);
    }

    error Unequal(uint256 found, uint256 wanted);
}
