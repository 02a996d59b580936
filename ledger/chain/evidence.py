"""What a node says of one chain, held against itself: nothing is booked that one answer alone says.

A node may lag, lie, or change its mind with the chain. So what a log says counts only with a receipt that holds it, in
a block that is in the chain at that height, and with the contract's state agreeing.
"""

from __future__ import annotations

from ledger.chain.contract import DistributorContract, Event
from ledger.chain.node import Block, Node, Receipt
from ledger.errors.chain import LyingNodeError


class View:
    """One look at a chain: its head, the last block that counts as final, and what was asked of the node since.

    Blocks and receipts are asked for once. A view is for one pass, and a new one is taken for the next. Raises
    `NodeError`.
    """

    def __init__(self, node: Node, confirmations: int) -> None:
        self.node = node
        self.confirmations = confirmations
        self._blocks: dict[int, Block | None] = {}
        self._receipts: dict[str, Receipt | None] = {}
        head = node.block("latest")
        if head is None:
            raise LyingNodeError("eth_getBlockByNumber", "its chain has no newest block")
        self.head = head
        self._blocks[head.number] = head

    @property
    def final(self) -> int:
        """The number of the last block that has `confirmations` blocks on top of it; negative where none has."""
        return self.head.number - self.confirmations

    def block(self, number: int) -> Block | None:
        """The block at a height, or None above the head."""
        if number not in self._blocks:
            self._blocks[number] = self.node.block(number)
        return self._blocks[number]

    def has_passed(self, instant: int) -> bool:
        """Whether a final block lies at or after an instant, in seconds since 1970."""
        final = self.block(self.final) if self.final >= 0 else None
        return final is not None and final.timestamp >= instant

    def receipt(self, transaction: str) -> Receipt | None:
        """A transaction's receipt, if it was mined: the node checks that its block is in the chain, and holds it."""
        if transaction not in self._receipts:
            self._receipts[transaction] = self.node.receipt(transaction)
        return self._receipts[transaction]

    def assert_happened(self, contract: DistributorContract, event: Event) -> None:
        """Check that an event's transaction succeeded in that block, which is in the chain, and logged it.

        Raises `LyingNodeError`.
        """
        what = f"there is an event of {event.transaction} in block {event.block_number}"
        receipt = self.receipt(event.transaction)
        if receipt is None:
            raise LyingNodeError("eth_getLogs", f"{what}, and it has no receipt from there")
        if receipt.block_hash != event.block_hash or not receipt.succeeded:
            raise LyingNodeError("eth_getLogs", f"{what}, and its receipt says that it did not succeed there")
        if event not in contract.events_of(receipt):
            raise LyingNodeError("eth_getLogs", f"{what}, and its receipt has no such event")
