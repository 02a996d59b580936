// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CumulativeDistributor as Distributor} from "../../src/CumulativeDistributor.sol";
import {Base} from "../Base.sol";
import {Tree} from "../Tree.sol";

/// @dev For Halmos, which runs these for all arguments at once.
contract ThreeClaims is Base {
    /// @dev Three roots with any amounts, claimed three times in any order, the same one more than once too.
    function check_three_claims_pay_the_highest_amount_and_no_more(
        uint128 one,
        uint128 two,
        uint128 three,
        uint8 first,
        uint8 second,
        uint8 third
    ) public {
        fund(type(uint128).max);
        _submit(1, one);
        _submit(2, two);
        _submit(3, three);
        vm.warp(block.timestamp + DELAY);
        uint256 highest = _claim(first, one, two, three, 0);
        highest = _claim(second, one, two, three, highest);
        _claim(third, one, two, three, highest);
    }

    function _submit(uint256 id, uint256 amount) private {
        vm.prank(publisher);
        distributor.submitRoot(id, Tree.leaf(address(distributor), bob, amount), type(uint128).max, bytes32(0));
    }

    function _claim(uint8 which, uint128 one, uint128 two, uint128 three, uint256 before) private returns (uint256) {
        (uint256 id, uint256 amount) = (3, three);
        if (which == 0) (id, amount) = (1, one);
        else if (which == 1) (id, amount) = (2, two);
        Distributor.Claim memory asked = Distributor.Claim(id, bob, amount, new bytes32[](0));
        (bool paid,) = address(distributor).call(abi.encodeCall(Distributor.claim, (asked)));
        assert(paid == (amount > before));
        uint256 highest = amount > before ? amount : before;
        assert(distributor.claimed(bob) == highest);
        assert(distributor.totalClaimed() == highest);
        assert(token.balanceOf(bob) == highest);
        assert(token.balanceOf(address(distributor)) == type(uint128).max - highest);
        return highest;
    }
}
