// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

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
        distributor = deploy(address(token_), owner, publisher, guardian, DELAY);
    }

    /// @dev The contract of src/, or the code that the environment names: that is how mutants of it are tested.
    function deploy(address token_, address owner_, address publisher_, address guardian_, uint64 delay)
        internal
        returns (Distributor made)
    {
        bytes memory code = abi.encodePacked(
            vm.envOr("DISTRIBUTOR_CODE", type(Distributor).creationCode),
            abi.encode(token_, owner_, publisher_, guardian_, delay)
        );
        assembly ("memory-safe") {
            made := create(0, add(code, 32), mload(code))
            if iszero(made) {
                returndatacopy(code, 0, returndatasize())
                revert(code, returndatasize())
            }
        }
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
        for (uint256 i = 0; i < tiers.length; ++i) {
            sum += tiers[i].amount;
        }
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

    function manyOf(uint256 id) internal view returns (Distributor.Claim[] memory many) {
        many = new Distributor.Claim[](tiers.length);
        for (uint256 i = 0; i < tiers.length; ++i) {
            many[i] = claimOf(id, i);
        }
    }

    /// @dev Funds and submits a tree of one leaf, whose root is the leaf, and waits until it is active.
    function settleOne(address account, uint256 amount) internal returns (Distributor.Claim memory) {
        uint256 covered = token.balanceOf(address(distributor)) + distributor.totalClaimed();
        if (covered < amount) fund(amount - covered);
        uint256 id = distributor.lastId() + 1;
        vm.prank(publisher);
        distributor.submitRoot(id, Tree.leaf(address(distributor), account, amount), amount, bytes32(0));
        vm.warp(block.timestamp + DELAY);
        return Distributor.Claim(id, account, amount, new bytes32[](0));
    }

    function equal(uint256 found, uint256 wanted) internal pure {
        if (found != wanted) revert Unequal(found, wanted);
    }

    error Unequal(uint256 found, uint256 wanted);
}
