// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CumulativeDistributor as Distributor} from "../src/CumulativeDistributor.sol";
import {Base} from "./Base.sol";

/// @dev A wallet that answers wrongly: otherwise than asked, with nothing, by refusing, or never.
contract OddWallet {
    uint256 private immutable KIND;

    constructor(uint256 kind) {
        KIND = kind;
    }

    function isValidSignature(bytes32, bytes calldata) external view returns (bytes4) {
        if (KIND == 0) return 0xffffffff;
        if (KIND == 1) {
            assembly {
                return(0, 0)
            }
        }
        if (KIND == 2) revert("no");
        if (KIND == 3) {
            assembly {
                mstore(0, not(0))
                return(0, 32)
            }
        }
        assembly {
            invalid()
        }
    }
}

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

    function test_a_signature_of_another_length_is_refused() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(aliceKey, digest(asked, bob, 0, block.timestamp));
        bytes[4] memory wrong = [
            bytes(""),
            abi.encodePacked(r, bytes32(uint256(s) | (uint256(v - 27) << 255))),
            abi.encodePacked(r, s, v, uint8(0)),
            abi.encodePacked(r, s, v - 27)
        ];
        for (uint256 i = 0; i < 4; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
            distributor.claimToWithSignature(asked, bob, block.timestamp, wrong[i]);
        }
    }

    function test_a_signature_for_another_distributor_is_refused() public {
        Distributor other = distributor;
        use(token);
        settle(100, 50, 25);
        bytes memory signature = signed(aliceKey, claimOf(1, 0), bob, 0, block.timestamp);
        distributor = other;
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
        distributor.claimToWithSignature(asked, bob, block.timestamp, signature);
    }

    function test_signatures_are_used_in_their_order() public {
        uint256 first = settle(100, 50, 25);
        Distributor.Claim memory earlier = claimOf(first, 0);
        uint256 second = settle(130, 50, 25);
        Distributor.Claim memory later = claimOf(second, 0);
        uint256 deadline = block.timestamp;
        bytes memory signature = signed(aliceKey, later, carol, 1, deadline);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
        distributor.claimToWithSignature(later, carol, deadline, signature);
        distributor.claimToWithSignature(earlier, bob, deadline, signed(aliceKey, earlier, bob, 0, deadline));
        equal(distributor.claimToWithSignature(later, carol, deadline, signature), 30);
        equal(token.balanceOf(bob), 100);
        equal(token.balanceOf(carol), 30);
    }

    function test_a_signature_that_finds_nothing_to_claim_is_not_used_up() public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        bytes memory signature = signed(aliceKey, asked, bob, 0, block.timestamp);
        distributor.claim(asked);
        vm.expectRevert(abi.encodeWithSelector(Distributor.NothingToClaim.selector, alice, 100, 100));
        distributor.claimToWithSignature(asked, bob, block.timestamp, signature);
        equal(distributor.nonces(alice), 0);
        equal(token.balanceOf(alice), 100);
    }

    function test_a_signature_is_bound_by_pause_activation_and_recipient_as_any_claim() public {
        earned(100, 50, 25);
        fund(175);
        uint256 id = submit();
        uint256 deadline = block.timestamp + DELAY;
        Distributor.Claim memory asked = claimOf(id, 0);
        bytes memory signature = signed(aliceKey, asked, bob, 0, deadline);
        vm.expectRevert(abi.encodeWithSelector(Distributor.InactiveRoot.selector, id, deadline));
        distributor.claimToWithSignature(asked, bob, deadline, signature);
        vm.warp(deadline);
        vm.prank(guardian);
        distributor.pauseClaims(true);
        vm.expectRevert(Distributor.ClaimsArePaused.selector);
        distributor.claimToWithSignature(asked, bob, deadline, signature);
        vm.prank(guardian);
        distributor.pauseClaims(false);
        bytes memory back = signed(aliceKey, asked, address(distributor), 0, deadline);
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongRecipient.selector, address(distributor)));
        distributor.claimToWithSignature(asked, address(distributor), deadline, back);
        equal(distributor.claimToWithSignature(asked, bob, deadline, signature), 100);
    }

    function test_a_wallet_that_answers_wrongly_signs_nothing() public {
        for (uint256 kind = 0; kind < 5; ++kind) {
            OddWallet wallet = new OddWallet(kind);
            Distributor.Claim memory asked = settleOne(address(wallet), 100);
            bytes memory signature = signed(aliceKey, asked, bob, 0, block.timestamp);
            vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, address(wallet)));
            distributor.claimToWithSignature{gas: 3_000_000}(asked, bob, block.timestamp, signature);
            vm.prank(address(wallet));
            equal(distributor.claimTo(asked, address(uint160(0x1000 + kind))), 100);
            use(token);
        }
    }

    function test_the_domain_is_of_this_chain_and_contract() public {
        bytes32 here = distributor.domainSeparator();
        require(here == domain(), "another domain");
        vm.chainId(5);
        require(distributor.domainSeparator() == domain() && domain() != here, "another chain's domain");
    }

    function testFuzz_only_the_accounts_own_signature_pays(uint256 key, address to, uint256 nonce, uint64 deadline)
        public
    {
        uint256 id = settle(100, 50, 25);
        key = key % (ORDER - 1) + 1;
        vm.assume(to != address(0) && to != address(distributor) && to.code.length == 0 && deadline >= block.timestamp);
        Distributor.Claim memory asked = claimOf(id, 0);
        bytes memory signature = signed(key, asked, to, nonce, deadline);
        if (key != aliceKey || nonce != 0) {
            vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
            distributor.claimToWithSignature(asked, to, deadline, signature);
        }
        uint256 before = token.balanceOf(to);
        signature = signed(aliceKey, asked, to, 0, deadline);
        equal(distributor.claimToWithSignature(asked, to, deadline, signature), 100);
        equal(token.balanceOf(to) - before, 100);
    }

    function testFuzz_a_changed_bit_spoils_a_signature(uint16 bit) public {
        uint256 id = settle(100, 50, 25);
        Distributor.Claim memory asked = claimOf(id, 0);
        bytes memory signature = signed(aliceKey, asked, bob, 0, block.timestamp);
        bit %= 65 * 8;
        signature[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.expectRevert(abi.encodeWithSelector(Distributor.WrongSignature.selector, alice));
        distributor.claimToWithSignature(asked, bob, block.timestamp, signature);
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
        return keccak256(abi.encodePacked(hex"1901", domain(), said));
    }

    function domain() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("GhostledgerDistributor"),
                keccak256("1"),
                block.chainid,
                address(distributor)
            )
        );
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
