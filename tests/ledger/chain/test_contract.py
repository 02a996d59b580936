from __future__ import annotations

import pytest

from ledger.chain.contract import Claimed, OwnershipTransferred, Submitted
from ledger.chain.merkle import Tree
from ledger.errors import RevertedError
from tests.ledger.chain.world import DELAY, FUNDS, World


def tree_of(world: World, **cumulative: int) -> Tree:
    leaves = [(world.address(who), amount) for who, amount in cumulative.items()]
    return Tree(world.chain_id, world.contract.address, leaves)


def test_a_new_distributor_says_what_it_was_made_with(any_world: World) -> None:
    world = any_world
    contract = world.contract
    contract.assert_code(world.chain_id)
    assert contract.token() == world.token.address
    assert contract.activation_delay() == DELAY
    roles = (contract.owner(), contract.publisher(), contract.guardian())
    assert roles == tuple(world.address(who) for who in ("owner", "publisher", "guardian"))
    assert (contract.last_id(), contract.total_claimed(), contract.surplus()) == (0, 0, FUNDS)
    assert not contract.root_of(1).exists
    assert (world.token.decimals(), world.token.symbol()) == (6, "DUSD")


def test_a_submitted_root_is_claimed_by_once_it_is_active(any_world: World) -> None:
    world = any_world
    contract, tree = world.contract, tree_of(world, alice=5, bob=7, carol=9)
    submission = world.submit(1, tree.root, tree.total, bytes([7]) * 32)
    found = contract.root_of(1)
    assert (found.root, found.total, found.metadata_hash) == ("0x" + tree.root.hex(), 21, "0x" + "07" * 32)
    alice = world.address("alice")
    claim = contract.claim(1, alice, 5, tree.proof(alice))
    with pytest.raises(RevertedError, match=r"root 1 becomes active at 20.*UTC; claim after that"):
        world.node.call(contract.address, claim)
    world.activate()
    assert contract.is_active(1)
    receipt = world.send("bob", contract.address, claim)
    assert world.token.balance_of(alice) == contract.claimed(alice) == contract.total_claimed() == 5
    events = list(contract.events(world.first_block, world.node.block().number))  # type: ignore[union-attr]
    assert [type(event) for event in events[-2:]] == [Submitted, Claimed]
    assert events[-1] == Claimed(
        receipt.block_number, receipt.block_hash, receipt.transaction, receipt.logs[-1].index, 1, alice, alice, 5, 5
    )
    assert contract.events_of(submission) == [events[-2]]
    assert any(isinstance(event, OwnershipTransferred) for event in events)
