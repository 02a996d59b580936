// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {DemoToken} from "../src/demo/DemoToken.sol";
import {Base} from "./Base.sol";

contract RolesTest is Base {
    function test_three_roles_need_three_addresses() public {
        address[3][4] memory wrong = [
            [owner, owner, guardian],
            [owner, publisher, owner],
            [owner, publisher, publisher],
            [owner, publisher, address(0)]
        ];
        for (uint256 i = 0; i < 4; ++i) {
            if (i < 3) {
                address twice = i == 2 ? publisher : owner;
                vm.expectRevert(abi.encodeWithSelector(Distributor.RolesMustDiffer.selector, twice));
            } else {
                vm.expectRevert(Distributor.NoAddress.selector);
            }
            deploy(address(token), wrong[i][0], wrong[i][1], wrong[i][2], DELAY);
        }
    }

    function test_a_delay_is_neither_too_short_nor_too_long() public {
        uint64[2] memory wrong = [distributor.SHORTEST_DELAY() - 1, distributor.LONGEST_DELAY() + 1];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.DelayOutOfBounds.selector, wrong[i]));
            deploy(address(token), owner, publisher, guardian, wrong[i]);
        }
        deploy(address(token), owner, publisher, guardian, 1 minutes);
        deploy(address(token), owner, publisher, guardian, 30 days);
    }

    function test_a_distributor_needs_a_token() public {
        address[2] memory wrong = [address(0), stranger];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.NotAToken.selector, wrong[i]));
            deploy(wrong[i], owner, publisher, guardian, DELAY);
        }
    }

    function test_only_the_owner_appoints() public {
        address[3] memory others = [publisher, guardian, stranger];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, others[i]));
            vm.prank(others[i]);
            distributor.setPublisher(address(9));
            vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, others[i]));
            vm.prank(others[i]);
            distributor.setGuardian(address(9));
        }
        vm.startPrank(owner);
        distributor.setPublisher(address(8));
        distributor.setGuardian(address(9));
        require(distributor.publisher() == address(8) && distributor.guardian() == address(9));
    }

    function test_an_appointment_keeps_roles_apart() public {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(Distributor.RolesMustDiffer.selector, owner));
        distributor.setPublisher(owner);
        vm.expectRevert(abi.encodeWithSelector(Distributor.RolesMustDiffer.selector, guardian));
        distributor.setPublisher(guardian);
        vm.expectRevert(abi.encodeWithSelector(Distributor.RolesMustDiffer.selector, owner));
        distributor.setGuardian(owner);
        vm.expectRevert(Distributor.NoAddress.selector);
        distributor.setGuardian(address(0));
    }

    function test_ownership_is_taken_in_two_steps_and_not_by_another_role() public {
        vm.prank(owner);
        distributor.transferOwnership(stranger);
        require(distributor.owner() == owner);
        vm.prank(stranger);
        distributor.acceptOwnership();
        require(distributor.owner() == stranger);
        vm.prank(stranger);
        distributor.transferOwnership(publisher);
        vm.expectRevert(abi.encodeWithSelector(Distributor.RolesMustDiffer.selector, publisher));
        vm.prank(publisher);
        distributor.acceptOwnership();
    }

    function test_who_was_appointed_while_ownership_was_offered_cannot_take_it() public {
        address[2] memory offered = [address(8), guardian];
        for (uint256 i = 0; i < 2; ++i) {
            vm.prank(owner);
            distributor.transferOwnership(offered[i]);
            if (i == 0) {
                vm.prank(owner);
                distributor.setPublisher(offered[0]);
            }
            vm.expectRevert(abi.encodeWithSelector(Distributor.RolesMustDiffer.selector, offered[i]));
            vm.prank(offered[i]);
            distributor.acceptOwnership();
            require(distributor.owner() == owner);
        }
    }

    function test_only_who_was_offered_ownership_takes_it_and_an_offer_can_be_withdrawn() public {
        vm.prank(owner);
        distributor.transferOwnership(stranger);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, carol));
        vm.prank(carol);
        distributor.acceptOwnership();
        vm.prank(owner);
        distributor.transferOwnership(address(0));
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        distributor.acceptOwnership();
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        distributor.transferOwnership(stranger);
    }

    function test_ownership_cannot_be_given_up() public {
        vm.expectRevert(Distributor.OwnerNeeded.selector);
        vm.prank(owner);
        distributor.renounceOwnership();
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        distributor.renounceOwnership();
    }

    function test_a_replaced_publisher_submits_nothing() public {
        vm.prank(owner);
        distributor.setPublisher(address(8));
        earned(0, 0, 1);
        bytes32 root = nodes()[0];
        vm.expectRevert(abi.encodeWithSelector(Distributor.NotThePublisher.selector, publisher));
        vm.prank(publisher);
        distributor.submitRoot(1, root, 0, bytes32(0));
    }

    function test_claims_and_roots_are_paused_separately_by_the_guardian_alone() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        address[3] memory others = [owner, publisher, stranger];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.NotTheGuardian.selector, others[i]));
            vm.prank(others[i]);
            distributor.pauseClaims(true);
            vm.expectRevert(abi.encodeWithSelector(Distributor.NotTheGuardian.selector, others[i]));
            vm.prank(others[i]);
            distributor.pauseRoots(true);
        }
        vm.prank(guardian);
        distributor.pauseClaims(true);
        vm.expectRevert(Distributor.ClaimsArePaused.selector);
        distributor.claim(asked);
        vm.expectRevert(Distributor.ClaimsArePaused.selector);
        vm.prank(alice);
        distributor.claimTo(asked, bob);
        Distributor.Claim[] memory many = manyOf(id);
        vm.expectRevert(Distributor.ClaimsArePaused.selector);
        distributor.claimMany(many);
        submit();
        vm.startPrank(guardian);
        distributor.pauseClaims(false);
        distributor.pauseRoots(true);
        vm.stopPrank();
        equal(distributor.claim(asked), 100);
        bytes32 root = nodes()[0];
        vm.expectRevert(Distributor.RootsArePaused.selector);
        vm.prank(publisher);
        distributor.submitRoot(3, root, 175, bytes32(0));
        vm.prank(guardian);
        distributor.pauseRoots(false);
        equal(submit(), 3);
    }

    function test_only_what_nobody_may_claim_is_swept() public {
        uint256 id = settle(100, 50, 25);
        fund(7);
        distributor.claim(claimOf(id, 0));
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(Distributor.NotSurplus.selector, 8, 7));
        distributor.sweep(stranger, 8);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongRecipient.selector, address(0)));
        distributor.sweep(address(0), 7);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongRecipient.selector, address(distributor)));
        distributor.sweep(address(distributor), 7);
        distributor.sweep(stranger, 7);
        vm.stopPrank();
        equal(token.balanceOf(stranger), 7);
        equal(token.balanceOf(address(distributor)), 75);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        distributor.sweep(stranger, 0);
    }

    function testFuzz_what_accounts_may_claim_is_never_swept(uint96[3] memory amounts, uint96 extra, uint256 wanted)
        public
    {
        uint256 id = settle(amounts[0], amounts[1], amounts[2]);
        fund(extra);
        if (amounts[0] != 0) distributor.claim(claimOf(id, 0));
        equal(distributor.surplus(), extra);
        vm.startPrank(owner);
        if (wanted > extra) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.NotSurplus.selector, wanted, extra));
            distributor.sweep(stranger, wanted);
            wanted = extra;
        }
        distributor.sweep(stranger, wanted);
        vm.stopPrank();
        equal(distributor.surplus(), extra - wanted);
        equal(distributor.claimMany(manyOf(id)), uint256(amounts[1]) + amounts[2]);
    }

    function test_the_demonstration_token_is_made_by_its_owner_alone() public {
        DemoToken made = new DemoToken("Demo", "DMO", 6, owner);
        equal(made.decimals(), 6);
        vm.prank(owner);
        made.mint(alice, 5);
        equal(made.balanceOf(alice), 5);
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, stranger));
        vm.prank(stranger);
        made.mint(stranger, 5);
    }

    function test_a_pending_root_is_not_swept_away() public {
        earned(100, 50, 25);
        fund(175);
        submit();
        equal(distributor.surplus(), 0);
        vm.expectRevert(abi.encodeWithSelector(Distributor.NotSurplus.selector, 1, 0));
        vm.prank(owner);
        distributor.sweep(stranger, 1);
    }
}
