// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Base} from "./Base.sol";

/// @dev A wallet that signs with its owner's key (EIP-1271).
contract Wallet {
    address private immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (bytes32 r, bytes32 s, uint8 v) = (bytes32(signature[:32]), bytes32(signature[32:64]), uint8(signature[64]));
        return ecrecover(digest, v, r, s) == OWNER ? this.isValidSignature.selector : bytes4(0);
    }
}

contract SignaturesTest is Base {
    uint256 internal constant ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;

    function test_an_account_claims_to_another_address() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.expectRevert(abi.encodeWithSelector(Distributor.NotTheAccount.selector, stranger, alice));
        vm.prank(stranger);
        distributor.claimTo(asked, stranger);
        vm.prank(alice);
        equal(distributor.claimTo(asked, bob), 100);
        equal(token.balanceOf(bob), 100);
        equal(distributor.claimed(alice), 100);
        equal(distributor.claimed(bob), 0);
    }

    function test_tokens_go_neither_to_nobody_nor_back() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        address[2] memory wrong = [address(0), address(distributor)];
        for (uint256 i = 0; i < 2; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.WrongRecipient.selector, wrong[i]));
            vm.prank(alice);
            distributor.claimTo(asked, wrong[i]);
        }
    }

    function test_a_signature_lets_anyone_send_it() public {
        uint256 id = settle(100, 50, 25);
        bytes memory signature = signed(aliceKey, claimOf(id, 0), bob, 0, block.timestamp);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.prank(stranger);
        equal(distributor.claimToWithSignature(asked, bob, block.timestamp, signature), 100);
        equal(token.balanceOf(bob), 100);
        equal(distributor.nonces(alice), 1);
    }

    function test_a_signature_counts_once() public {
        uint256 id = settle(100, 50, 25);
        bytes memory signature = signed(aliceKey, claimOf(id, 0), bob, 0, block.timestamp);
        Distributor.Claim memory asked = claimOf(id, 0);
        distributor.claimToWithSignature(asked, bob, block.timestamp, signature);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
        distributor.claimToWithSignature(asked, bob, block.timestamp, signature);
    }

    function test_a_signature_expires() public {
        uint256 id = settle(100, 50, 25);
        uint256 deadline = block.timestamp;
        bytes memory signature = signed(aliceKey, claimOf(id, 0), bob, 0, deadline);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(Distributor.SignatureExpired.selector, deadline));
        distributor.claimToWithSignature(asked, bob, deadline, signature);
    }

    function test_a_signature_is_for_one_recipient_amount_root_deadline_and_signer() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        Distributor.Claim memory other = claimOf(id, 0);
        other.id = id + 1;
        uint256 deadline = block.timestamp + 9;
        bytes[5] memory wrong = [
            signed(aliceKey, asked, carol, 0, deadline),
            signed(aliceKey, other, bob, 0, deadline),
            signed(aliceKey, asked, bob, 1, deadline),
            signed(aliceKey, asked, bob, 0, deadline + 1),
            signed(0xbad, asked, bob, 0, deadline)
        ];
        for (uint256 i = 0; i < 5; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
            distributor.claimToWithSignature(asked, bob, deadline, wrong[i]);
        }
    }

    function test_a_signature_for_another_chain_is_refused() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.chainId(5);
        bytes memory signature = signed(aliceKey, asked, bob, 0, block.timestamp);
        vm.chainId(31337);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
        distributor.claimToWithSignature(asked, bob, block.timestamp, signature);
    }

    function test_the_other_s_of_a_signature_is_refused() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(aliceKey, digest(asked, bob, 0, block.timestamp));
        bytes memory high = abi.encodePacked(r, bytes32(ORDER - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
        distributor.claimToWithSignature(asked, bob, block.timestamp, high);
    }

    function test_a_cancelled_signature_is_refused() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        bytes memory signature = signed(aliceKey, asked, bob, 0, block.timestamp);
        vm.prank(alice);
        distributor.cancelSignatures();
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
        distributor.claimToWithSignature(asked, bob, block.timestamp, signature);
    }

    function test_a_contract_wallet_signs_too() public {
        Wallet wallet = new Wallet(alice);
        earned(0, 50, 25);
        tiers[0].account = address(wallet);
        tiers[0].amount = 100;
        fund(175);
        uint256 id = submit();
        vm.warp(block.timestamp + DELAY);
        Distributor.Claim memory asked = claimOf(id, 0);
        bytes memory wrong = signed(0xbad, asked, bob, 0, block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, address(wallet)));
        distributor.claimToWithSignature(asked, bob, block.timestamp, wrong);
        bytes memory right = signed(aliceKey, asked, bob, 0, block.timestamp);
        equal(distributor.claimToWithSignature(asked, bob, block.timestamp, right), 100);
        equal(token.balanceOf(bob), 100);
    }

    function digest(Distributor.Claim memory asked, address to, uint256 nonce, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 kind = keccak256(
            "ClaimTo(address account,address to,uint256 id,uint256 cumulativeAmount,uint256 nonce,uint256 deadline)"
        );
        bytes32 said = keccak256(abi.encode(kind, asked.account, to, asked.id, asked.cumulativeAmount, nonce, deadline));
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("GhostledgerDistributor"),
                keccak256("1"),
                block.chainid,
                address(distributor)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, said));
    }

    function signed(uint256 key, Distributor.Claim memory asked, address to, uint256 nonce, uint256 deadline)
        internal
        view
        returns (bytes memory)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest(asked, to, nonce, deadline));
        return abi.encodePacked(r, s, v);
    }
}
