from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ledger.chain.artifact import artifact
from ledger.chain.node import Log, Node
from ledger.errors import LyingNodeError, NodeAnswerError
from tests.ledger.chain import fake_rpc
from tests.ledger.chain.anvil import Anvil
from tests.ledger.chain.fake_rpc import FakeRpc, RpcError
from tests.ledger.chain.world import World, key, mined

HASH = "0x" + "ab" * 32
SOMEBODY = key("somebody").address
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def lying(anvil: Anvil) -> Iterator[FakeRpc]:
    """Says what anvil says, until a test changes it."""
    with fake_rpc.running(anvil.url) as server:
        yield server


@pytest.fixture
def node(lying: FakeRpc) -> Node:
    return Node(lying.url)


def changed(change: Change) -> Callable[..., Any]:
    def answer(said: Any, *_: object) -> Any:
        if said is not None:
            change(said)
        return said

    return answer


# Receipts


@pytest.fixture
def transfer(world: World) -> str:
    """A transaction with a log, in a block."""
    return world.send("owner", world.token.address, world.token.transfer(SOMEBODY, 1)).transaction


def test_a_receipt_that_agrees_with_its_block_is_believed(node: Node, world: World, transfer: str) -> None:
    receipt = node.receipt(transfer)
    assert receipt is not None
    assert receipt == world.node.receipt(transfer)
    assert [log.transaction for log in receipt.logs] == [transfer]


RECEIPTS: dict[str, tuple[str, Change]] = {
    "the block's hash": (
        r"block \d+ is 0x.*, where the receipt has 0xab",
        lambda said: [one.update(blockHash=HASH) for one in (said, *said["logs"])],
    ),
    "the block's number": (
        r"block \d+ is 0x.*, where the receipt has 0x",
        lambda said: said.update(blockNumber=hex(int(said["blockNumber"], 16) - 1)),
    ),
    "a block to come": (r"block \d+ is not there", lambda said: said.update(blockNumber="0xffffff")),
    "the transaction": ("it gave the receipt of 0xabab", lambda said: said.update(transactionHash=HASH)),
    "its place": ("does not hold the transaction", lambda said: said.update(transactionIndex="0x1")),
    "a log of another block": (
        "a log in the receipt of .* is of another transaction or block",
        lambda said: said["logs"][0].update(blockHash=HASH),
    ),
    "a log of another transaction": (
        "a log in the receipt of .* is of another transaction or block",
        lambda said: said["logs"][0].update(transactionHash=HASH),
    ),
}


@pytest.mark.parametrize("what", RECEIPTS)
def test_a_receipt_that_contradicts_the_chain_is_refused(lying: FakeRpc, node: Node, transfer: str, what: str) -> None:
    reason, change = RECEIPTS[what]
    lying.changes["eth_getTransactionReceipt"] = changed(change)
    with pytest.raises(LyingNodeError, match=f"by eth_getTransactionReceipt, .*{reason}"):
        node.receipt(transfer)


def test_an_invented_receipt_is_refused(lying: FakeRpc, node: Node, world: World, transfer: str) -> None:
    told = lying._upstream.ask("eth_getTransactionReceipt", [transfer])  # type: ignore[union-attr]
    invented = {**told, "transactionHash": HASH, "logs": []}
    lying.answers["eth_getTransactionReceipt"] = lambda asked: invented if asked == HASH else told
    with pytest.raises(LyingNodeError, match="does not hold the transaction"):
        node.receipt(HASH)


def test_a_block_without_the_transaction_is_refused(lying: FakeRpc, node: Node, transfer: str) -> None:
    lying.changes["eth_getBlockByNumber"] = changed(lambda said: said.update(transactions=[]))
    with pytest.raises(LyingNodeError, match="does not hold the transaction"):
        node.receipt(transfer)


def test_a_reorganisation_between_two_answers_is_no_lie(lying: FakeRpc, node: Node, anvil: Anvil, world: World) -> None:
    raw = world.sign("alice", SOMEBODY, b"", value=1)
    world.node.send(raw)
    before = mined(world.node, raw)

    def reorganised(said: dict[str, Any], *_: object) -> dict[str, Any]:
        if len([method for method in lying.methods() if method == "eth_getTransactionReceipt"]) == 1:
            anvil.reorganise(1, [(raw, 0)])
        return said

    lying.changes["eth_getTransactionReceipt"] = reorganised
    after = node.receipt(before.transaction)
    assert after is not None
    assert after.block_hash != before.block_hash
    assert lying.methods().count("eth_getTransactionReceipt") == 2


def test_a_receipt_that_vanishes_meanwhile_is_none(
    lying: FakeRpc, node: Node, anvil: Anvil, world: World, transfer: str
) -> None:
    def vanishes(said: dict[str, Any], *_: object) -> dict[str, Any]:
        anvil.reorganise(1)
        del lying.changes["eth_getTransactionReceipt"]
        return said

    lying.changes["eth_getTransactionReceipt"] = vanishes
    assert node.receipt(transfer) is None


def test_a_failed_transaction_has_a_receipt_that_says_so(world: World) -> None:
    data = world.contract.submit_root(1, bytes([1]) * 32, 1, bytes(32))
    raw = world.sign("alice", world.contract.address, data)
    world.node.send(raw)
    assert not mined(world.node, raw).succeeded


# Blocks and transactions


def test_another_block_than_was_asked_for_is_refused(lying: FakeRpc, node: Node) -> None:
    head = node.block()
    assert head is not None
    lying.changes["eth_getBlockByNumber"] = changed(lambda said: said.update(number="0x1"))
    with pytest.raises(LyingNodeError, match=f"it gave block 1 for {head.number}"):
        node.block(head.number)
    lying.changes["eth_getBlockByHash"] = changed(lambda said: said.update(hash=HASH))
    with pytest.raises(LyingNodeError, match=f"it gave block {HASH} for {head.hash}"):
        node.block(head.hash)


def test_another_transaction_than_was_sent_is_refused(lying: FakeRpc, node: Node, world: World) -> None:
    lying.answers["eth_sendRawTransaction"] = HASH
    with pytest.raises(LyingNodeError, match=f"it took a transaction {HASH} where 0x"):
        node.send(world.sign("alice", SOMEBODY, b""))


def test_another_transaction_than_was_asked_for_is_refused(lying: FakeRpc, node: Node, transfer: str) -> None:
    lying.changes["eth_getTransactionByHash"] = changed(lambda said: said.update(hash=HASH))
    with pytest.raises(LyingNodeError, match=f"it gave transaction {HASH} for {transfer}"):
        node.knows(transfer)


# Logs


@pytest.fixture
def transfers(world: World, anvil: Anvil) -> list[Log]:
    """Six transfers, some of them in the same block, with empty blocks between."""
    anvil.automine(False)
    nonce, receipts = world.node.transaction_count(world.address("owner")), []
    for together in (1, 3, 2):
        raws = []
        for _ in range(together):
            raw = world.sign("owner", world.token.address, world.token.transfer(SOMEBODY, 1), nonce=nonce)
            world.node.send(raw)
            raws.append(raw)
            nonce += 1
        anvil.mine(5)
        receipts += [mined(world.node, raw) for raw in raws]
    return [log for receipt in receipts for log in receipt.logs]


def head(node: Node) -> int:
    block = node.block()
    assert block is not None
    return block.number


def test_logs_come_in_their_order_whatever_the_chunks(
    lying: FakeRpc, node: Node, world: World, transfers: list[Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = transfers[0].block_number
    for chunk in (1, 2, 7, 2_000):
        monkeypatch.setattr("ledger.chain.node._CHUNK", chunk)
        assert list(node.logs(world.token.address, [], first, head(node))) == transfers
    lying.changes["eth_getLogs"] = lambda said, *_: said[::-1]
    assert list(node.logs(world.token.address, [], first, head(node))) == transfers
    assert list(node.logs(world.token.address, [], first + 1, first)) == []


def test_chunks_are_halved_until_the_node_takes_them(
    lying: FakeRpc, node: Node, world: World, transfers: list[Log]
) -> None:
    widths = []

    def narrow(said: Any, asked: dict[str, str]) -> Any:
        widths.append(int(asked["toBlock"], 16) - int(asked["fromBlock"], 16) + 1)
        if widths[-1] > 3:
            raise RpcError(code=-32_005, message="query returned more than 10000 results")
        return said

    lying.changes["eth_getLogs"] = narrow
    assert list(node.logs(world.token.address, [], transfers[0].block_number, head(node))) == transfers
    assert max(widths[3:]) <= 3 < widths[0]


def test_a_block_that_a_node_cannot_tell_of_is_an_error(lying: FakeRpc, node: Node, world: World) -> None:
    def never(*_: object) -> None:
        raise RpcError(code=-32_000, message="missing trie node")

    lying.answers["eth_getLogs"] = never
    with pytest.raises(NodeAnswerError, match="missing trie node"):
        list(node.logs(world.token.address, [], 1, head(node)))


TRANSFER = next(topic for topic, item in artifact("DemoToken").abi.events.items() if item["name"] == "Transfer")
LOGS: dict[str, tuple[str, Change]] = {
    "another contract": ("of another contract or block", lambda log: log.update(address=SOMEBODY)),
    "a later block": ("of another contract or block", lambda log: log.update(blockNumber="0xffffff")),
    "an earlier block": ("of another contract or block", lambda log: log.update(blockNumber="0x0")),
    "another event": ("of another event", lambda log: log["topics"].__setitem__(0, HASH)),
    "no address": ("is no address", lambda log: log.update(address="0x1234")),
    "no event": ("of another event", lambda log: log.update(topics=[])),
}


@pytest.mark.parametrize("what", LOGS)
def test_logs_of_something_else_are_refused(
    lying: FakeRpc, node: Node, world: World, transfers: list[Log], what: str
) -> None:
    reason, change = LOGS[what]
    lying.changes["eth_getLogs"] = lambda said, *_: [changed(change)(one) for one in said]
    with pytest.raises((LyingNodeError, NodeAnswerError), match=reason):
        list(node.logs(world.token.address, [TRANSFER], transfers[0].block_number, head(node)))


def test_logs_of_one_of_several_events_are_what_was_asked_for(node: Node, world: World, transfers: list[Log]) -> None:
    first = transfers[0].block_number
    assert list(node.logs(world.token.address, [[HASH, TRANSFER]], first, head(node))) == transfers
    assert list(node.logs(world.token.address, [None, HASH], first, head(node))) == []


def test_a_log_that_is_told_twice_is_refused(lying: FakeRpc, node: Node, world: World, transfers: list[Log]) -> None:
    lying.changes["eth_getLogs"] = lambda said, *_: [*said, said[0]]
    with pytest.raises(LyingNodeError, match="two logs are at the same place"):
        list(node.logs(world.token.address, [], transfers[0].block_number, head(node)))


def test_a_removed_log_is_refused(lying: FakeRpc, node: Node, world: World, transfers: list[Log]) -> None:
    lying.changes["eth_getLogs"] = lambda said, *_: [{**one, "removed": True} for one in said]
    with pytest.raises(NodeAnswerError, match="a block that is not in the chain any more"):
        list(node.logs(world.token.address, [], transfers[0].block_number, head(node)))
