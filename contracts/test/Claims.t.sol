// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Base} from "./Base.sol";
import {Tree} from "./Tree.sol";

contract ClaimsTest is Base {
    function test_a_claim_pays_what_was_earned() public {
        uint256 id = settle(100, 50, 25);
        equal(distributor.claim(claimOf(id, 0)), 100);
        equal(token.balanceOf(alice), 100);
        equal(distributor.claimed(alice), 100);
        equal(distributor.totalClaimed(), 100);
    }

    function test_anyone_may_claim_for_an_account_and_only_the_account_is_paid() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 1);
        vm.prank(stranger);
        distributor.claim(asked);
        equal(token.balanceOf(bob), 50);
        equal(token.balanceOf(stranger), 0);
    }

    function test_a_second_claim_pays_the_difference() public {
        uint256 first = settle(100, 50, 25);
        distributor.claim(claimOf(first, 0));
        uint256 second = settle(130, 50, 25);
        equal(distributor.claim(claimOf(second, 0)), 30);
        equal(token.balanceOf(alice), 130);
    }

    function test_three_claims_pay_what_was_earned_and_no_more() public {
        for (uint256 round = 1; round <= 3; ++round) {
            uint256 id = settle(100 * round, 50, 25);
            equal(distributor.claim(claimOf(id, 0)), 100);
        }
        equal(token.balanceOf(alice), 300);
    }

    function test_a_skipped_settlement_loses_nothing() public {
        settle(100, 50, 25);
        uint256 second = settle(130, 50, 25);
        equal(distributor.claim(claimOf(second, 0)), 130);
    }

    function test_a_repeated_claim_is_refused() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        distributor.claim(asked);
        vm.expectRevert(abi.encodeWithSelector(Distributor.NothingToClaim.selector, alice, 100, 100));
        distributor.claim(asked);
    }

    function test_an_older_root_stays_claimable() public {
        uint256 first = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(first, 2);
        settle(130, 60, 35);
        equal(distributor.claim(asked), 25);
    }

    function test_an_older_root_pays_nothing_after_a_newer_one() public {
        uint256 first = settle(100, 50, 25);
        Distributor.Claim memory older = claimOf(first, 0);
        uint256 second = settle(130, 50, 25);
        distributor.claim(claimOf(second, 0));
        vm.expectRevert(abi.encodeWithSelector(Distributor.NothingToClaim.selector, alice, 100, 130));
        distributor.claim(older);
    }

    function test_a_root_that_is_not_active_pays_nothing() public {
        earned(100, 50, 25);
        fund(175);
        uint256 id = submit();
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.warp(block.timestamp + DELAY - 1);
        vm.expectRevert(
            abi.encodeWithSelector(Distributor.InactiveRoot.selector, id, distributor.rootOf(id).activatesAt)
        );
        distributor.claim(asked);
        vm.warp(block.timestamp + 1);
        equal(distributor.claim(asked), 100);
    }

    function test_a_wrong_amount_account_or_proof_is_refused() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        asked.cumulativeAmount = 101;
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongProof.selector, id, alice, 101));
        distributor.claim(asked);
        asked = claimOf(id, 0);
        asked.account = stranger;
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongProof.selector, id, stranger, 100));
        distributor.claim(asked);
        asked = claimOf(id, 0);
        asked.proof = claimOf(id, 1).proof;
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongProof.selector, id, alice, 100));
        distributor.claim(asked);
    }

    function test_a_leaf_of_another_chain_or_distributor_is_refused() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.chainId(5);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongProof.selector, id, alice, 100));
        distributor.claim(asked);
    }

    function test_a_root_that_was_never_submitted_is_refused() public {
        settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(1, 0);
        asked.id = 7;
        vm.expectRevert(abi.encodeWithSelector(Distributor.UnknownRoot.selector, 7));
        distributor.claim(asked);
    }

    function test_a_tree_that_adds_up_to_more_than_its_total_pays_its_total_only() public {
        earned(100, 50, 25);
        fund(1000);
        vm.prank(publisher);
        distributor.submitRoot(1, nodes()[0], 120, bytes32(0));
        vm.warp(block.timestamp + DELAY);
        distributor.claim(claimOf(1, 0));
        Distributor.Claim memory asked = claimOf(1, 1);
        vm.expectRevert(abi.encodeWithSelector(Distributor.MoreThanPromised.selector, 150, 120));
        distributor.claim(asked);
    }

    function test_a_pending_root_pays_for_no_wrong_total() public {
        earned(100, 50, 25);
        fund(1000);
        vm.prank(publisher);
        distributor.submitRoot(1, nodes()[0], 120, bytes32(0));
        vm.warp(block.timestamp + DELAY);
        vm.prank(publisher);
        distributor.submitRoot(2, nodes()[0], 175, bytes32(0));
        distributor.claim(claimOf(1, 0));
        Distributor.Claim memory asked = claimOf(1, 1);
        vm.expectRevert(abi.encodeWithSelector(Distributor.MoreThanPromised.selector, 150, 120));
        distributor.claim(asked);
        vm.warp(block.timestamp + DELAY);
        // The second root's total counts from the first claim by it on.
        vm.expectRevert(abi.encodeWithSelector(Distributor.MoreThanPromised.selector, 150, 120));
        distributor.claim(asked);
        asked.id = 2;
        equal(distributor.claim(asked), 50);
        equal(distributor.ceiling(), 175);
    }

    function test_a_total_is_paid_to_the_last_unit() public {
        earned(100, 50, 25);
        fund(1000);
        vm.prank(publisher);
        distributor.submitRoot(1, nodes()[0], 150, bytes32(0));
        vm.warp(block.timestamp + DELAY);
        distributor.claim(claimOf(1, 0));
        equal(distributor.claim(claimOf(1, 1)), 50);
        Distributor.Claim memory asked = claimOf(1, 2);
        vm.expectRevert(abi.encodeWithSelector(Distributor.MoreThanPromised.selector, 175, 150));
        distributor.claim(asked);
        Distributor.Claim[] memory many = manyOf(1);
        vm.expectRevert(abi.encodeWithSelector(Distributor.MoreThanPromised.selector, 175, 150));
        distributor.claimMany(many);
    }

    function test_an_older_root_still_pays_once_more_than_its_total_was_claimed_by_a_newer_one() public {
        uint256 first = settle(100, 50, 25);
        Distributor.Claim memory older = claimOf(first, 2);
        uint256 second = settle(1000, 50, 25);
        distributor.claim(claimOf(second, 0));
        equal(distributor.claim(older), 25);
    }

    function test_a_tree_of_one_leaf_needs_no_proof() public {
        equal(distributor.claim(settleOne(alice, 100)), 100);
    }

    function test_an_inner_node_is_no_leaf() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        bytes32[] memory shorter = new bytes32[](asked.proof.length - 1);
        for (uint256 i = 0; i < shorter.length; ++i) {
            shorter[i] = asked.proof[i + 1];
        }
        asked.proof = shorter;
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongProof.selector, id, alice, 100));
        distributor.claim(asked);
    }

    function test_a_leaf_for_nobody_or_for_the_distributor_pays_nothing() public {
        address[2] memory wrong = [address(0), address(distributor)];
        for (uint256 i = 0; i < 2; ++i) {
            Distributor.Claim memory asked = settleOne(wrong[i], 100 * (i + 1));
            vm.expectRevert(abi.encodeWithSelector(Distributor.WrongRecipient.selector, wrong[i]));
            distributor.claim(asked);
            Distributor.Claim[] memory many = new Distributor.Claim[](1);
            many[0] = asked;
            vm.expectRevert(abi.encodeWithSelector(Distributor.WrongRecipient.selector, wrong[i]));
            distributor.claimMany(many);
        }
    }

    function test_a_claim_costs_no_more_after_many_roots() public {
        Distributor.Claim memory asked = settleOne(alice, 100);
        uint256 before = gasleft();
        distributor.claim(asked);
        uint256 first = before - gasleft();
        // A stolen publisher's key can submit as many roots as it pays for.
        for (uint256 i = 0; i < 200; ++i) {
            asked = settleOne(alice, 101 + i);
        }
        before = gasleft();
        distributor.claim(asked);
        require(before - gasleft() < first + 5000, "dearer");
    }

    function test_many_are_paid_at_once_and_who_has_nothing_is_passed_over() public {
        uint256 id = settle(100, 50, 25);
        distributor.claim(claimOf(id, 1));
        Distributor.Claim[] memory asked = new Distributor.Claim[](3);
        for (uint256 i = 0; i < 3; ++i) {
            asked[i] = claimOf(id, i);
        }
        equal(distributor.claimMany(asked), 125);
        equal(token.balanceOf(alice), 100);
        equal(token.balanceOf(bob), 50);
        equal(token.balanceOf(carol), 25);
        equal(token.balanceOf(address(distributor)), 0);
    }

    function test_a_wrong_proof_among_many_reverts_all() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim[] memory asked = new Distributor.Claim[](2);
        asked[0] = claimOf(id, 0);
        asked[1] = claimOf(id, 1);
        asked[1].cumulativeAmount = 51;
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongProof.selector, id, bob, 51));
        distributor.claimMany(asked);
        equal(token.balanceOf(alice), 0);
    }

    function test_one_account_twice_among_many_is_paid_once() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim[] memory asked = new Distributor.Claim[](2);
        asked[0] = claimOf(id, 0);
        asked[1] = claimOf(id, 0);
        equal(distributor.claimMany(asked), 100);
        equal(token.balanceOf(alice), 100);
    }

    function test_an_empty_claim_of_many_pays_nothing() public {
        equal(distributor.claimMany(new Distributor.Claim[](0)), 0);
    }

    function testFuzz_no_other_leaf_is_paid(address account, uint256 amount, bytes32[] memory proof, bytes32 sibling)
        public
    {
        uint256 id = settle(100, 50, 25);
        vm.assume(account != alice || amount != 100);
        Distributor.Claim memory asked = claimOf(id, 0);
        (asked.account, asked.cumulativeAmount) = (account, amount);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongProof.selector, id, account, amount));
        distributor.claim(asked);
        asked.proof = proof;
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongProof.selector, id, account, amount));
        distributor.claim(asked);
        asked = claimOf(id, 0);
        asked.proof[0] = sibling;
        vm.assume(sibling != claimOf(id, 0).proof[0]);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongProof.selector, id, alice, 100));
        distributor.claim(asked);
    }

    function testFuzz_three_claims_pay_the_highest_amount(uint96[3] memory amounts, uint8[3] memory order) public {
        Distributor.Claim[3] memory asked;
        uint256 highest;
        fund(type(uint96).max);
        for (uint256 i = 0; i < 3; ++i) {
            // Trees in which an account's amount falls are wrong, and still pay nobody twice.
            vm.prank(publisher);
            distributor.submitRoot(
                i + 1, Tree.leaf(address(distributor), alice, amounts[i]), type(uint96).max, bytes32(0)
            );
            asked[i] = Distributor.Claim(i + 1, alice, amounts[i], new bytes32[](0));
        }
        vm.warp(block.timestamp + DELAY);
        for (uint256 i = 0; i < 3; ++i) {
            uint256 amount = amounts[order[i] % 3];
            try distributor.claim(asked[order[i] % 3]) returns (uint256 paid) {
                equal(paid, amount - highest);
                highest = amount;
            } catch {
                require(amount <= highest, "did not pay");
            }
            equal(token.balanceOf(alice), highest);
            equal(distributor.claimed(alice), highest);
        }
    }

    function testFuzz_claims_in_any_order_pay_what_was_earned(
        uint96[3] memory first,
        uint96[3] memory more,
        uint8 order
    ) public {
        uint256 id = settle(first[0], first[1], first[2]);
        _claimIfAny(id, order % 3);
        id = settle(uint256(first[0]) + more[0], uint256(first[1]) + more[1], uint256(first[2]) + more[2]);
        for (uint256 i = 0; i < 3; ++i) {
            _claimIfAny(id, (order + i) % 3);
        }
        for (uint256 i = 0; i < 3; ++i) {
            equal(token.balanceOf(tiers[i].account), uint256(first[i]) + more[i]);
        }
        equal(token.balanceOf(address(distributor)), 0);
        equal(distributor.totalClaimed(), total());
    }

    function _claimIfAny(uint256 id, uint256 tier) private {
        if (tiers[tier].amount > distributor.claimed(tiers[tier].account)) distributor.claim(claimOf(id, tier));
    }
}
