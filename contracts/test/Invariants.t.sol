// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Base} from "./Base.sol";
import {Tree} from "./Tree.sol";
import {Vm} from "./Vm.sol";
import {Token} from "./mocks/Tokens.sol";

/// @dev Does what anyone may do, with luck on its side: each action ends in a call that mostly succeeds.
contract Handler {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    Distributor public distributor;
    Token public token;
    address public owner;
    address public publisher;
    address public guardian;
    address[4] public accounts = [address(0xa1), address(0xb2), address(0xc3), address(0xd4)];
    uint256[4] public earned;
    uint256[4] public received;
    uint256 public funded;
    uint256 public swept;
    uint256 public submitted;
    uint256 public revoked;
    uint256 public paidClaims;
    uint256 public secondClaims;
    uint256[] private _ids;
    mapping(uint256 id => uint256[4] amounts) private _amounts;

    constructor(Distributor distributor_, Token token_, address owner_, address publisher_, address guardian_) {
        (distributor, token) = (distributor_, token_);
        (owner, publisher, guardian) = (owner_, publisher_, guardian_);
    }

    function submit(uint256[4] calldata more, uint256 extra) external {
        uint256 sum;
        uint256[4] memory amounts = distributor.lastLiveId() == 0 ? earned : _amounts[distributor.lastLiveId()];
        for (uint256 i = 0; i < 4; ++i) {
            amounts[i] += more[i] % 1e18;
            sum += amounts[i];
        }
        _fund(sum, extra % 1e9);
        uint256 id = distributor.lastId() + 1;
        _amounts[id] = amounts;
        bytes32 root = _nodes(id)[0];
        vm.prank(publisher);
        distributor.submitRoot(id, root, sum, bytes32(id));
        _ids.push(id);
        ++submitted;
    }

    function wait_(uint256 time) external {
        vm.warp(block.timestamp + time % 2 days);
    }

    /// @dev Submits, waits until the root is active, and has one account claim: what matters, done whole.
    function settle(uint256[4] calldata more, uint256 who) external {
        this.submit(more, 0);
        vm.warp(block.timestamp + distributor.ACTIVATION_DELAY());
        this.claim(_ids.length - 1, who);
    }

    function revoke(uint256 which) external {
        if (_ids.length == 0) return;
        uint256 id = _ids[which % _ids.length];
        Distributor.Root memory found = distributor.rootOf(id);
        if (found.revoked || block.timestamp >= found.activatesAt) return;
        vm.prank(guardian);
        distributor.revokeRoot(id);
        ++revoked;
    }

    function claim(uint256 which, uint256 who) external {
        if (_ids.length == 0) return;
        (uint256 id, uint256 account) = (_ids[which % _ids.length], who % 4);
        bool due = distributor.isActive(id) && _amounts[id][account] > distributor.claimed(accounts[account]);
        uint256 before = token.balanceOf(accounts[account]);
        bool again = distributor.claimed(accounts[account]) != 0;
        try distributor.claim(_claim(id, account)) returns (uint256 amount) {
            require(due && amount == token.balanceOf(accounts[account]) - before, "paid what was not due");
            received[account] += amount;
            ++paidClaims;
            if (again) ++secondClaims;
        } catch {
            require(!due, "did not pay what was due");
        }
    }

    function claimMany(uint256 which) external {
        if (_ids.length == 0) return;
        uint256 id = _ids[which % _ids.length];
        if (!distributor.isActive(id)) return;
        Distributor.Claim[] memory asked = new Distributor.Claim[](4);
        uint256[4] memory before;
        for (uint256 i = 0; i < 4; ++i) {
            asked[i] = _claim(id, i);
            before[i] = token.balanceOf(accounts[i]);
        }
        distributor.claimMany(asked);
        for (uint256 i = 0; i < 4; ++i) received[i] += token.balanceOf(accounts[i]) - before[i];
    }

    function sweep(uint256 amount) external {
        uint256 most = distributor.surplus();
        if (most == 0) return;
        amount = amount % most + 1;
        vm.prank(owner);
        distributor.sweep(owner, amount);
        swept += amount;
    }

    /// @dev The most that an account may have claimed: the highest of its active roots' amounts.
    function highestActive(uint256 account) external view returns (uint256 highest) {
        for (uint256 i = 0; i < _ids.length; ++i) {
            uint256 amount = _amounts[_ids[i]][account];
            if (distributor.isActive(_ids[i]) && amount > highest) highest = amount;
        }
    }

    function _fund(uint256 sum, uint256 extra) private {
        uint256 covered = token.balanceOf(address(distributor)) + distributor.totalClaimed();
        uint256 missing = (covered < sum ? sum - covered : 0) + extra;
        token.mint(address(distributor), missing);
        funded += missing;
    }

    function _nodes(uint256 id) private view returns (bytes32[] memory) {
        bytes32[] memory leaves = new bytes32[](4);
        for (uint256 i = 0; i < 4; ++i) leaves[i] = Tree.leaf(address(distributor), accounts[i], _amounts[id][i]);
        return Tree.build(leaves);
    }

    function _claim(uint256 id, uint256 account) private view returns (Distributor.Claim memory) {
        bytes32 leaf = Tree.leaf(address(distributor), accounts[account], _amounts[id][account]);
        return Distributor.Claim(id, accounts[account], _amounts[id][account], Tree.proof(_nodes(id), leaf));
    }
}

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

    /// forge-config: default.invariant.runs = 256
    /// forge-config: default.invariant.depth = 128
    /// forge-config: default.invariant.fail-on-revert = true
    function invariant_nothing_is_paid_but_what_was_earned_and_funded() public view {
        uint256 sum;
        for (uint256 i = 0; i < 4; ++i) {
            address account = handler.accounts(i);
            equal(distributor.claimed(account), handler.received(i));
            equal(token.balanceOf(account), handler.received(i));
            require(handler.received(i) <= handler.highestActive(i), "more than was earned");
            sum += handler.received(i);
        }
        equal(distributor.totalClaimed(), sum);
        require(sum <= distributor.promised(), "more than was promised");
        equal(token.balanceOf(address(distributor)) + sum + handler.swept(), handler.funded());
        require(token.balanceOf(address(distributor)) >= distributor.promised() - sum, "not covered");
        equal(token.balanceOf(publisher) + token.balanceOf(guardian), 0);
        equal(token.balanceOf(owner), handler.swept());
    }

    /// @dev What a run of nothing but refusals would pass, this does not.
    function afterInvariant() public view {
        require(handler.submitted() >= 4, "too few roots");
        require(handler.paidClaims() >= 4, "too few claims");
        require(handler.secondClaims() >= 2, "too few second claims");
    }
}
