"""The chain's last blocks are replaced by others: what was in them waits again, and nothing was booked too early."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from sqlmodel import col, select

from ledger.chain import publications
from ledger.chain.claims import Proof, make_claim
from ledger.chain.distributors import distributor
from ledger.chain.reconcile import reconcile
from ledger.chain.watcher import watch
from ledger.database import Ledger
from ledger.models import ChainClaim, PublicationEnd, Receipt
from tests.ledger.chain import anvil as chains
from tests.ledger.chain import world as worlds
from tests.ledger.chain.anvil import Anvil
from tests.ledger.chain.books import (
    CONFIRMATIONS,
    DUE,
    FEE_CAP,
    assert_sound,
    kinds,
    publisher,
    stands,
    submissions,
    tried,
)
from tests.ledger.chain.world import World


@pytest.fixture
def running_anvil() -> Iterator[Anvil]:
    """A chain for each test: what many tests before left behind has made reorganisations lose contracts."""
    with chains.running() as started:
        yield started


@pytest.fixture
def anvil_world(running_anvil: Anvil) -> World:
    return worlds.made(running_anvil)


def seen(books: Ledger) -> list[Receipt]:
    """What was seen of all attempts, in order."""
    with books.reading() as session:
        return list(session.exec(select(Receipt).order_by(col(Receipt.id))))


def mined(books: Ledger, world: World, depth: int) -> str:
    """Publish until the submission lies so deep, seen at each block; its hash."""
    publisher(books, world).publish(until="sent")
    for _ in range(depth):
        world.chain.mine()
        publisher(books, world).step()
    (attempt,) = tried(books)
    return attempt.hash


@pytest.mark.parametrize("depth", range(CONFIRMATIONS))
def test_what_a_reorganisation_of_three_blocks_takes_out_is_sent_again(
    owing: Ledger, world: World, anvil: Anvil, depth: int
) -> None:
    """At depth 2 the submission is one block short of being final."""
    assert CONFIRMATIONS == 3
    hash = mined(owing, world, depth)
    assert stands(owing, "in_flight") == {}
    anvil.mine(3 - 1 - depth)
    anvil.automine(False)
    anvil.reorganise(3)
    assert submissions(world) == []
    assert world.node.receipt(hash) is None
    state = publisher(owing, world).step()
    assert (state.stage, state.transaction) == ("sent", hash)
    assert anvil.waiting() == [hash]
    assert stands(owing, "publishing") == DUE
    outcome = publisher(owing, world).publish()
    assert (outcome.state.stage, outcome.state.transaction) == ("final", hash)
    assert len(outcome.attempts) == 1
    blocks = [one.block_hash for one in seen(owing)]
    assert len(blocks) == len(set(blocks)) == (2 if depth else 1)  # the first was never seen in a block
    assert submissions(world) == [1]
    assert kinds(owing) == ["publication", "published"]
    assert_sound(owing, world)


@pytest.mark.parametrize("place", range(3))
def test_what_is_in_another_block_afterwards_is_booked_with_that_one(
    owing: Ledger, world: World, anvil: Anvil, place: int
) -> None:
    mined(owing, world, CONFIRMATIONS - 1)
    (attempt,) = tried(owing)
    first = world.node.receipt(attempt.hash)
    anvil.reorganise(3, [(attempt.raw, place)])
    second = world.node.receipt(attempt.hash)
    assert first is not None
    assert second is not None
    assert (second.block_number - first.block_number, second.block_hash == first.block_hash) == (place, False)
    for depth in range(2 - place, CONFIRMATIONS):
        state = publisher(owing, world).step()
        assert (state.stage, state.depth) == ("mined", depth)
        anvil.mine()
    assert publisher(owing, world).step().stage == "final"
    with owing.reading() as session:
        end = session.exec(select(PublicationEnd)).one()
    assert (end.block_number, end.block_hash) == (second.block_number, second.block_hash)
    assert [one.block_hash for one in seen(owing)] == [first.block_hash, second.block_hash]
    assert_sound(owing, world)


def test_what_is_final_outlasts_a_reorganisation_of_three_blocks(owing: Ledger, world: World, anvil: Anvil) -> None:
    hash = mined(owing, world, CONFIRMATIONS)
    assert stands(owing, "in_flight") == DUE
    anvil.reorganise(3)
    assert world.node.receipt(hash) is not None
    assert publisher(owing, world).publish().state.stage == "final"
    anvil.mine(CONFIRMATIONS)
    assert_sound(owing, world)


def test_a_chain_that_goes_back_and_forth_is_followed(owing: Ledger, world: World, anvil: Anvil) -> None:
    hash = mined(owing, world, 1)
    (attempt,) = tried(owing)
    for _ in range(3):
        anvil.reorganise(2, [(attempt.raw, 0)])
        publisher(owing, world).step()
    blocks = [one.block_hash for one in seen(owing)]
    assert len(blocks) >= 2
    assert all(one != other for one, other in pairwise(blocks))
    assert publisher(owing, world).publish().state.transaction == hash
    assert submissions(world) == [1]
    assert_sound(owing, world)


def test_a_replaced_attempt_that_a_reorganisation_mines_instead_is_the_submission(
    owing: Ledger, world: World, anvil: Anvil
) -> None:
    anvil.automine(False)
    publisher(owing, world, wait=lambda: None).publish(until="sent")
    anvil.drop_all()
    anvil.set_base_fee(20 * 10**9)
    anvil.mine()
    publisher(owing, world).step()
    anvil.mine()
    first, second = tried(owing)
    assert publisher(owing, world).step().transaction == second.hash
    anvil.set_base_fee(10**9)
    anvil.reorganise(2, [(first.raw, 1)])
    if world.node.receipt(first.hash) is None:  # its base fee stayed too high
        anvil.drop_all()
        anvil.set_base_fee(10**9)
        world.node.send(first.raw)
        anvil.mine()
    outcome = publisher(owing, world).publish()
    assert outcome.state.transaction == first.hash
    assert len(outcome.attempts) == 2
    assert submissions(world) == [1]
    assert_sound(owing, world)


def test_what_was_revoked_in_blocks_that_are_gone_stays_published(owing: Ledger, world: World, anvil: Anvil) -> None:
    publisher(owing, world).publish()
    world.send("guardian", world.contract.address, world.contract.revoke_root(1))
    anvil.mine(CONFIRMATIONS - 1)
    watch(owing, world.node, None)
    assert stands(owing, "in_flight") == DUE
    anvil.reorganise(3)
    anvil.mine(CONFIRMATIONS)
    watch(owing, world.node, None)
    assert stands(owing, "in_flight") == DUE
    assert not world.contract.root_of(1).revoked
    assert_sound(owing, world)


def test_a_claim_is_booked_where_it_is_in_the_end(owing: Ledger, world: World, anvil: Anvil) -> None:
    publisher(owing, world).publish()
    world.activate()
    with owing.reading() as session:
        proof = Proof.of(publications.proof_of(session, "alice", distributor(session)))
    claimed = make_claim(world.contract, world.keys["bob"], [proof], fee_cap=FEE_CAP)
    raw = bytes.fromhex(anvil.ask("eth_getRawTransactionByHash", claimed.receipt.transaction)[2:])
    anvil.mine(CONFIRMATIONS - 1)
    assert watch(owing, world.node, None).claims == 0
    anvil.reorganise(3, [(raw, 2)])
    anvil.mine(CONFIRMATIONS)
    assert watch(owing, world.node, None).claims == 1
    receipt = world.node.receipt(claimed.receipt.transaction)
    with owing.reading() as session:
        booked = session.exec(select(ChainClaim)).one()
    assert receipt is not None
    assert (booked.block_number, booked.block_hash) == (receipt.block_number, receipt.block_hash)
    assert booked.block_hash != claimed.receipt.block_hash
    assert_sound(owing, world)


def test_what_was_final_and_is_gone_all_the_same_is_named_and_booked_no_second_time(
    owing: Ledger, world: World, anvil: Anvil
) -> None:
    """More blocks than the depth that was trusted: the ledger cannot be right, and must not hide it."""
    mined(owing, world, CONFIRMATIONS)
    anvil.reorganise(CONFIRMATIONS + 1)
    anvil.mine(CONFIRMATIONS)
    assert [one.kind for one in reconcile(owing, world.node).differences] == ["published", "promised"]
    (attempt,) = tried(owing)
    state = publisher(owing, world).publish().state
    assert state.stage == "final"
    assert "has lost root 1" in state.detail
    anvil.mine(CONFIRMATIONS)
    assert submissions(world) == [1]
    assert publisher(owing, world).publish().state.detail == ""
    watch(owing, world.node, None)
    assert kinds(owing) == ["publication", "published"]
    (difference,) = reconcile(owing, world.node).differences
    assert (difference.kind, difference.what) == ("published", "root 1")
    assert attempt.hash in difference.chain
