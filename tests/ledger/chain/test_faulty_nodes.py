"""Nodes that are down, slow, on another chain, or lie: nothing is booked that is not so, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from eth_utils.crypto import keccak

from ledger.chain import publications
from ledger.chain.artifact import artifact
from ledger.chain.claims import Proof, make_claim
from ledger.chain.distributors import distributor
from ledger.chain.node import Node
from ledger.chain.publisher import Patience, State
from ledger.chain.reconcile import reconcile
from ledger.chain.watcher import watch
from ledger.database import Ledger
from ledger.errors import LyingNodeError, NodeError, NodeUnreachableError, WrongChainError
from tests.ledger.chain import fake_rpc
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
from tests.ledger.chain.fake_rpc import FakeRpc, RpcError
from tests.ledger.chain.world import World

ABI = artifact("CumulativeDistributor").abi
OTHER_HASH = "0x" + "ab" * 32


@pytest.fixture
def faulty(anvil: Anvil) -> Iterator[FakeRpc]:
    """Between the ledger and anvil: it says what anvil says, until a test changes it."""
    with fake_rpc.running(anvil.url) as server:
        yield server


@pytest.fixture
def node(faulty: FakeRpc) -> Node:
    return Node(faulty.url, timeout=30)  # on a busy machine it may be slow in earnest


def assert_nothing_lost(books: Ledger, world: World) -> None:
    """By an honest node it goes on to its end."""
    world.chain.mine(CONFIRMATIONS)
    publisher(books, world).publish()
    assert submissions(world) == [1]
    assert kinds(books) == ["publication", "published"]
    assert stands(books, "in_flight") == DUE
    assert_sound(books, world)


# Down and slow


@pytest.mark.parametrize("slow", [False, True])
def test_a_node_that_is_down_or_slow_is_one_sentence_and_nothing_is_signed(
    owing: Ledger, world: World, faulty: FakeRpc, node: Node, slow: bool
) -> None:
    if slow:
        faulty.hangs.set()
    else:
        faulty.status = 503
    with pytest.raises(NodeUnreachableError) as caught:
        publisher(owing, world, node=Node(faulty.url, timeout=0.5)).publish()
    assert "\n" not in str(caught.value)
    assert tried(owing) == []
    faulty.hangs.clear()
    faulty.status = 200
    assert publisher(owing, world, node=node).publish().state.stage == "final"
    assert_nothing_lost(owing, world)


def test_a_node_that_fails_for_a_while_is_asked_again(owing: Ledger, world: World, faulty: FakeRpc, node: Node) -> None:
    """It is down at every third look, for as long as the publisher is patient."""
    looks, details = 0, []

    def wait() -> None:
        nonlocal looks
        looks += 1
        faulty.status = 503 if looks % 3 == 0 else 200
        world.chain.mine()

    def progress(state: State) -> None:
        details.append(state.detail)

    patience = Patience(look=timedelta(), outage=timedelta(minutes=5))
    working = publisher(owing, world, node=node, wait=wait, progress=progress, patience=patience)
    publisher(owing, world).publish(until="sent")
    assert working.publish(until="final").state.stage == "final"
    assert_nothing_lost(owing, world)
    assert looks < 3 or any("HTTP status 503" in detail for detail in details)


def test_a_node_that_stays_down_is_given_up_after_the_patience(
    owing: Ledger, world: World, faulty: FakeRpc, node: Node
) -> None:
    publisher(owing, world, node=node).publish(until="sent")
    seen: list[State] = []

    def wait() -> None:
        faulty.status = 503

    patience = Patience(look=timedelta(), outage=timedelta(seconds=5))
    with pytest.raises(NodeUnreachableError):
        publisher(owing, world, node=node, wait=wait, progress=seen.append, patience=patience).publish()
    assert len(seen) > 2
    assert_nothing_lost(owing, world)


def test_what_was_sent_though_the_node_did_not_say_so_is_not_sent_as_another(
    owing: Ledger, world: World, anvil: Anvil, faulty: FakeRpc, node: Node
) -> None:
    def taken(said: Any, *_: object) -> Any:
        raise RpcError(code=-32000, message="an upstream timed out")

    faulty.changes["eth_sendRawTransaction"] = taken
    with pytest.raises(NodeError, match="timed out"):
        publisher(owing, world, node=node).publish()
    anvil.settle()
    assert submissions(world) == [1]
    del faulty.changes["eth_sendRawTransaction"]
    outcome = publisher(owing, world, node=node).publish()
    assert len(outcome.attempts) == 1
    assert_nothing_lost(owing, world)


# The wrong chain


def test_the_wrong_chain_is_signed_for_and_booked_from_by_nobody(
    owing: Ledger, world: World, faulty: FakeRpc, node: Node
) -> None:
    working = publisher(owing, world, node=node)
    working.step()
    faulty.answers["eth_chainId"] = "0x1"
    for ask in (working.publish, working.step, working.dry_run, lambda: watch(owing, node, None)):
        with pytest.raises(WrongChainError, match="the node is on chain 1, and not on 31337"):
            ask()
    assert tried(owing) == []
    assert faulty.methods().count("eth_sendRawTransaction") == 0
    del faulty.answers["eth_chainId"]
    assert_nothing_lost(owing, world)


def test_a_node_that_moves_to_another_chain_is_left_at_the_next_look(
    owing: Ledger, world: World, faulty: FakeRpc, node: Node
) -> None:
    def wait() -> None:
        faulty.answers["eth_chainId"] = "0x1"
        world.chain.mine(CONFIRMATIONS)

    with pytest.raises(WrongChainError):
        publisher(owing, world, node=node, wait=wait).publish()
    assert kinds(owing) == ["publication"]
    assert_nothing_lost(owing, world)


# Lies about a submission


def receipts(change: Callable[[dict[str, Any]], object]) -> Callable[[FakeRpc, str], None]:
    """Change every receipt."""

    def lie(faulty: FakeRpc, hash: str) -> None:
        def changed(said: Any, *_: object) -> Any:
            if said is not None:
                change(said)
            return said

        faulty.changes["eth_getTransactionReceipt"] = changed

    return lie


def another_block(receipt: dict[str, Any]) -> None:
    receipt["blockHash"] = OTHER_HASH
    for log in receipt["logs"]:
        log["blockHash"] = OTHER_HASH


def leave_out(faulty: FakeRpc, hash: str) -> None:
    faulty.answers["eth_getLogs"] = []


def leave_root_out(faulty: FakeRpc, hash: str) -> None:
    """The contract's state is said to have no root 1."""
    asked = "0x" + ABI.call("rootOf", 1).hex()

    def answer(said: Any, call: dict[str, str], *_: object) -> Any:
        return "0x" + 7 * 64 * "0" if call["data"] == asked else said

    faulty.changes["eth_call"] = answer


def hide(faulty: FakeRpc, hash: str) -> None:
    faulty.answers["eth_getTransactionReceipt"] = None


def invent_total(faulty: FakeRpc, hash: str) -> None:
    """The logs promise another total than was published."""

    def answer(said: list[dict[str, Any]], *_: object) -> Any:
        for log in said:
            if log["transactionHash"] == hash:
                log["data"] = "0x" + (5).to_bytes(32, "big").hex() + log["data"][66:]
        return said

    faulty.changes["eth_getLogs"] = answer


LIES: dict[str, Callable[[FakeRpc, str], None]] = {
    "another block": receipts(another_block),
    "the log left out of the receipt": receipts(lambda receipt: receipt["logs"].clear()),
    "it reverted": receipts(lambda receipt: receipt.update(status="0x0", logs=[])),
    "no receipt": hide,
    "all logs left out": leave_out,
    "another total in the logs": invent_total,
    "no root in the contract": leave_root_out,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_submission_that_a_node_contradicts_itself_about_is_not_booked(
    owing: Ledger, world: World, faulty: FakeRpc, node: Node, lie: str
) -> None:
    outcome = publisher(owing, world, node=node).publish(until="sent")
    world.chain.mine(CONFIRMATIONS)
    LIES[lie](faulty, outcome.state.transaction or "")
    nonce = world.node.transaction_count(world.address("publisher"))
    with pytest.raises(LyingNodeError) as caught:
        publisher(owing, world, node=node).publish(timeout=timedelta(seconds=30))
    assert "\n" not in str(caught.value)
    assert stands(owing, "publishing") == DUE
    assert kinds(owing) == ["publication"]
    assert len(tried(owing)) == 1
    assert world.node.transaction_count(world.address("publisher"), "pending") == nonce
    assert_nothing_lost(owing, world)


@pytest.mark.parametrize("reverted", [True, False])
def test_a_receipt_of_success_for_what_reverted_or_was_never_mined_is_not_believed(
    owing: Ledger, world: World, anvil: Anvil, faulty: FakeRpc, node: Node, reverted: bool
) -> None:
    anvil.automine(False)
    outcome = publisher(owing, world, node=node, wait=lambda: None).publish(until="sent")
    hash = outcome.state.transaction or ""
    if reverted:
        anvil.drop_all()
        world.node.send(world.sign("guardian", world.contract.address, world.contract.pause_roots(True)))
        anvil.mine()
        world.node.send(outcome.attempts[0].raw)
        anvil.mine()
        receipts(lambda receipt: receipt.update(status="0x1"))(faulty, hash)
    else:
        anvil.mine()
        anvil.reorganise(1)
        anvil.drop_all()
        other = world.sign("bob", world.address("bob"), b"")
        world.node.send(other)
        anvil.mine()
        stolen = world.node.block("latest")
        assert stolen is not None

        def forged(said: Any, *_: object) -> Any:
            return {**anvil.ask("eth_getTransactionReceipt", stolen.transactions[0]), "transactionHash": hash}

        faulty.changes["eth_getTransactionReceipt"] = forged
    anvil.mine(CONFIRMATIONS)
    with pytest.raises(LyingNodeError):
        publisher(owing, world, node=node).publish()
    assert kinds(owing) == ["publication"]
    assert stands(owing, "publishing") == DUE
    assert submissions(world) == []


def test_a_contradiction_that_passes_is_waited_for(owing: Ledger, world: World, faulty: FakeRpc, node: Node) -> None:
    """As of several nodes behind one address, some of which lag."""
    publisher(owing, world, node=node).publish(until="sent")
    world.chain.mine(CONFIRMATIONS)
    LIES["the log left out of the receipt"](faulty, "")

    def wait() -> None:
        faulty.changes.clear()

    patience = Patience(look=timedelta(), outage=timedelta(minutes=1))
    outcome = publisher(owing, world, node=node, wait=wait, patience=patience).publish()
    assert outcome.state.stage == "final"
    assert_nothing_lost(owing, world)


# Lies about revocations and claims


@pytest.fixture
def claimed(owing: Ledger, world: World) -> Ledger:
    """Books whose root is active and by which alice has claimed, for good, which is not booked."""
    publisher(owing, world).publish()
    world.activate()
    with owing.reading() as session:
        proof = Proof.of(publications.proof_of(session, "alice", distributor(session)))
    make_claim(world.contract, world.keys["bob"], [proof], fee_cap=FEE_CAP)
    world.chain.mine(CONFIRMATIONS)
    return owing


def unclaimed(faulty: FakeRpc, hash: str) -> None:
    """The contract's state is said to know of no claim."""
    selector = "0x" + ABI.call("claimed", "0x" + 40 * "0")[:4].hex()

    def answer(said: Any, call: dict[str, str], *_: object) -> Any:
        return "0x" + 64 * "0" if call["data"].startswith(selector) else said

    faulty.changes["eth_call"] = answer


CLAIM_LIES = {name: LIES[name] for name in ("another block", "the log left out of the receipt", "no receipt")}
CLAIM_LIES |= {"it reverted": LIES["it reverted"], "nothing claimed in the contract": unclaimed}


@pytest.mark.parametrize("lie", CLAIM_LIES)
def test_a_claim_that_a_node_contradicts_itself_about_is_not_booked(
    claimed: Ledger, world: World, faulty: FakeRpc, node: Node, lie: str
) -> None:
    CLAIM_LIES[lie](faulty, "")
    with pytest.raises(LyingNodeError):
        watch(claimed, node, None)
    assert stands(claimed, "paid") == {}
    assert watch(claimed, world.node, None).claims == 1
    assert stands(claimed, "paid") == {"alice": DUE["alice"]}
    assert_sound(claimed, world)


def test_a_revocation_that_the_contract_does_not_know_is_not_booked(
    owing: Ledger, world: World, faulty: FakeRpc, node: Node
) -> None:
    publisher(owing, world).publish()
    before = world.contract.root_of(1)
    world.send("guardian", world.contract.address, world.contract.revoke_root(1))
    world.chain.mine(CONFIRMATIONS)
    asked, height = "0x" + ABI.call("rootOf", 1).hex(), world.first_block + CONFIRMATIONS
    assert not before.revoked

    def answer(said: Any, call: dict[str, str], *_: object) -> Any:
        if call["data"] != asked:
            return said
        return world.chain.ask("eth_call", call, hex(height))  # type: ignore[attr-defined]

    faulty.changes["eth_call"] = answer
    with pytest.raises(LyingNodeError, match="root 1 is not revoked, and its logs say that it is"):
        watch(owing, node, None)
    assert stands(owing, "in_flight") == DUE
    assert watch(owing, world.node, None).revoked == [1]
    assert stands(owing, "payable") == DUE
    assert_sound(owing, world)


# Lies to who reconciles


def revoked_in_logs(faulty: FakeRpc, hash: str) -> None:
    """The logs have a revocation more."""

    def answer(said: list[dict[str, Any]], *_: object) -> Any:
        (log,) = [log for log in said if log["transactionHash"] == hash]
        topics = ["0x" + keccak(text="RootRevoked(uint256,bytes32)").hex(), *log["topics"][1:]]
        return [*said, {**log, "topics": topics, "data": "0x", "logIndex": "0x9"}]

    faulty.changes["eth_getLogs"] = answer


STATE_LIES: dict[str, tuple[Callable[[FakeRpc, str], None], set[str]]] = {
    "all logs left out": (leave_out, {"logs", "published"}),
    "no root in the contract": (leave_root_out, {"logs"}),
    "a revocation in the logs alone": (revoked_in_logs, {"logs", "revoked"}),
}


@pytest.mark.parametrize("lie", STATE_LIES)
def test_what_the_contracts_state_and_logs_do_not_say_alike_is_named(
    owing: Ledger, world: World, faulty: FakeRpc, node: Node, lie: str
) -> None:
    outcome = publisher(owing, world).publish()
    deceive, expected = STATE_LIES[lie]
    deceive(faulty, outcome.state.transaction or "")
    found = reconcile(owing, node).differences
    assert {one.kind for one in found} == expected
    assert {one.what for one in found} == {"root 1"}
    assert_sound(owing, world)
