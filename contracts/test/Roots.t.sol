// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Base} from "./Base.sol";

contract RootsTest is Base {
    function test_ids_are_sequential_and_a_repeated_submission_reverts() public {
        earned(100, 50, 25);
        fund(175);
        submit();
        bytes32 root = nodes()[0];
        uint256[3] memory wrong = [uint256(0), 1, 3];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.WrongId.selector, wrong[i], 2));
            vm.prank(publisher);
            distributor.submitRoot(wrong[i], root, 175, bytes32(0));
        }
        equal(distributor.lastId(), 1);
    }

    function test_a_total_never_falls() public {
        settle(100, 50, 25);
        bytes32 root = nodes()[0];
        vm.expectRevert(abi.encodeWithSelector(Distributor.TotalFell.selector, 174, 175));
        vm.prank(publisher);
        distributor.submitRoot(2, root, 174, bytes32(0));
        vm.prank(publisher);
        distributor.submitRoot(2, root, 175, bytes32(0));
    }

    function test_a_root_that_is_not_covered_is_refused() public {
        uint256 id = settle(100, 50, 25);
        distributor.claim(claimOf(id, 0));
        earned(100, 60, 25);
        bytes32 root = nodes()[0];
        vm.expectRevert(abi.encodeWithSelector(Distributor.Underfunded.selector, 185, 175));
        vm.prank(publisher);
        distributor.submitRoot(2, root, 185, bytes32(0));
        fund(10);
        submit();
    }

    function test_a_root_that_was_never_submitted_is_none() public {
        settle(100, 50, 25);
        uint256[2] memory wrong = [uint256(0), 2];
        for (uint256 i = 0; i < 2; ++i) {
            require(!distributor.isActive(wrong[i]) && distributor.rootOf(wrong[i]).root == bytes32(0));
            vm.expectRevert(abi.encodeWithSelector(Distributor.UnknownRoot.selector, wrong[i]));
            vm.prank(guardian);
            distributor.revokeRoot(wrong[i]);
        }
    }

    /// @dev Any order of submissions and revocations leaves what a plain list of them would.
    function testFuzz_the_live_roots_are_those_that_were_not_revoked(uint256 seed) public {
        uint256[9] memory totals;
        bool[9] memory revoked;
        fund(type(uint128).max);
        uint256 count;
        for (uint256 step = 0; step < 16; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            (uint256 last, uint256 lastTotal) = _lastLive(totals, revoked, count);
            if (seed % 3 != 0 && count < 8) {
                totals[++count] = lastTotal + (seed >> 8) % 100;
                vm.prank(publisher);
                distributor.submitRoot(count, bytes32(seed), totals[count], bytes32(0));
            } else if (count != 0) {
                uint256 id = (seed >> 8) % count + 1;
                if (!revoked[id]) {
                    vm.prank(guardian);
                    distributor.revokeRoot(id);
                    revoked[id] = true;
                }
            }
            (last, lastTotal) = _lastLive(totals, revoked, count);
            equal(distributor.lastLiveId(), last);
            equal(distributor.promised(), lastTotal);
            equal(distributor.lastId(), count);
        }
        for (uint256 id = 1; id <= count; ++id) {
            require(distributor.rootOf(id).revoked == revoked[id]);
        }
    }

    function _lastLive(uint256[9] memory totals, bool[9] memory revoked, uint256 count)
        private
        pure
        returns (uint256 id, uint256 total_)
    {
        for (id = count; id > 0 && revoked[id]; --id) {}
        total_ = totals[id];
    }

    function testFuzz_a_root_is_taken_if_and_only_if_it_is_covered_and_no_less_than_before(
        uint96 held,
        uint96 first,
        uint96 second
    ) public {
        fund(held);
        uint256 before;
        uint96[2] memory totals = [first, second];
        for (uint256 i = 0; i < 2; ++i) {
            uint256 id = distributor.lastId() + 1;
            bool taken = totals[i] >= before && totals[i] <= held;
            if (totals[i] < before) {
                vm.expectRevert(abi.encodeWithSelector(Distributor.TotalFell.selector, totals[i], before));
            } else if (!taken) {
                vm.expectRevert(abi.encodeWithSelector(Distributor.Underfunded.selector, totals[i], held));
            }
            vm.prank(publisher);
            distributor.submitRoot(id, bytes32(uint256(1)), totals[i], bytes32(0));
            if (taken) before = totals[i];
            equal(distributor.promised(), before);
        }
    }

    function test_an_empty_root_is_refused() public {
        vm.expectRevert(Distributor.NoRoot.selector);
        vm.prank(publisher);
        distributor.submitRoot(1, bytes32(0), 0, bytes32(0));
    }

    function test_only_the_publisher_submits() public {
        earned(1, 1, 1);
        bytes32 root = nodes()[0];
        address[3] memory others = [owner, guardian, stranger];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.NotThePublisher.selector, others[i]));
            vm.prank(others[i]);
            distributor.submitRoot(1, root, 0, bytes32(0));
        }
    }

    function test_a_root_is_kept_as_it_was_submitted() public {
        earned(100, 50, 25);
        fund(175);
        uint256 id = submit();
        Distributor.Root memory found = distributor.rootOf(id);
        require(found.root == nodes()[0] && found.metadataHash == keccak256("checkpoint"));
        equal(found.total, 175);
        equal(found.activatesAt, block.timestamp + DELAY);
        require(!found.revoked && !distributor.isActive(id));
        vm.warp(found.activatesAt);
        require(distributor.isActive(id));
    }

    function test_a_revoked_root_pays_nothing_ever() public {
        earned(100, 50, 25);
        fund(175);
        uint256 id = submit();
        vm.prank(guardian);
        distributor.revokeRoot(id);
        vm.warp(block.timestamp + 10 * DELAY);
        require(!distributor.isActive(id));
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.expectRevert(abi.encodeWithSelector(Distributor.RevokedRoot.selector, id));
        distributor.claim(asked);
    }

    function test_an_active_root_cannot_be_revoked() public {
        uint256 id = settle(100, 50, 25);
        vm.expectRevert(abi.encodeWithSelector(Distributor.ActiveRoot.selector, id, distributor.rootOf(id).activatesAt));
        vm.prank(guardian);
        distributor.revokeRoot(id);
    }

    function test_a_root_can_be_revoked_until_the_last_second() public {
        earned(100, 50, 25);
        fund(175);
        uint256 id = submit();
        vm.warp(block.timestamp + DELAY - 1);
        vm.prank(guardian);
        distributor.revokeRoot(id);
    }

    function test_a_root_is_revoked_once() public {
        earned(100, 50, 25);
        fund(175);
        uint256 id = submit();
        vm.prank(guardian);
        distributor.revokeRoot(id);
        vm.expectRevert(abi.encodeWithSelector(Distributor.RevokedRoot.selector, id));
        vm.prank(guardian);
        distributor.revokeRoot(id);
    }

    function test_many_roots_are_revoked_at_once_or_none_of_them() public {
        uint256[] memory ids = new uint256[](3);
        fund(300);
        for (uint256 i = 0; i < 3; ++i) {
            earned(100 * (i + 1), 0, 0);
            ids[i] = submit();
        }
        vm.expectRevert(abi.encodeWithSelector(Distributor.NotTheGuardian.selector, publisher));
        vm.prank(publisher);
        distributor.revokeRoots(ids);
        uint256[] memory twice = new uint256[](2);
        (twice[0], twice[1]) = (1, 1);
        vm.expectRevert(abi.encodeWithSelector(Distributor.RevokedRoot.selector, 1));
        vm.prank(guardian);
        distributor.revokeRoots(twice);
        equal(distributor.promised(), 300);
        vm.prank(guardian);
        distributor.revokeRoots(ids);
        equal(distributor.promised(), 0);
        equal(distributor.surplus(), 300);
    }

    function test_only_the_guardian_revokes() public {
        earned(100, 50, 25);
        fund(175);
        uint256 id = submit();
        address[3] memory others = [owner, publisher, stranger];
        for (uint256 i = 0; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.NotTheGuardian.selector, others[i]));
            vm.prank(others[i]);
            distributor.revokeRoot(id);
        }
    }

    function test_a_revoked_total_binds_nobody() public {
        settle(100, 50, 25);
        earned(1000, 50, 25);
        fund(900);
        uint256 wrong = submit();
        equal(distributor.promised(), 1075);
        vm.prank(guardian);
        distributor.revokeRoot(wrong);
        equal(distributor.promised(), 175);
        equal(distributor.surplus(), 900);
        uint256 right = settle(110, 50, 25);
        equal(right, 3);
        equal(distributor.claim(claimOf(right, 0)), 110);
    }

    function test_a_root_in_the_middle_can_be_revoked_and_those_around_it_stay() public {
        uint256[3] memory ids;
        Distributor.Claim[3] memory asked;
        for (uint256 i = 0; i < 3; ++i) {
            earned(100 * (i + 1), 50, 25);
            fund(100 + (i == 0 ? 75 : 0));
            ids[i] = submit();
            asked[i] = claimOf(ids[i], 0);
        }
        vm.prank(guardian);
        distributor.revokeRoot(ids[1]);
        equal(distributor.promised(), 375);
        vm.warp(block.timestamp + DELAY);
        equal(distributor.claim(asked[0]), 100);
        equal(distributor.claim(asked[2]), 200);
        vm.expectRevert(abi.encodeWithSelector(Distributor.RevokedRoot.selector, ids[1]));
        distributor.claim(asked[1]);
    }

    function test_first_and_last_pending_roots_can_be_revoked_in_any_order() public {
        uint256[3] memory ids;
        for (uint256 i = 0; i < 3; ++i) {
            earned(100 * (i + 1), 0, 0);
            fund(100);
            ids[i] = submit();
        }
        vm.prank(guardian);
        distributor.revokeRoot(ids[2]);
        equal(distributor.promised(), 200);
        vm.prank(guardian);
        distributor.revokeRoot(ids[0]);
        equal(distributor.promised(), 200);
        vm.prank(guardian);
        distributor.revokeRoot(ids[1]);
        equal(distributor.promised(), 0);
        equal(distributor.lastLiveId(), 0);
        equal(distributor.surplus(), 300);
        equal(settle(100, 0, 0), 4);
    }
}
