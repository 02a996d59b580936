// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Base} from "./Base.sol";
import {Vm} from "./Vm.sol";
import {BlocklistToken} from "./mocks/Tokens.sol";

/// @dev What an outsider knows of a distributor that has read nothing but its logs.
contract Logs {
    struct Root {
        bytes32 root;
        bytes32 metadataHash;
        uint256 total;
        uint64 activatesAt;
        bool revoked;
    }

    address public token;
    uint64 public activationDelay;
    address public owner;
    address public pendingOwner;
    address public publisher;
    address public guardian;
    bool public claimsPaused;
    bool public rootsPaused;
    uint256 public lastId;
    uint256 public totalClaimed;
    uint256 public ceiling;
    uint256 public swept;
    mapping(address account => uint256 amount) public claimed;
    mapping(address account => uint256 nonce) public nonces;
    mapping(uint256 id => Root root) private _roots;

    function rootOf(uint256 id) external view returns (Root memory) {
        return _roots[id];
    }

    function lastLiveId() public view returns (uint256 id) {
        for (id = lastId; id > 0 && _roots[id].revoked; --id) {}
    }

    function promised() external view returns (uint256) {
        return _roots[lastLiveId()].total;
    }

    function read(Vm.Log calldata log) external {
        bytes32 kind = log.topics[0];
        if (kind == Distributor.Deployed.selector) {
            token = _address(log.topics[1]);
            activationDelay = abi.decode(log.data, (uint64));
        } else if (kind == Ownable2Step.OwnershipTransferStarted.selector) {
            pendingOwner = _address(log.topics[2]);
        } else if (kind == Ownable.OwnershipTransferred.selector) {
            owner = _address(log.topics[2]);
            pendingOwner = address(0);
        } else if (kind == Distributor.PublisherChanged.selector) {
            publisher = _address(log.topics[2]);
        } else if (kind == Distributor.GuardianChanged.selector) {
            guardian = _address(log.topics[2]);
        } else if (kind == Distributor.ClaimsPaused.selector) {
            claimsPaused = abi.decode(log.data, (bool));
        } else if (kind == Distributor.RootsPaused.selector) {
            rootsPaused = abi.decode(log.data, (bool));
        } else if (kind == Distributor.RootSubmitted.selector) {
            lastId = uint256(log.topics[1]);
            Root storage root = _roots[lastId];
            root.root = log.topics[2];
            (root.total, root.metadataHash, root.activatesAt) = abi.decode(log.data, (uint256, bytes32, uint64));
        } else if (kind == Distributor.RootRevoked.selector) {
            _roots[uint256(log.topics[1])].revoked = true;
        } else if (kind == Distributor.Claimed.selector) {
            (uint256 amount, uint256 cumulative) = abi.decode(log.data, (uint256, uint256));
            claimed[_address(log.topics[2])] = cumulative;
            totalClaimed += amount;
            _raise(uint256(log.topics[1]));
        } else if (kind == Distributor.ClaimRefused.selector) {
            _raise(uint256(log.topics[1]));
        } else if (kind == Distributor.NonceUsed.selector) {
            nonces[_address(log.topics[1])] = abi.decode(log.data, (uint256)) + 1;
        } else if (kind == Distributor.SurplusSwept.selector) {
            swept += abi.decode(log.data, (uint256));
        } else {
            revert("an event that says nothing of the state");
        }
    }

    function _raise(uint256 id) private {
        if (_roots[id].total > ceiling) ceiling = _roots[id].total;
    }

    function _address(bytes32 topic) private pure returns (address) {
        return address(uint160(uint256(topic)));
    }
}

contract LogsTest is Base {
    function test_the_whole_state_can_be_rebuilt_from_the_logs() public {
        vm.recordLogs();
        BlocklistToken blocking = new BlocklistToken();
        use(blocking);
        _live();
        blocking.block_(bob, true);
        uint256 id = settle(130, 90, 25);
        distributor.claimMany(manyOf(id));

        Logs seen = new Logs();
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].emitter == address(distributor)) seen.read(logs[i]);
        }

        require(seen.token() == address(distributor.TOKEN()) && seen.activationDelay() == DELAY, "what never changes");
        require(seen.owner() == distributor.owner() && seen.owner() == address(0x0999), "owner");
        require(seen.pendingOwner() == distributor.pendingOwner() && seen.pendingOwner() == stranger, "pending owner");
        require(seen.publisher() == distributor.publisher(), "publisher");
        require(seen.guardian() == distributor.guardian() && seen.guardian() == address(0x0777), "guardian");
        require(seen.claimsPaused() == distributor.claimsPaused(), "claims paused");
        require(seen.rootsPaused() == distributor.rootsPaused(), "roots paused");
        equal(seen.lastId(), distributor.lastId());
        equal(seen.lastLiveId(), distributor.lastLiveId());
        equal(seen.promised(), distributor.promised());
        equal(seen.totalClaimed(), distributor.totalClaimed());
        equal(seen.ceiling(), distributor.ceiling());
        for (uint256 i = 0; i <= seen.lastId() + 1; ++i) {
            (Logs.Root memory said, Distributor.Root memory found) = (seen.rootOf(i), distributor.rootOf(i));
            require(said.root == found.root && said.metadataHash == found.metadataHash, "root");
            require(said.total == found.total && said.activatesAt == found.activatesAt, "total or time");
            require(said.revoked == found.revoked, "revoked");
        }
        address[4] memory accounts = [alice, bob, carol, stranger];
        for (uint256 i = 0; i < 4; ++i) {
            equal(seen.claimed(accounts[i]), distributor.claimed(accounts[i]));
            equal(seen.nonces(accounts[i]), distributor.nonces(accounts[i]));
        }
        equal(token.balanceOf(stranger), seen.swept());
        require(seen.nonces(carol) == 1 && seen.claimed(alice) == 130 && seen.claimed(bob) == 50, "nothing happened");
    }

    /// @dev Everything that a distributor does, once.
    function _live() private {
        uint256 id = settle(100, 50, 25);
        distributor.claim(claimOf(id, 1));
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.prank(alice);
        distributor.claimTo(asked, carol);
        vm.prank(carol);
        distributor.cancelSignatures();
        fund(1000);
        earned(900, 50, 25);
        uint256 wrong = submit();
        vm.startPrank(guardian);
        distributor.revokeRoot(wrong);
        distributor.pauseClaims(true);
        distributor.pauseClaims(false);
        distributor.pauseRoots(true);
        vm.stopPrank();
        vm.startPrank(owner);
        distributor.sweep(stranger, 400);
        distributor.setGuardian(address(0x0777));
        distributor.transferOwnership(address(0x0999));
        vm.stopPrank();
        vm.prank(address(0x0999));
        distributor.acceptOwnership();
        publisher = address(0x0888);
        vm.startPrank(address(0x0999));
        distributor.setPublisher(publisher);
        distributor.transferOwnership(stranger);
        vm.stopPrank();
        vm.prank(address(0x0777));
        distributor.pauseRoots(false);
    }
}
