from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from ledger.chain.fees import Fees
from ledger.chain.node import Node
from ledger.chain.transactions import transaction, transaction_hash
from ledger.errors import (
    InsufficientFundsError,
    NodeAnswerError,
    NodeUnreachableError,
    NodeUrlError,
    NonceTooLowError,
    UnderpricedError,
    WrongChainError,
)
from tests.ledger.chain import fake_rpc
from tests.ledger.chain.anvil import CHAIN_ID, Anvil
from tests.ledger.chain.fake_rpc import FakeRpc, RpcError
from tests.ledger.chain.world import World, key, mined

HASH = "0x" + "ab" * 32
SOMEBODY = key("somebody").address


@pytest.fixture
def fake() -> Iterator[FakeRpc]:
    with fake_rpc.running() as server:
        yield server


# A real chain


def test_a_node_tells_of_its_chain(any_world: World) -> None:
    node, world = any_world.node, any_world
    head = node.block()
    assert head is not None
    assert node.block(head.number) == node.block(head.hash) == head
    before = node.block(head.number - 1)
    assert before is not None
    assert (head.parent, before.timestamp <= head.timestamp) == (before.hash, True)
    assert node.block(head.number + 10) is None
    assert node.base_fee() == head.base_fee > 0
    assert node.priority_fee() >= 0
    assert node.chain_id() == world.chain_id
    assert node.balance(SOMEBODY) == node.transaction_count(SOMEBODY) == 0
    assert node.transaction_count(world.address("owner")) > 0
    assert node.code(SOMEBODY) == b""
    assert len(node.code(world.contract.address)) > 1000
    assert node.receipt(HASH) is None
    assert not node.knows(HASH)


def test_a_transaction_is_sent_and_its_receipt_found(any_world: World) -> None:
    world, node = any_world, any_world.node
    raw = world.sign("alice", SOMEBODY, b"", value=7)
    assert node.send(raw) == "sent"
    receipt = mined(node, raw)
    assert node.knows(transaction_hash(raw))
    assert receipt.succeeded
    assert (receipt.transaction, receipt.gas_used) == (transaction_hash(raw), 21_000)
    assert node.balance(SOMEBODY) == 7
    assert node.block(receipt.block_number).transactions[receipt.index] == receipt.transaction  # type: ignore[union-attr]


def test_what_waits_is_counted_and_may_be_sent_again(world: World, anvil: Anvil) -> None:
    anvil.automine(False)
    raw, node, alice = world.sign("alice", SOMEBODY, b"", value=1), world.node, world.address("alice")
    assert [node.send(raw), node.send(raw)] == ["sent", "known"]
    assert (node.transaction_count(alice), node.transaction_count(alice, "pending")) == (0, 1)
    assert node.knows(transaction_hash(raw))
    assert node.receipt(transaction_hash(raw)) is None
    anvil.drop(transaction_hash(raw))
    assert not node.knows(transaction_hash(raw))
    assert node.send(raw) == "sent"
    anvil.mine()
    assert node.receipt(transaction_hash(raw)) is not None


def signed(who: str, nonce: int, fees: Fees, value: int = 1) -> bytes:
    return key(who).sign_transaction(
        transaction(chain_id=CHAIN_ID, nonce=nonce, to=SOMEBODY, data=b"", gas=21_000, fees=fees, value=value)
    )


def test_a_real_nodes_refusals_are_told_apart(world: World, anvil: Anvil) -> None:
    node, enough = world.node, Fees(10**11, 10**9)
    world.send("alice", SOMEBODY, b"")
    with pytest.raises(NonceTooLowError):
        node.send(signed("alice", 0, enough, value=2))
    with pytest.raises(UnderpricedError):
        node.send(signed("alice", 1, Fees(1, 1)))
    with pytest.raises(InsufficientFundsError):
        node.send(signed("somebody", 0, enough))
    anvil.automine(False)
    assert node.send(signed("alice", 1, enough)) == "sent"
    with pytest.raises(UnderpricedError):
        node.send(signed("alice", 1, enough, value=2))


# Nodes that fail


def test_a_node_that_is_down_is_one_sentence(fake: FakeRpc) -> None:
    with fake_rpc.running() as other:
        url = other.url
    with pytest.raises(NodeUnreachableError, match=f"^the node at {url} cannot be reached$"):
        Node(url).chain_id()


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "dripping"])
def test_a_node_that_is_slow_is_given_up_and_not_asked_again(fake: FakeRpc, drips: bool) -> None:
    (fake.drips if drips else fake.hangs).set()
    start = time.monotonic()
    with pytest.raises(NodeUnreachableError, match=r"does not answer within 0\.2 seconds"):
        Node(fake.url, timeout=0.2).chain_id()
    assert time.monotonic() - start < 4
    assert fake.methods() == ["eth_chainId"]


NO_ANSWERS = {
    "neither a result nor an error": b'{"jsonrpc": "2.0", "id": 1}',
    "rate limited": b'{"jsonrpc": "2.0", "id": 1, "error": "rate limited"}',
}


@pytest.mark.parametrize("said", NO_ANSWERS)
def test_an_answer_without_a_result_is_one_sentence(fake: FakeRpc, said: str) -> None:
    fake.body = NO_ANSWERS[said]
    with pytest.raises(NodeAnswerError, match=f"^the node answers eth_chainId with: {said}$"):
        Node(fake.url).chain_id()


NO_JSON_RPC = {
    "HTML": b"<html>502 Bad Gateway</html>",
    "nothing": b"",
    "no text": b"\xff\xfe",
    "a list": b"[]",
    "a number": b"1",
    "half an answer": b'{"jsonrpc": "2.0", "id": 1, "res',
}


@pytest.mark.parametrize("body", NO_JSON_RPC.values(), ids=NO_JSON_RPC.keys())
def test_a_node_that_does_not_answer_with_json_rpc_is_one_sentence(fake: FakeRpc, body: bytes) -> None:
    fake.body = body
    with pytest.raises(NodeUnreachableError, match="answers with something that is not JSON-RPC"):
        Node(fake.url).chain_id()


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_status_of_http_is_one_sentence_and_nothing_is_asked_twice(fake: FakeRpc, status: int) -> None:
    fake.status, fake.body = status, b"try later"
    with pytest.raises(NodeUnreachableError, match=f"answers with HTTP status {status}"):
        Node(fake.url).chain_id()


def test_an_error_of_json_rpc_counts_under_any_status(fake: FakeRpc) -> None:
    fake.status, fake.answers["eth_sendRawTransaction"] = 400, raises(code=-32_000, message="nonce too low")
    with pytest.raises(NonceTooLowError):
        Node(fake.url).send(b"\x02")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"code": 1, "message": "no\n\x1b[2J today"}, "no [2J today"),
        ({"code": "x"}, "an error without a message"),
        ({"message": "y" * 10**5}, "y" * 300),
    ],
)
def test_what_a_node_says_stays_on_one_line(fake: FakeRpc, error: dict[str, Any], said: str) -> None:
    fake.answers["eth_chainId"] = raises(**error)
    with pytest.raises(NodeAnswerError) as caught:
        Node(fake.url).chain_id()
    assert str(caught.value) == f"the node answers eth_chainId with: {said}"


def raises(**error: Any) -> Any:
    def answer(*_: object) -> None:
        raise RpcError(**error)

    return answer


@pytest.mark.parametrize("method", ["eth_chainId", "eth_getTransactionCount", "eth_sendRawTransaction"])
def test_no_request_is_repeated_by_itself(fake: FakeRpc, method: str) -> None:
    fake.status, fake.body = 503, b""
    node = Node(fake.url)
    asks = {
        "eth_chainId": node.chain_id,
        "eth_getTransactionCount": lambda: node.transaction_count(SOMEBODY),
        "eth_sendRawTransaction": lambda: node.send(b"\x02"),
    }
    with pytest.raises(NodeUnreachableError):
        asks[method]()
    assert fake.methods() == [method]


ANSWERS: list[tuple[str, Any]] = [
    ("eth_chainId", None),
    ("eth_chainId", 1),
    ("eth_chainId", "1"),
    ("eth_chainId", "0x"),
    ("eth_chainId", "0xzz"),
    ("eth_chainId", "0x" + "f" * 65),
    ("eth_chainId", []),
    ("eth_getCode", "0x123"),
    ("eth_getCode", {}),
    ("eth_sendRawTransaction", "0x" + "ab" * 31),
    ("eth_sendRawTransaction", None),
    ("eth_getBlockByNumber", {}),
    ("eth_getBlockByNumber", "latest"),
    ("eth_getTransactionReceipt", {"status": "0x2"}),
    ("eth_getTransactionReceipt", [1]),
    ("eth_getLogs", None),
    ("eth_getLogs", [{}]),
]


@pytest.mark.parametrize(("method", "answer"), ANSWERS)
def test_nonsense_is_refused_by_name(fake: FakeRpc, method: str, answer: Any) -> None:
    fake.answers[method] = answer
    node = Node(fake.url)
    asks = {
        "eth_chainId": node.chain_id,
        "eth_getCode": lambda: node.code(SOMEBODY),
        "eth_sendRawTransaction": lambda: node.send(b"\x02"),
        "eth_getBlockByNumber": node.block,
        "eth_getTransactionReceipt": lambda: node.receipt(HASH),
        "eth_getLogs": lambda: list(node.logs(SOMEBODY, [], 0, 1)),
    }
    with pytest.raises(NodeAnswerError, match=f"^the node answers {method} with: "):
        asks[method]()


def test_a_chain_without_base_fees_is_refused_by_name(fake: FakeRpc) -> None:
    fake.answers["eth_getBlockByNumber"] = {"number": "0x1", "hash": HASH, "parentHash": HASH, "timestamp": "0x1"}
    with pytest.raises(NodeAnswerError, match="chains without EIP-1559 are not supported"):
        Node(fake.url).block()


def test_the_wrong_chain_is_refused_by_name(world: World) -> None:
    world.node.expect_chain(CHAIN_ID)
    with pytest.raises(WrongChainError, match=f"on chain {CHAIN_ID}, and not on 1: give the URL of another node"):
        world.node.expect_chain(1)


@pytest.mark.parametrize(
    "url", ["", "node", "localhost:8545", "ws://host", "file:///etc/passwd", "http://", "http://h:x"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(NodeUrlError, match="write http://HOST:PORT or https://HOST/PATH"):
        Node(url)


def test_secrets_in_a_url_are_never_shown() -> None:
    node = Node("http://user:hunter2@127.0.0.1:1/v3/hunter2?key=hunter2", timeout=1)
    with pytest.raises(NodeUnreachableError) as caught:
        node.chain_id()
    with pytest.raises(NodeUrlError) as refused:
        Node("https//user:hunter2@host/")
    assert "hunter2" not in repr(node) + str(node) + str(caught.value) + repr(caught.value) + str(refused.value)


def test_a_name_is_looked_up_nowhere(fake: FakeRpc) -> None:
    fake.answers["eth_getBalance"] = "0x0"
    Node(fake.url).balance("alice.eth")
    assert fake.methods() == ["eth_getBalance"]


def test_without_a_method_of_its_own_the_priority_fee_comes_from_what_was_paid(fake: FakeRpc) -> None:
    fake.answers["eth_feeHistory"] = {"reward": [["0x5"], ["0x1"], ["0x9"]]}
    assert Node(fake.url).priority_fee() == 5
