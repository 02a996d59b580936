from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from ledger.chain.abi import kind, signature
from ledger.chain.artifact import artifact
from ledger.chain.node import Node
from ledger.chain.reverts import explain
from ledger.errors import NodeAnswerError, RevertedError
from tests.ledger.chain import fake_rpc
from tests.ledger.chain.fake_rpc import FakeRpc, RpcError
from tests.ledger.chain.world import key

SOMEBODY, ELSE = key("somebody").address, key("somebody else").address


def returned(signature: str, *values: object) -> bytes:
    """What a contract returns for a custom error."""
    types = signature[signature.index("(") + 1 : -1]
    return keccak(text=signature)[:4] + encode(types.split(",") if types else [], values)


# What the contracts may say, and the same in words.
WORDS = {
    "NotThePublisher(address)": ((SOMEBODY,), f"{SOMEBODY} is not the publisher"),
    "ClaimsArePaused()": ((), "claims are paused by the guardian"),
    "WrongId(uint256,uint256)": ((1, 3), "the next root's id is 3, and not 1"),
    "InactiveRoot(uint256,uint64)": (
        (2, 1_800_000_000),
        "root 2 becomes active at 2027-01-15 08:00:00 UTC; claim after that",
    ),
    "ActiveRoot(uint256,uint64)": (
        (2, 2**64 - 1),
        "root 2 is active since 18446744073709551615 seconds after 1970, and cannot be revoked any more",
    ),
    "WrongProof(uint256,address,uint256)": (
        (1, SOMEBODY, 2**256 - 1),
        f"the proof does not show that root 1 gives {SOMEBODY} {2**256 - 1} in all",
    ),
    "NothingToClaim(address,uint256,uint256)": (
        (SOMEBODY, 5, 5),
        f"{SOMEBODY} has nothing to claim: of 5 in all, 5 are claimed",
    ),
    "SafeERC20FailedOperation(address)": ((ELSE,), f"the token {ELSE} refused a transfer"),
    "OwnableUnauthorizedAccount(address)": ((SOMEBODY,), f"{SOMEBODY} is not the owner"),
    "ERC20InsufficientBalance(address,uint256,uint256)": (
        (SOMEBODY, 1, 2),
        f"{SOMEBODY} has 1 of the token, but 2 are needed",
    ),
    "ECDSAInvalidSignatureS(bytes32)": ((b"\1" * 32,), "the signature's s is not in the lower half"),
    "Error(string)": (("blocked",), "blocked"),
    "Panic(uint256)": ((0x11,), "the contract's code panicked (0x11)"),
}


@pytest.mark.parametrize("name", WORDS)
def test_an_error_is_put_into_words(name: str) -> None:
    values, words = WORDS[name]
    assert explain(returned(name, *values)) == words


EXAMPLES = {"address": SOMEBODY, "uint256": 12_345, "uint64": 1_800_000_000, "string": "a text", "bytes32": b"\7" * 32}


@pytest.mark.parametrize("contract", ["CumulativeDistributor", "DemoToken"])
def test_every_error_of_the_contracts_has_words_of_its_own(contract: str) -> None:
    items = artifact(contract).abi.errors
    assert len(items) > 5
    for item in items:
        values = [EXAMPLES[kind(one)] for one in item["inputs"]]
        words = explain(returned(signature(item), *values))
        assert item["name"] not in words
        assert "no error of the distributor's" not in words


def test_what_is_unknown_or_damaged_is_said_to_be() -> None:
    assert explain(b"") == "it gives no reason"
    assert explain(bytes.fromhex("deadbeef00")) == "it gives 0xdeadbeef00, which is no error of the distributor's"
    assert explain(b"\x01") == "it gives 0x01, which is no error of the distributor's"
    half = returned("NotThePublisher(address)", SOMEBODY)[:-1]
    assert explain(half) == "it gives NotThePublisher with damaged values"


def test_a_tokens_own_words_stay_on_one_line() -> None:
    assert explain(returned("Error(string)", "no\n\x1b[31mmoney\r\n today")) == "no [31mmoney today"
    assert len(explain(returned("Error(string)", "x" * 10**5))) == 300
    assert explain(returned("Error(string)", "")) == "it gives no reason"


@given(st.sampled_from(sorted(WORDS)), st.binary(max_size=100))
def test_any_bytes_after_a_known_error_are_one_sentence(name: str, rest: bytes) -> None:
    assert explain(keccak(text=name)[:4] + rest)


# As nodes tell of them


@pytest.fixture
def fake() -> Iterator[FakeRpc]:
    with fake_rpc.running() as server:
        yield server


@pytest.fixture
def node(fake: FakeRpc) -> Node:
    return Node(fake.url)


NOT_THE_PUBLISHER = "0x" + (keccak(text="NotThePublisher(address)")[:4] + bytes(12)).hex() + SOMEBODY[2:].lower()


@pytest.mark.parametrize(
    "error",
    [
        {"code": 3, "message": "execution reverted", "data": NOT_THE_PUBLISHER},  # geth, anvil, erigon
        {"code": -32_015, "message": "VM execution error.", "data": f"Reverted {NOT_THE_PUBLISHER}"},  # nethermind
        {"code": -32_000, "message": "Execution reverted", "data": NOT_THE_PUBLISHER},  # besu
        {"code": -32_000, "message": "execution reverted", "data": {"data": NOT_THE_PUBLISHER}},
    ],
)
@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
def test_a_revert_is_explained_whoever_tells_of_it(
    fake: FakeRpc, node: Node, error: dict[str, Any], method: str
) -> None:
    def revert(*_: object) -> None:
        raise RpcError(**error)

    fake.answers[method] = revert
    asks: dict[str, Callable[[], object]] = {
        "eth_call": lambda: node.call(SOMEBODY, b""),
        "eth_estimateGas": lambda: node.estimate_gas({"to": SOMEBODY, "data": b""}),
    }
    with pytest.raises(RevertedError, match=f"^the contract refuses: {SOMEBODY} is not the publisher$"):
        asks[method]()


def test_a_revert_without_data_gives_no_reason(fake: FakeRpc, node: Node) -> None:
    def revert(*_: object) -> None:
        raise RpcError(code=-32_000, message="execution reverted")

    fake.answers["eth_call"] = revert
    with pytest.raises(RevertedError, match="it gives no reason"):
        node.call(SOMEBODY, b"")


def test_another_error_of_a_call_is_no_revert(fake: FakeRpc, node: Node) -> None:
    def fail(*_: object) -> None:
        raise RpcError(code=-32_000, message="header not found", data="0x")

    fake.answers["eth_call"] = fail
    with pytest.raises(NodeAnswerError, match="header not found"):
        node.call(SOMEBODY, b"")
