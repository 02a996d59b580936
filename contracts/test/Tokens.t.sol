// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Base} from "./Base.sol";
import {
    BlocklistToken,
    CallbackToken,
    FalseToken,
    FeeToken,
    LyingToken,
    RebasingToken,
    SilentToken,
    SurchargeToken,
    Token
} from "./mocks/Tokens.sol";

/// @dev Calls the distributor while it is being paid.
contract Greedy {
    Distributor private immutable DISTRIBUTOR;
    bytes private _call;

    constructor(Distributor distributor) {
        DISTRIBUTOR = distributor;
    }

    function acceptOwnership() external {
        DISTRIBUTOR.acceptOwnership();
    }

    function arm(bytes calldata call_) external {
        _call = call_;
    }

    function received() external {
        (bool done, bytes memory answer) = address(DISTRIBUTOR).call(_call);
        if (!done) {
            assembly {
                revert(add(answer, 32), mload(answer))
            }
        }
    }
}

/// @dev Spends all the gas it is given.
contract Burner {
    function received() external pure {
        assembly {
            invalid()
        }
    }
}

/// @dev Passes on what it is paid while it is being paid.
contract Forwarder {
    function received() external {
        Token(msg.sender).transfer(address(0xdead), Token(msg.sender).balanceOf(address(this)));
    }
}

contract TokensTest is Base {
    function test_a_token_that_takes_a_fee_is_refused() public {
        use(new FeeToken());
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.expectRevert(abi.encodeWithSelector(Distributor.InexactTransfer.selector, 100, 100, 99));
        distributor.claim(asked);
        Distributor.Claim[] memory many = new Distributor.Claim[](1);
        many[0] = asked;
        vm.expectRevert(abi.encodeWithSelector(Distributor.InexactTransfer.selector, 100, 100, 99));
        distributor.claimMany(many);
        equal(distributor.totalClaimed(), 0);
    }

    function test_a_token_that_takes_more_than_it_moves_is_refused() public {
        use(new SurchargeToken());
        uint256 id = settle(100, 50, 25);
        fund(100);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.expectRevert(abi.encodeWithSelector(Distributor.InexactTransfer.selector, 100, 101, 100));
        distributor.claim(asked);
        vm.expectRevert(abi.encodeWithSelector(Distributor.InexactTransfer.selector, 100, 101, 100));
        vm.prank(owner);
        distributor.sweep(stranger, 100);
    }

    function test_the_surplus_of_a_token_that_takes_a_fee_can_be_taken_out() public {
        use(new FeeToken());
        fund(100);
        vm.prank(owner);
        distributor.sweep(stranger, 100);
        equal(token.balanceOf(stranger), 99);
    }

    function test_a_token_that_changes_balances_by_itself_is_refused() public {
        RebasingToken rebasing = new RebasingToken();
        use(rebasing);
        uint256 id = settle(100, 50, 25);
        fund(1000);
        rebasing.rebaseAtTransfer();
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.expectRevert(abi.encodeWithSelector(Distributor.InexactTransfer.selector, 100, 688, 100));
        distributor.claim(asked);
        equal(distributor.totalClaimed(), 0);
    }

    function test_a_balance_that_fell_by_itself_leaves_no_surplus_and_covers_no_root() public {
        RebasingToken rebasing = new RebasingToken();
        use(rebasing);
        settle(100, 50, 25);
        rebasing.rebase();
        equal(distributor.surplus(), 0);
        bytes32 root = nodes()[0];
        vm.expectRevert(abi.encodeWithSelector(Distributor.Underfunded.selector, 175, 87));
        vm.prank(publisher);
        distributor.submitRoot(2, root, 175, bytes32(0));
    }

    function test_a_token_that_says_false_and_pays_is_refused() public {
        use(new LyingToken());
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token)));
        distributor.claim(asked);
        Distributor.Claim[] memory many = manyOf(id);
        vm.expectRevert(abi.encodeWithSelector(Distributor.InexactTransfer.selector, 0, 100, 100));
        distributor.claimMany(many);
        equal(token.balanceOf(alice), 0);
    }

    function test_a_token_that_says_false_stops_none_of_many() public {
        FalseToken refusing = new FalseToken();
        use(refusing);
        uint256 id = settle(100, 50, 25);
        refusing.refuse(true);
        equal(distributor.claimMany(manyOf(id)), 0);
        equal(distributor.totalClaimed(), 0);
        equal(distributor.claimed(alice), 0);
        refusing.refuse(false);
        equal(distributor.claimMany(manyOf(id)), 175);
    }

    function test_a_token_that_says_false_pays_nothing_and_loses_nothing() public {
        FalseToken refusing = new FalseToken();
        use(refusing);
        uint256 id = settle(100, 50, 25);
        refusing.refuse(true);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, address(token)));
        distributor.claim(asked);
        refusing.refuse(false);
        equal(distributor.claim(asked), 100);
    }

    function test_a_token_that_returns_nothing_is_paid() public {
        use(Token(address(new SilentToken())));
        uint256 id = settle(100, 50, 25);
        equal(distributor.claim(claimOf(id, 0)), 100);
        Distributor.Claim[] memory many = new Distributor.Claim[](2);
        (many[0], many[1]) = (claimOf(id, 1), claimOf(id, 2));
        equal(distributor.claimMany(many), 75);
        equal(token.balanceOf(carol), 25);
    }

    function test_who_is_blocked_stops_nobody_else_and_loses_nothing() public {
        BlocklistToken blocking = new BlocklistToken();
        use(blocking);
        uint256 id = settle(100, 50, 25);
        blocking.block_(bob, true);
        Distributor.Claim[] memory many = new Distributor.Claim[](3);
        for (uint256 i = 0; i < 3; ++i) {
            many[i] = claimOf(id, i);
        }
        equal(distributor.claimMany(many), 125);
        equal(distributor.claimed(bob), 0);
        equal(distributor.totalClaimed(), 125);
        blocking.block_(bob, false);
        equal(distributor.claim(many[1]), 50);
    }

    function test_who_is_blocked_keeps_what_was_claimed_before() public {
        BlocklistToken blocking = new BlocklistToken();
        use(blocking);
        distributor.claimMany(manyOf(settle(100, 50, 25)));
        uint256 id = settle(100, 80, 30);
        blocking.block_(bob, true);
        vm.expectEmit(true, true, true, true);
        emit Distributor.ClaimRefused(id, bob, 30);
        equal(distributor.claimMany(manyOf(id)), 5);
        equal(distributor.claimed(bob), 50);
        equal(distributor.totalClaimed(), 180);
        Distributor.Claim memory asked = claimOf(id, 1);
        vm.expectRevert(bytes("blocked"));
        distributor.claim(asked);
        blocking.block_(bob, false);
        equal(distributor.claim(asked), 30);
    }

    function test_who_is_blocked_may_claim_elsewhere() public {
        BlocklistToken blocking = new BlocklistToken();
        use(blocking);
        uint256 id = settle(100, 50, 25);
        blocking.block_(alice, true);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.prank(alice);
        equal(distributor.claimTo(asked, carol), 100);
    }

    function test_a_claim_inside_a_claim_is_refused() public {
        use(new CallbackToken());
        Greedy greedy = new Greedy(distributor);
        earned(0, 50, 25);
        tiers[0].account = address(greedy);
        tiers[0].amount = 100;
        fund(175);
        uint256 id = submit();
        vm.warp(block.timestamp + DELAY);
        Distributor.Claim memory asked = claimOf(id, 0);
        Distributor.Claim[] memory many = new Distributor.Claim[](1);
        many[0] = asked;
        vm.prank(owner);
        distributor.transferOwnership(address(greedy));
        greedy.acceptOwnership();
        bytes[6] memory calls = [
            abi.encodeCall(Distributor.claim, (claimOf(id, 1))),
            abi.encodeCall(Distributor.claimMany, (many)),
            abi.encodeCall(Distributor.claimTo, (asked, stranger)),
            abi.encodeCall(Distributor.claimToWithSignature, (claimOf(id, 1), stranger, block.timestamp, "")),
            abi.encodeCall(Distributor.sweep, (stranger, 0)),
            abi.encodeCall(Distributor.submitRoot, (2, bytes32("root"), 175, bytes32(0)))
        ];
        for (uint256 i = 0; i < calls.length; ++i) {
            greedy.arm(calls[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            distributor.claim(asked);
        }
        // Among many, who claims inside is refused as whom the token refuses.
        equal(distributor.claimMany(many), 0);
        equal(distributor.totalClaimed(), 0);
    }

    function test_who_spoils_a_claim_of_many_is_left_out_and_costs_the_others_nothing() public {
        use(new CallbackToken());
        address[2] memory spoilers = [address(new Burner()), address(new Forwarder())];
        for (uint256 i = 0; i < 2; ++i) {
            earned(0, 50 * (i + 1), 25 * (i + 1));
            (tiers[0].account, tiers[0].amount) = (spoilers[i], 100);
            fund(total());
            uint256 id = submit();
            vm.warp(block.timestamp + DELAY);
            (bool done,) =
                address(distributor).call{gas: 2_000_000}(abi.encodeCall(Distributor.claimMany, (manyOf(id))));
            require(!done, "was paid");
            Distributor.Claim[] memory others = new Distributor.Claim[](2);
            (others[0], others[1]) = (claimOf(id, 1), claimOf(id, 2));
            equal(distributor.claimMany(others), 75);
            equal(distributor.claimed(spoilers[i]), 0);
        }
    }

    /// @dev Who sends the call chooses its gas: a transfer may run out of it, and nobody may lose by that.
    function testFuzz_no_amount_of_gas_loses_a_claim(uint256 gas_) public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim[] memory many = manyOf(id);
        (bool done,) =
            address(distributor).call{gas: 30_000 + gas_ % 250_000}(abi.encodeCall(Distributor.claimMany, (many)));
        uint256 sum;
        for (uint256 i = 0; i < 3; ++i) {
            equal(distributor.claimed(tiers[i].account), token.balanceOf(tiers[i].account));
            sum += token.balanceOf(tiers[i].account);
        }
        require(done || sum == 0, "paid and reverted");
        equal(distributor.totalClaimed(), sum);
        equal(distributor.claimMany(many), 175 - sum);
    }
}
