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
    RebasingToken,
    SilentToken,
    Token
} from "./mocks/Tokens.sol";

/// @dev Claims again while it is being paid.
contract Greedy {
    Distributor private immutable DISTRIBUTOR;
    bytes private _call;

    constructor(Distributor distributor) {
        DISTRIBUTOR = distributor;
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

    function test_a_token_that_changes_balances_by_itself_is_refused() public {
        RebasingToken rebasing = new RebasingToken();
        use(rebasing);
        uint256 id = settle(100, 50, 25);
        rebasing.rebaseAtTransfer();
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.expectRevert();
        distributor.claim(asked);
        equal(distributor.totalClaimed(), 0);
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
        for (uint256 i = 0; i < 3; ++i) many[i] = claimOf(id, i);
        equal(distributor.claimMany(many), 125);
        equal(distributor.claimed(bob), 0);
        equal(distributor.totalClaimed(), 125);
        blocking.block_(bob, false);
        equal(distributor.claim(many[1]), 50);
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
        bytes[2] memory calls = [
            abi.encodeCall(Distributor.claim, (claimOf(id, 1))), abi.encodeCall(Distributor.claimMany, (many))
        ];
        for (uint256 i = 0; i < 2; ++i) {
            greedy.arm(calls[i]);
            vm.expectRevert(ReentrancyGuardTransient.ReentrancyGuardReentrantCall.selector);
            distributor.claim(asked);
        }
        // Among many, who claims inside is refused as whom the token refuses.
        equal(distributor.claimMany(many), 0);
        equal(distributor.totalClaimed(), 0);
    }
}
