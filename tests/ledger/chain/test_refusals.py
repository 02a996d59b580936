from __future__ import annotations

import pytest

from ledger.chain import refusals
from ledger.chain.rpc import RefusedError
from ledger.errors import InsufficientFundsError, NodeAnswerError, NonceTooLowError, UnderpricedError

HASH = "0x" + "ab" * 32

# What nodes say, by program. The texts are theirs.
SAID: dict[str, tuple[str, type[NodeAnswerError] | None]] = {
    "geth: already known": ("already known", None),
    "geth: nonce": ("nonce too low: next nonce 5, tx nonce 4", NonceTooLowError),
    "geth: replacement": ("replacement transaction underpriced", UnderpricedError),
    "geth: underpriced": ("transaction underpriced: tip needed 1, tip permitted 0", UnderpricedError),
    "geth: tip": ("transaction gas price below minimum: gas tip cap 0, minimum needed 1000000", UnderpricedError),
    "geth: base fee": (
        "max fee per gas less than block base fee: address 0x00, maxFeePerGas: 1, baseFee: 7",
        UnderpricedError,
    ),
    "geth: future": ("future transaction tries to replace pending", UnderpricedError),
    "geth: funds": (
        "insufficient funds for gas * price + value: balance 0, tx cost 21000, overshot 21000",
        InsufficientFundsError,
    ),
    "anvil: already known": ("transaction already imported", None),
    "anvil: nonce": ("nonce too low", NonceTooLowError),
    "anvil: replacement": ("replacement transaction underpriced", UnderpricedError),
    "anvil: replacement in the pool": (
        f"Tx: [{HASH}] insufficient gas price to replace existing transaction",
        UnderpricedError,
    ),
    "anvil: base fee": ("max fee per gas less than block base fee", UnderpricedError),
    "anvil: funds": ("Insufficient funds for gas * price + value", InsufficientFundsError),
    "nethermind: already known": ("AlreadyKnown", None),
    "nethermind: nonce": ("OldNonce, Current nonce: 5, nonce of rejected tx: 4", NonceTooLowError),
    "nethermind: replacement": ("ReplacementNotAllowed", UnderpricedError),
    "nethermind: fee": ("FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 1, BaseFee: 7", UnderpricedError),
    "nethermind: compete": ("FeeTooLowToCompete", UnderpricedError),
    "nethermind: funds": ("InsufficientFunds, Balance is 0 less than sending value 1", InsufficientFundsError),
    "erigon: already known": ("already known", None),
    "erigon: same hash": ("existing txn with same hash", None),
    "erigon: same hash, before": ("INTERNAL_ERROR: existing tx with same hash", None),
    "erigon: nonce": ("nonce too low", NonceTooLowError),
    "erigon: replacement": ("could not replace existing tx", UnderpricedError),
    "erigon: underpriced": ("underpriced", UnderpricedError),
    "erigon: fee": ("fee too low", UnderpricedError),
    "erigon: funds": ("insufficient funds", InsufficientFundsError),
    "besu: already known": ("Known transaction", None),
    "besu: nonce": ("Nonce too low", NonceTooLowError),
    "besu: replacement": ("Replacement transaction underpriced", UnderpricedError),
    "besu: price": ("Gas price below configured minimum gas price", UnderpricedError),
    "besu: base fee": ("Gas price below current base fee", UnderpricedError),
    "besu: funds": ("Upfront cost exceeds account balance", InsufficientFundsError),
    "any: nonce gap": ("nonce too high", NodeAnswerError),
    "any: gas": ("intrinsic gas too low: gas 20999, minimum needed 21000", NodeAnswerError),
    "any: limit": ("exceeds block gas limit", NodeAnswerError),
    "any: full": ("txpool is full", NodeAnswerError),
    "besu: wrong chain": ("Wrong chainId", NodeAnswerError),
}


@pytest.mark.parametrize("who", SAID)
def test_a_refusal_is_understood_whoever_says_it(who: str) -> None:
    text, kind = SAID[who]
    error = RefusedError("eth_sendRawTransaction", text, -32_000, None)
    assert refusals.is_known(error) is (kind is None)
    if kind is not None:
        found = refusals.named(error)
        assert (NodeAnswerError if type(found) is RefusedError else type(found)) is kind
        assert text in str(found)
