from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from eth_utils.crypto import keccak
from web3 import Web3

from ledger.chain import contract as contracts
from ledger.chain import events
from ledger.chain.artifact import artifact
from ledger.chain.contract import (
    Claim,
    Claimed,
    ClaimsPaused,
    Deployed,
    DistributorContract,
    Event,
    GuardianChanged,
    NonceUsed,
    OwnershipTransferred,
    OwnershipTransferStarted,
    PublisherChanged,
    Revoked,
    RootsPaused,
    Submitted,
    SurplusSwept,
)
from ledger.chain.merkle import Tree
from ledger.chain.token import Token
from ledger.errors import AddressError, NodeAnswerError, RevertedError, WrongChainError, WrongContractError
from tests.ledger.chain.anvil import ROOT, Anvil
from tests.ledger.chain.world import DELAY, FUNDS, World, key

BUILT = artifact("CumulativeDistributor")
SOMEBODY = key("somebody").address


def tree_of(world: World, **cumulative: int) -> Tree:
    leaves = [(world.address(who), amount) for who, amount in cumulative.items()]
    return Tree(world.chain_id, world.contract.address, leaves)


def events_of(world: World) -> list[Event]:
    head = world.node.block()
    assert head is not None
    return list(world.contract.events(world.first_block, head.number))


# What it says


def test_a_new_distributor_says_what_it_was_made_with(any_world: World) -> None:
    world, contract = any_world, any_world.contract
    assert contract.token() == world.token.address
    assert contract.activation_delay() == DELAY
    roles = (contract.owner(), contract.publisher(), contract.guardian())
    assert roles == tuple(world.address(who) for who in ("owner", "publisher", "guardian"))
    assert (contract.last_id(), contract.last_live_id(), contract.total_claimed(), contract.surplus()) == (
        0,
        0,
        0,
        FUNDS,
    )
    assert (contract.promised(), contract.nonces(SOMEBODY), contract.claimed(SOMEBODY)) == (0, 0, 0)
    assert (contract.claims_paused(), contract.roots_paused(), contract.is_active(1)) == (False, False, False)
    assert not contract.root_of(1).exists
    assert (world.token.decimals(), world.token.symbol(), world.token.name()) == (6, "DUSD", "Demo dollar")


def test_a_submitted_root_is_claimed_by_once_it_is_active(any_world: World) -> None:
    world, contract, tree = any_world, any_world.contract, tree_of(any_world, alice=5, bob=7, carol=9)
    submission = world.submit(1, tree.root, tree.total, bytes([7]) * 32)
    found = contract.root_of(1)
    assert (found.root, found.total, found.metadata_hash) == ("0x" + tree.root.hex(), 21, "0x" + "07" * 32)
    assert (found.exists, found.revoked, contract.last_id(), contract.promised()) == (True, False, 1, 21)
    block = world.node.block(submission.block_number)
    assert block is not None
    assert found.activates_at == block.timestamp + DELAY
    alice = world.address("alice")
    claim = contract.claim(1, alice, 5, tree.proof(alice))
    with pytest.raises(RevertedError, match=r"root 1 becomes active at 20.*UTC; claim after that"):
        world.node.call(contract.address, claim)
    world.activate()
    assert contract.is_active(1)
    receipt = world.send("bob", contract.address, claim)
    assert world.token.balance_of(alice) == contract.claimed(alice) == contract.total_claimed() == 5
    submitted, claimed = events_of(world)[-2:]
    place = submission.block_number, submission.block_hash, submission.transaction
    root, metadata_hash = "0x" + tree.root.hex(), "0x" + "07" * 32
    assert submitted == Submitted(*place, submitted.index, 1, root, 21, metadata_hash, found.activates_at)
    place = receipt.block_number, receipt.block_hash, receipt.transaction
    assert claimed == Claimed(*place, claimed.index, 1, alice, alice, 5, 5)
    assert contract.events_of(submission) == [submitted]
    assert contract.events_of(receipt) == [claimed]  # and not the token's transfer


def test_what_was_so_in_a_block_can_still_be_read(world: World) -> None:
    before = world.node.block()
    assert before is not None
    world.submit(1, bytes([1]) * 32, 5)
    contract, owner = world.contract, world.address("owner")
    assert (contract.last_id(before.number), contract.last_id(before.hash), contract.last_id()) == (0, 0, 1)
    count = world.node.transaction_count(owner, before.hash)
    world.send("owner", SOMEBODY, b"", value=3)
    assert (world.node.transaction_count(owner, before.hash), world.node.transaction_count(owner)) == (count, count + 1)
    assert (world.node.balance(SOMEBODY, before.hash), world.node.balance(SOMEBODY)) == (0, 3)


def test_all_that_happens_is_told_in_events(any_world: World) -> None:
    world, contract = any_world, any_world.contract
    alice, bob, carol = (world.address(who) for who in ("alice", "bob", "carol"))
    owner, publisher, guardian = (world.address(who) for who in ("owner", "publisher", "guardian"))
    first = events_of(world)
    world.submit(1, bytes([1]) * 32, 1)
    world.send("guardian", contract.address, contract.revoke_root(1))
    assert contract.root_of(1).revoked
    tree = tree_of(world, alice=5, bob=7)
    world.submit(2, tree.root, 12)
    world.activate()
    claims = [Claim(2, account, tree.cumulative(account), tuple(tree.proof(account))) for account in (bob, alice)]
    world.send("carol", contract.address, contract.claim_many(claims[:1]))
    world.send("alice", contract.address, contract.claim_to(2, alice, 5, tree.proof(alice), carol))
    world.send("alice", contract.address, contract.cancel_signatures())
    world.send("guardian", contract.address, contract.pause_claims(True))
    world.send("guardian", contract.address, contract.pause_roots(True))
    assert (contract.claims_paused(), contract.roots_paused()) == (True, True)
    world.send("guardian", contract.address, contract.pause_roots(False))
    for call in (("setPublisher", SOMEBODY), ("setGuardian", bob), ("sweep", carol, 3), ("transferOwnership", carol)):
        world.send("owner", contract.address, BUILT.abi.call(*call))
    world.send("carol", contract.address, BUILT.abi.call("acceptOwnership"))
    told = [(type(event), *[getattr(event, one.name) for one in fields(event)[4:]]) for event in events_of(world)]
    assert (Deployed, world.token.address, DELAY) in told[: len(first)]
    assert {(PublisherChanged, "0x" + 40 * "0", publisher), (GuardianChanged, "0x" + 40 * "0", guardian)} < set(told)
    assert [one for one in told[len(first) :] if one[0] is not Submitted] == [
        (Revoked, 1, "0x" + "01" * 32),
        (Claimed, 2, bob, bob, 7, 7),
        (Claimed, 2, alice, carol, 5, 5),
        (NonceUsed, alice, 0),
        (ClaimsPaused, True),
        (RootsPaused, True),
        (RootsPaused, False),
        (PublisherChanged, publisher, SOMEBODY),
        (GuardianChanged, guardian, bob),
        (SurplusSwept, carol, 3),
        (OwnershipTransferStarted, owner, carol),
        (OwnershipTransferred, owner, carol),
    ]


def test_every_event_that_the_contract_can_tell_has_a_class_with_its_fields() -> None:
    told = {item["name"]: item for item in BUILT.abi.events.values()}
    del told["EIP712DomainChanged"]  # inherited, and emitted by nothing
    assert told.keys() == events._EVENTS.keys()
    for name, item in told.items():
        named = {events._FIELDS.get(one["name"], one["name"]) for one in item["inputs"]}
        assert named == {one.name for one in fields(events._EVENTS[name])[4:]}


# Data of calls

ALICE, BOB = key("alice").address, key("bob").address
PROOF = [bytes([n]) * 32 for n in range(3)]
CLAIM = (7, ALICE, 2**256 - 1, PROOF)
CALLS: dict[str, tuple[str, tuple[Any, ...], tuple[Any, ...]]] = {
    "submitRoot": ("submit_root", (1, PROOF[1], 5, PROOF[2]), (1, PROOF[1], 5, PROOF[2])),
    "revokeRoot": ("revoke_root", (1,), (1,)),
    "revokeRoots": ("revoke_roots", ((1, 2),), ([1, 2],)),
    "claim": ("claim", CLAIM, (CLAIM,)),
    "claimTo": ("claim_to", (*CLAIM, BOB), (CLAIM, BOB)),
    "claimToWithSignature": ("claim_to_with_signature", (*CLAIM, BOB, 99, b"\1" * 65), (CLAIM, BOB, 99, b"\1" * 65)),
    "claimMany": ("claim_many", ([Claim(7, ALICE, 2**256 - 1, tuple(PROOF))] * 2,), ([CLAIM, CLAIM],)),
    "pauseClaims": ("pause_claims", (True,), (True,)),
    "pauseRoots": ("pause_roots", (False,), (False,)),
    "cancelSignatures": ("cancel_signatures", (), ()),
}


@pytest.mark.parametrize("function", CALLS)
def test_calls_are_encoded_as_another_encoder_does(world: World, function: str) -> None:
    method, given, arguments = CALLS[function]
    content = json.loads((ROOT / "ledger/chain/CumulativeDistributor.json").read_text())
    other = Web3().eth.contract(abi=content["abi"])
    data = getattr(world.contract, method)(*given)
    assert "0x" + data.hex() == other.encode_abi(function, list(arguments))


def test_a_root_may_be_given_as_text(world: World) -> None:
    text = ["0x" + one.hex() for one in PROOF]
    encode = world.contract.submit_root
    assert encode(1, text[1], 5, text[2]) == encode(1, PROOF[1], 5, PROOF[2])


def test_a_deployment_needs_addresses_with_their_checksums() -> None:
    with pytest.raises(AddressError):
        contracts.deployment(ALICE, ALICE, BOB.lower(), SOMEBODY, DELAY)


# What it is


def test_the_code_on_the_chain_is_the_one_that_was_built(any_world: World) -> None:
    world = any_world
    world.contract.assert_code(world.chain_id)
    code = world.node.code(world.contract.address)
    assert world.contract.code_hash() == "0x" + keccak(code).hex()
    assert code != BUILT.runtime
    assert BUILT.masked(code) == BUILT.masked(BUILT.runtime)


def test_another_chain_is_refused_before_anything_else(world: World) -> None:
    with pytest.raises(WrongChainError):
        DistributorContract(world.node, 1, SOMEBODY).assert_code(1)


def test_an_address_without_code_is_no_distributor(world: World) -> None:
    contract = DistributorContract(world.node, world.chain_id, SOMEBODY)
    for ask in (lambda: contract.assert_code(world.chain_id), contract.code_hash):
        with pytest.raises(WrongContractError, match="there is no contract at this address"):
            ask()
    with pytest.raises(WrongContractError, match="it does not answer lastId"):
        contract.last_id()


def test_another_contract_is_no_distributor(world: World, anvil: Anvil) -> None:
    contract = DistributorContract(world.node, world.chain_id, world.token.address)
    with pytest.raises(WrongContractError, match="its code is not the one that this package was built with"):
        contract.assert_code(world.chain_id)
    with pytest.raises(RevertedError, match="it gives no reason"):
        contract.last_id()
    anvil.ask("anvil_setCode", SOMEBODY, "0x60015ff3")  # which returns one byte to whatever it is asked
    with pytest.raises(WrongContractError, match="its answer to lastId is not the distributor's"):
        DistributorContract(world.node, world.chain_id, SOMEBODY).last_id()
    with pytest.raises(WrongContractError, match="it does not answer symbol as a token does"):
        Token(world.node, SOMEBODY).symbol()


@pytest.mark.parametrize("place", ["the first byte", "the last byte", "one byte more", "one byte less"])
def test_a_changed_code_is_refused(world: World, anvil: Anvil, place: str) -> None:
    code = world.node.code(world.contract.address)
    changed = {
        "the first byte": bytes([code[0] ^ 1]) + code[1:],
        "the last byte": code[:-1] + bytes([code[-1] ^ 1]),
        "one byte more": code + b"\0",
        "one byte less": code[:-1],
    }[place]
    anvil.ask("anvil_setCode", world.contract.address, "0x" + changed.hex())
    with pytest.raises(WrongContractError, match="its code is not the one"):
        world.contract.assert_code(world.chain_id)


@pytest.mark.parametrize("name", BUILT.immutables)
def test_a_changed_immutable_value_is_refused(world: World, anvil: Anvil, name: str) -> None:
    code = bytearray(world.node.code(world.contract.address))
    start, length = BUILT.immutables[name][-1]  # of several places the last alone
    code[start + length - 1] ^= 1
    anvil.ask("anvil_setCode", world.contract.address, "0x" + code.hex())
    with pytest.raises(WrongContractError, match=f"its code holds another {name} than it must"):
        world.contract.assert_code(world.chain_id)


def test_every_immutable_value_is_checked(world: World) -> None:
    assert world.contract._immutables(world.chain_id).keys() == BUILT.immutables.keys()


def test_a_log_that_the_contract_cannot_make_is_refused(world: World, anvil: Anvil) -> None:
    receipt = world.send("owner", world.token.address, world.token.transfer(SOMEBODY, 1))
    token_as_distributor = DistributorContract(world.node, world.chain_id, world.token.address)
    with pytest.raises(NodeAnswerError, match="an event that is none of the distributor's: an unknown event"):
        token_as_distributor.events_of(receipt)


# The token


def test_a_token_is_moved_and_approved(world: World) -> None:
    token = world.token
    world.send("owner", token.address, token.transfer(SOMEBODY, 5))
    assert (token.balance_of(SOMEBODY), token.balance_of(world.address("owner"))) == (5, FUNDS - 5)
    world.send("owner", token.address, token.approve(SOMEBODY, 9))
    data = world.node.call(token.address, token_abi().call("allowance", world.address("owner"), SOMEBODY))
    assert token_abi().result("allowance", data) == 9
    with pytest.raises(RevertedError, match=f"{SOMEBODY} is not the owner"):
        world.node.call(token.address, token.mint(SOMEBODY, 1), sender=SOMEBODY)


def token_abi() -> Any:
    return artifact("DemoToken").abi
