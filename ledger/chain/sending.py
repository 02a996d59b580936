"""One transaction of whoever is at the keyboard: signed, sent, and waited for. The ledger's own go by the outbox."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ledger.chain import fees
from ledger.chain.fees import Fees
from ledger.chain.keys import Signer
from ledger.chain.node import Node, Receipt
from ledger.chain.transactions import transaction, transaction_hash
from ledger.errors.chain import NonceTooLowError
from ledger.errors.sending import NotMinedError, TransactionRevertedError

_MARGIN = 5, 4  # of the estimated gas
LOOKS = 150


def pause() -> None:
    """Wait between two looks at the chain."""
    time.sleep(2)


@dataclass(frozen=True)
class Cost:
    """What a transaction may use and pay: gas, and wei per gas."""

    gas: int
    fees: Fees

    @property
    def most(self) -> int:
        """The most that it may cost, wei."""
        return self.gas * self.fees.max_fee


def cost(node: Node, sender: str, to: str | None, data: bytes, *, fee_cap: int, value: int = 0) -> Cost:
    """What a transaction would cost now; `to` is None where it makes a contract. `fee_cap` is in wei per gas.

    Raises `RevertedError` where it would revert, `FeeCapError`, and `NodeError`s.
    """
    asked = {"to": to, "data": data, "value": value}
    gas = node.estimate_gas({name: part for name, part in asked.items() if part is not None}, sender=sender)
    return Cost(-(-gas * _MARGIN[0] // _MARGIN[1]), fees.first(node.base_fee(), node.priority_fee(), fee_cap))


def send(
    node: Node,
    signer: Signer,
    chain_id: int,
    to: str | None,
    data: bytes,
    *,
    planned: Cost,
    value: int = 0,
    nonce: int | None = None,
    looks: int = LOOKS,
    wait: Callable[[], object] = pause,
    sent: Callable[[str], object] = lambda hash: None,
) -> Receipt:
    """Sign a transaction, send it, and wait until it is mined. `sent` is told its hash before it is sent.

    Raises `NotMinedError` after so many `looks`, `TransactionRevertedError`, and `NodeError`s.
    """
    asked = transaction(
        chain_id=chain_id,
        nonce=node.transaction_count(signer.address, "pending") if nonce is None else nonce,
        to=to,
        data=data,
        gas=planned.gas,
        fees=planned.fees,
        value=value,
    )
    raw = signer.sign_transaction(asked)
    hash = transaction_hash(raw)
    sent(hash)
    try:
        node.send(raw)
    except NonceTooLowError:
        if node.receipt(hash) is None:
            raise
    for _ in range(looks):
        found = node.receipt(hash)
        if found is not None:
            if not found.succeeded:
                raise TransactionRevertedError(hash)
            return found
        wait()
    raise NotMinedError(hash)
