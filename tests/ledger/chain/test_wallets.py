"""Wallets that are contracts: signed is what they say by EIP-1271's word, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.chain.node import Node
from ledger.chain.wallets import has_signed
from ledger.errors.chain import NodeUnreachableError
from tests.ledger.chain import fake_rpc
from tests.ledger.chain.fake_rpc import RpcError

WALLET = "0x52908400098527886E0F7030069857D2E4169EE7"
DIGEST, SIGNATURE = bytes(range(32)), b"any form that the wallet takes"
YES = "0x1626ba7e" + "00" * 28


def refuse(*asked: Any) -> Any:
    raise RpcError(code=3, message="execution reverted", data="0x")


@pytest.mark.parametrize(
    ("answer", "signed"),
    [
        (YES, True),
        ("0xffffffff" + "00" * 28, False),
        ("0x" + "00" * 31 + "01", False),
        ("0x" + "00" * 28 + "1626ba7e", False),
        ("0x1626ba7e", False),
        ("0x", False),  # no contract there
        (refuse, False),
    ],
)
def test_a_wallet_has_signed_where_it_answers_the_word_and_nothing_else(answer: Any, signed: bool) -> None:
    with fake_rpc.running() as fake:
        fake.answers["eth_call"] = answer
        assert has_signed(Node(fake.url), WALLET, DIGEST, SIGNATURE) is signed
        ((method, (asked, _)),) = fake.asked
    assert (method, asked["to"]) == ("eth_call", WALLET)
    assert asked["data"].startswith("0x1626ba7e" + DIGEST.hex())
    assert SIGNATURE.hex() in asked["data"]


def test_a_node_that_is_silent_is_no_answer() -> None:
    with pytest.raises(NodeUnreachableError):
        has_signed(Node("http://127.0.0.1:1", timeout=1), WALLET, DIGEST, SIGNATURE)
