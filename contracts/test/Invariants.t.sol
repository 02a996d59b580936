// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Handler} from "./Handler.sol";

contract InvariantsTest is Base {
    Handler private handler;

    function setUp() public override {
        super.setUp();
        handler = new Handler(distributor, token, owner, publisher, guardian);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_nothing_is_paid_but_what_was_earned_and_funded() public view {
        uint256 sum;
        for (uint256 i = 0; i < 4; ++i) {
            uint256 got = handler.received(i) + handler.receivedElsewhere(i);
            equal(distributor.claimed(handler.accounts(i)), got);
            equal(token.balanceOf(handler.accounts(i)), handler.received(i));
            equal(token.balanceOf(handler.elsewhere(i)), handler.receivedElsewhere(i));
            require(got <= handler.highestActive(i), "more than was earned");
            sum += got;
        }
        equal(distributor.totalClaimed(), sum);
        require(sum <= distributor.ceiling() && distributor.ceiling() <= distributor.promised(), "more than promised");
        uint256 held = token.balanceOf(address(distributor));
        require(held >= distributor.promised() - sum, "not covered");
        equal(held - distributor.surplus(), distributor.promised() - sum);
        equal(token.balanceOf(owner), handler.swept());
        // All there is is here, paid to the accounts or swept: nobody else gained anything.
        equal(held + sum + handler.swept(), handler.funded());
        equal(token.totalSupply(), handler.funded());
    }

    /// @dev What a run of nothing but refusals would pass, this does not.
    function afterInvariant() public view {
        require(handler.submitted() >= 8, "too few roots");
        require(handler.paidClaims() >= 8, "too few claims");
        require(handler.secondClaims() >= 4, "too few second claims");
        require(handler.signedClaims() >= 1, "too few claims by a signature");
        require(handler.refusals() >= 6, "nothing was refused");
    }
}
