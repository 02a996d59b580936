// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Tree} from "./Tree.sol";
import {Vm} from "./Vm.sol";
import {Token} from "./mocks/Tokens.sol";

/// @dev Does what the roles and anyone else may do, each time so that it can succeed, and notes what should have come of
/// it. What should be refused is tried as well, and must be.
contract Handler {
    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant ACCOUNTS = 4;

    Distributor public distributor;
    Token public token;
    address public owner;
    address public publisher;
    address public guardian;
    /// @dev The accounts, and where each of them has its tokens paid if not to itself.
    address[ACCOUNTS] public accounts;
    address[ACCOUNTS] public elsewhere = [address(0xe1), address(0xe2), address(0xe3), address(0xe4)];
    uint256[ACCOUNTS] public received;
    uint256[ACCOUNTS] public receivedElsewhere;
    uint256 public funded;
    uint256 public swept;
    uint256 public submitted;
    uint256 public revoked;
    uint256 public paidClaims;
    uint256 public secondClaims;
    uint256 public signedClaims;
    uint256 public refusals;
    /// @dev The most that each account may have claimed: what it has in the last root that is active, by what was done
    /// here and not by what the distributor says. Amounts never fall from a root to the next that was not revoked.
    uint256[ACCOUNTS] public highestActive;
    uint256 private _noted;
    uint256[] private _ids;
    mapping(uint256 id => uint256 time) private _activatesAt;
    mapping(uint256 id => bool) private _revoked;
    mapping(uint256 id => uint256[ACCOUNTS] amounts) private _amounts;

    constructor(Distributor distributor_, Token token_, address owner_, address publisher_, address guardian_) {
        (distributor, token) = (distributor_, token_);
        (owner, publisher, guardian) = (owner_, publisher_, guardian_);
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            accounts[i] = vm.addr(i + 1);
        }
    }

    /// @dev Afterwards, notes what has become active by then.
    modifier noting() {
        _;
        _noteActive();
    }

    function submit(uint256[ACCOUNTS] calldata more, uint256 extra) public returns (uint256 id) {
        uint256 sum;
        uint256[ACCOUNTS] memory amounts = _amounts[distributor.lastLiveId()];
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            amounts[i] += more[i] % 1e18;
            sum += amounts[i];
        }
        _fund(sum, extra % 1e9);
        id = distributor.lastId() + 1;
        _amounts[id] = amounts;
        bytes32 root = _nodes(id)[0];
        vm.prank(publisher);
        distributor.submitRoot(id, root, sum, bytes32(id));
        _ids.push(id);
        _activatesAt[id] = block.timestamp + distributor.ACTIVATION_DELAY();
        ++submitted;
    }

    function wait_(uint256 time) external noting {
        vm.warp(block.timestamp + time % 2 days);
    }

    /// @dev Submits, waits until the root is active, and has one account claim: what matters, done whole.
    function settle(uint256[ACCOUNTS] calldata more, uint256 who) external noting {
        _claimFor(_settle(more), who % ACCOUNTS);
    }

    function settleMany(uint256[ACCOUNTS] calldata more) external noting {
        _claimMany(_settle(more));
    }

    function settleSigned(uint256[ACCOUNTS] calldata more, uint256 who) external noting {
        _claimSigned(_settle(more), who % ACCOUNTS);
    }

    function claim(uint256 which, uint256 who) external {
        if (_ids.length != 0) _claimFor(_ids[which % _ids.length], who % ACCOUNTS);
    }

    function claimTo(uint256 which, uint256 who) external {
        if (_ids.length == 0) return;
        (uint256 id, uint256 i) = (_ids[which % _ids.length], who % ACCOUNTS);
        uint256 due = _due(id, i);
        Distributor.Claim memory asked = _claim(id, i);
        vm.prank(accounts[i]);
        try distributor.claimTo(asked, elsewhere[i]) returns (uint256 amount) {
            _paid(i, amount, due);
            receivedElsewhere[i] += amount;
        } catch {
            require(due == 0, "did not pay what was due");
        }
    }

    function claimSigned(uint256 which, uint256 who) external {
        if (_ids.length != 0) _claimSigned(_ids[which % _ids.length], who % ACCOUNTS);
    }

    function claimMany(uint256 which) external {
        if (_ids.length == 0) return;
        uint256 id = _ids[which % _ids.length];
        if (_isActive(id)) _claimMany(id);
    }

    /// @dev More than was earned, another's amount, another's signature, and a claim while claims are paused.
    function cheat(uint256 which, uint256 who, uint256 more) external {
        if (_ids.length == 0) return;
        (uint256 id, uint256 i) = (_ids[which % _ids.length], who % ACCOUNTS);
        Distributor.Claim memory asked = _claim(id, i);
        asked.cumulativeAmount += more % 1e18 + 1;
        _refused(abi.encodeCall(Distributor.claim, (asked)));
        asked = _claim(id, i);
        _refused(abi.encodeCall(Distributor.claimTo, (asked, address(this))));
        bytes memory signature = _signed(i + 2, asked, elsewhere[i]);
        _refused(abi.encodeCall(Distributor.claimToWithSignature, (asked, elsewhere[i], block.timestamp, signature)));
        signature = _signed(i + 1, asked, elsewhere[i]);
        _refused(abi.encodeCall(Distributor.claimToWithSignature, (asked, address(this), block.timestamp, signature)));
        vm.prank(guardian);
        distributor.pauseClaims(true);
        _refused(abi.encodeCall(Distributor.claim, (asked)));
        vm.prank(guardian);
        distributor.pauseClaims(false);
        asked.account = address(this);
        _refused(abi.encodeCall(Distributor.claim, (asked)));
    }

    function revoke(uint256 which) external {
        if (_ids.length == 0) return;
        uint256 id = _ids[which % _ids.length];
        bool may = !_revoked[id] && block.timestamp < _activatesAt[id];
        vm.prank(guardian);
        try distributor.revokeRoot(id) {
            require(may, "revoked an active root");
            _revoked[id] = true;
            ++revoked;
        } catch {
            require(!may, "did not revoke a pending root");
        }
    }

    function sweep(uint256 amount) external {
        uint256 most = distributor.surplus();
        vm.prank(owner);
        try distributor.sweep(owner, most + 1) {
            revert("swept what is owed");
        } catch {}
        amount = amount % (most + 1);
        vm.prank(owner);
        distributor.sweep(owner, amount);
        swept += amount;
    }

    function _noteActive() private {
        for (; _noted < _ids.length && block.timestamp >= _activatesAt[_ids[_noted]]; ++_noted) {
            if (_revoked[_ids[_noted]]) continue;
            for (uint256 i = 0; i < ACCOUNTS; ++i) {
                highestActive[i] = _amounts[_ids[_noted]][i];
            }
        }
    }

    function _settle(uint256[ACCOUNTS] calldata more) private returns (uint256 id) {
        id = submit(more, 0);
        vm.warp(block.timestamp + distributor.ACTIVATION_DELAY());
    }

    function _isActive(uint256 id) private view returns (bool) {
        return !_revoked[id] && block.timestamp >= _activatesAt[id];
    }

    function _due(uint256 id, uint256 i) private view returns (uint256) {
        uint256 before = distributor.claimed(accounts[i]);
        return _isActive(id) && _amounts[id][i] > before ? _amounts[id][i] - before : 0;
    }

    function _paid(uint256 i, uint256 amount, uint256 due) private {
        require(due != 0 && amount == due, "paid what was not due");
        if (received[i] + receivedElsewhere[i] != 0) ++secondClaims;
        ++paidClaims;
    }

    function _claimFor(uint256 id, uint256 i) private {
        uint256 due = _due(id, i);
        try distributor.claim(_claim(id, i)) returns (uint256 amount) {
            _paid(i, amount, due);
            received[i] += amount;
        } catch {
            require(due == 0, "did not pay what was due");
        }
    }

    function _claimSigned(uint256 id, uint256 i) private {
        uint256 due = _due(id, i);
        Distributor.Claim memory asked = _claim(id, i);
        bytes memory signature = _signed(i + 1, asked, elsewhere[i]);
        try distributor.claimToWithSignature(asked, elsewhere[i], block.timestamp, signature) returns (uint256 amount) {
            _paid(i, amount, due);
            receivedElsewhere[i] += amount;
            ++signedClaims;
        } catch {
            require(due == 0, "did not pay what was due");
        }
    }

    function _claimMany(uint256 id) private {
        Distributor.Claim[] memory asked = new Distributor.Claim[](ACCOUNTS);
        uint256 sum;
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            asked[i] = _claim(id, i);
            uint256 due = _due(id, i);
            if (due == 0) continue;
            _paid(i, due, due);
            received[i] += due;
            sum += due;
        }
        require(distributor.claimMany(asked) == sum, "paid another sum than was due");
    }

    function _refused(bytes memory call_) private {
        (bool done,) = address(distributor).call(call_);
        require(!done, "took what should be refused");
        ++refusals;
    }

    function _fund(uint256 sum, uint256 extra) private {
        uint256 covered = token.balanceOf(address(distributor)) + distributor.totalClaimed();
        uint256 missing = (covered < sum ? sum - covered : 0) + extra;
        token.mint(address(distributor), missing);
        funded += missing;
    }

    function _nodes(uint256 id) private view returns (bytes32[] memory) {
        bytes32[] memory leaves = new bytes32[](ACCOUNTS);
        for (uint256 i = 0; i < ACCOUNTS; ++i) {
            leaves[i] = Tree.leaf(address(distributor), accounts[i], _amounts[id][i]);
        }
        return Tree.build(leaves);
    }

    function _claim(uint256 id, uint256 account) private view returns (Distributor.Claim memory) {
        bytes32 leaf = Tree.leaf(address(distributor), accounts[account], _amounts[id][account]);
        return Distributor.Claim(id, accounts[account], _amounts[id][account], Tree.proof(_nodes(id), leaf));
    }

    function _signed(uint256 key, Distributor.Claim memory asked, address to) private view returns (bytes memory) {
        bytes32 kind = keccak256(
            "ClaimTo(address account,address to,uint256 id,uint256 cumulativeAmount,uint256 nonce,uint256 deadline)"
        );
        uint256 nonce = distributor.nonces(asked.account);
        bytes32 said =
            keccak256(abi.encode(kind, asked.account, to, asked.id, asked.cumulativeAmount, nonce, block.timestamp));
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked(hex"1901", distributor.domainSeparator(), said)));
        return abi.encodePacked(r, s, v);
    }
}
