"""One node of a chain: what is asked of it, and checks that its answers agree with each other."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from web3.providers import BaseProvider

from ledger.chain import answers, refusals, transactions
from ledger.chain.answers import Block, Log, Receipt
from ledger.chain.reverts import explain
from ledger.chain.rpc import Endpoint, RefusedError
from ledger.errors.chain import LyingNodeError, NodeAnswerError, RevertedError, WrongChainError

__all__ = ["Block", "Log", "Node", "Receipt"]

T = TypeVar("T")
Which = int | str

_CHUNK = 2_000  # blocks of logs in a request
_LOOKS = 3  # how often a receipt is looked at while the chain's end moves


class Node:
    """A node, by its URL or by a provider of web3's.

    Every method raises NodeUnreachableError where the node does not answer in time, and NodeAnswerError where it
    answers with an error, or with nonsense. `which` and `block` are a block's number, its hash, or "latest", "safe",
    "finalized", "earliest".
    """

    def __init__(self, url_or_provider: str | BaseProvider, *, timeout: float = 10.0) -> None:
        """`timeout` is in seconds, for each answer. Raises NodeUrlError."""
        self._endpoint = Endpoint(url_or_provider, timeout=timeout)
        self.name = self._endpoint.name

    def __repr__(self) -> str:
        return f"Node({self.name!r})"

    def chain_id(self) -> int:
        """Which chain the node is on."""
        return self._ask(answers.number, "eth_chainId")

    def expect_chain(self, chain_id: int) -> None:
        """Check that the node is on this chain. Raises WrongChainError."""
        found = self.chain_id()
        if found != chain_id:
            raise WrongChainError(found, chain_id)

    def block(self, which: Which = "latest") -> Block | None:
        """A block, or None where there is none. Raises LyingNodeError where it is another than asked for."""
        by_hash = _is_hash(which)
        method = "eth_getBlockByHash" if by_hash else "eth_getBlockByNumber"
        found = self._ask(_unless_none(answers.block), method, _block_name(which), False)
        if found is not None and by_hash and found.hash != str(which).lower():
            raise LyingNodeError(method, f"it gave block {found.hash} for {which}")
        if found is not None and isinstance(which, int) and found.number != which:
            raise LyingNodeError(method, f"it gave block {found.number} for {which}")
        return found

    def transaction_count(self, address: str, which: Which = "latest") -> int:
        """How many transactions an address has sent, which is its next nonce; "pending" counts those that wait."""
        return self._ask(answers.number, "eth_getTransactionCount", address, _state_at(which))

    def balance(self, address: str, which: Which = "latest") -> int:
        """What an address has, in wei."""
        return self._ask(answers.number, "eth_getBalance", address, _state_at(which))

    def code(self, address: str, block: Which = "latest") -> bytes:
        """A contract's code, or nothing where there is none."""
        return self._ask(answers.octets, "eth_getCode", address, _state_at(block))

    def knows(self, transaction: str) -> bool:
        """Whether the node has a transaction, in a block or waiting."""
        method = "eth_getTransactionByHash"
        found = self._ask(_unless_none(lambda answer: answers.hash32(answer["hash"])), method, transaction)
        if found not in (None, transaction.lower()):
            raise LyingNodeError(method, f"it gave transaction {found} for {transaction}")
        return found is not None

    def receipt(self, transaction: str) -> Receipt | None:
        """What a transaction came to, or None while it is in no block.

        The block of that number must have the receipt's hash and list the transaction. Raises LyingNodeError where
        that is not so, and does not become so when the node is asked again: the chain may just have changed its end.
        """
        problem = ""
        for _ in range(_LOOKS):
            found = self._ask(_unless_none(answers.receipt), "eth_getTransactionReceipt", transaction)
            if found is None:
                return None
            problem = _contradiction(found, transaction) or self._misplaced(found)
            if not problem:
                return found
        raise LyingNodeError("eth_getTransactionReceipt", problem)

    def send(self, raw: bytes) -> str:
        """Hand in a signed transaction: "sent", or "known" where the node has it already.

        Raises NonceTooLowError, UnderpricedError, InsufficientFundsError. Where NodeUnreachableError is raised, the
        node may have taken it.
        """
        wanted, method = transactions.transaction_hash(raw), "eth_sendRawTransaction"
        try:
            found = self._ask(answers.hash32, method, "0x" + raw.hex())
        except NodeAnswerError as error:
            if refusals.is_known(error):
                return "known"
            raise refusals.named(error) from error
        if found != wanted:
            raise LyingNodeError(method, f"it took a transaction {found} where {wanted} was sent")
        return "sent"

    def call(self, to: str, data: bytes, *, block: Which = "latest", sender: str | None = None) -> bytes:
        """What a contract returns. Raises RevertedError with the reason where it refuses."""
        asked = {"to": to, "data": "0x" + data.hex()} | ({"from": sender} if sender else {})
        return self._run(answers.octets, "eth_call", asked, _state_at(block))

    def estimate_gas(self, transaction: Mapping[str, Any], *, sender: str | None = None) -> int:
        """The gas that a transaction would need now; fees and nonce are left out. Raises RevertedError."""
        asked = {"data": "0x" + transaction["data"].hex(), "value": hex(transaction.get("value", 0))}
        asked |= {"to": transaction["to"]} if transaction.get("to") else {}
        sender = sender or transaction.get("from")
        asked |= {"from": sender} if sender else {}
        return self._run(answers.number, "eth_estimateGas", asked)

    def logs(self, address: str, topics: Sequence[str | Sequence[str] | None], first: int, last: int) -> Iterator[Log]:
        """The logs of a contract in the blocks from `first` to `last`, both included, in their order.

        They are asked for in chunks of blocks, which are halved while the node refuses them. Raises LyingNodeError
        where a log is not of what was asked for, or is told twice.
        """
        size = _CHUNK
        while first <= last:
            end = min(first + size - 1, last)
            asked = {"address": address, "topics": list(topics), "fromBlock": hex(first), "toBlock": hex(end)}
            try:
                found = self._ask(_logs, "eth_getLogs", asked)
            except RefusedError:
                if end == first:
                    raise
                size = (end - first + 1) // 2
                continue
            for log in found:
                if log.address.lower() != address.lower() or not first <= log.block_number <= end:
                    raise LyingNodeError("eth_getLogs", "a log is of another contract or block than was asked for")
                if not _matches(log.topics, topics):
                    raise LyingNodeError("eth_getLogs", "a log is of another event than was asked for")
            if len({(log.block_number, log.index) for log in found}) < len(found):
                raise LyingNodeError("eth_getLogs", "two logs are at the same place")
            yield from sorted(found, key=lambda log: (log.block_number, log.index))
            first = end + 1

    def priority_fee(self) -> int:
        """What proposers ask for a place in a block now, in wei per gas."""
        try:
            return self._ask(answers.number, "eth_maxPriorityFeePerGas")
        except RefusedError:
            rewards = self._ask(_rewards, "eth_feeHistory", hex(10), "latest", [50])
            return statistics.median_low(rewards) if rewards else 0

    def base_fee(self) -> int:
        """The base fee of the latest block, in wei per gas; the next one's is at most an eighth higher."""
        return self._ask(answers.block, "eth_getBlockByNumber", "latest", False).base_fee

    def _misplaced(self, receipt: Receipt) -> str:
        block = self.block(receipt.block_number)
        if block is None or block.hash != receipt.block_hash:
            found = block.hash if block else "not there"
            return f"block {receipt.block_number} is {found}, where the receipt has {receipt.block_hash}"
        if receipt.index >= len(block.transactions) or block.transactions[receipt.index] != receipt.transaction:
            return f"block {block.hash} does not hold the transaction {receipt.transaction} that has a receipt from it"
        return ""

    def _run(self, read: Callable[[Any], T], method: str, *params: object) -> T:
        try:
            return self._ask(read, method, *params)
        except RefusedError as error:
            data = refusals.revert_data(error)
            if data is None:
                raise refusals.named(error) from error
            raise RevertedError(data, explain(data)) from error

    def _ask(self, read: Callable[[Any], T], method: str, *params: object) -> T:
        answer = self._endpoint.ask(method, params)
        try:
            return read(answer)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error) if isinstance(error, ValueError) else "something else than was asked for"
            raise NodeAnswerError(method, reason) from error


def _unless_none(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    return lambda answer: None if answer is None else read(answer)


def _logs(answer: Any) -> list[Log]:
    return [answers.log(one) for one in answer]


def _rewards(answer: Any) -> list[int]:
    return [answers.number(rewards[0]) for rewards in answer["reward"]]


def _is_hash(which: Which) -> bool:
    return isinstance(which, str) and which.startswith("0x")


def _block_name(which: Which) -> str:
    return hex(which) if isinstance(which, int) else which


def _state_at(which: Which) -> str | dict[str, object]:
    """As EIP-1898 has it: a block by its hash must be in the chain still."""
    return {"blockHash": which, "requireCanonical": True} if _is_hash(which) else _block_name(which)


def _contradiction(found: Receipt, transaction: str) -> str:
    if found.transaction != transaction.lower():
        return f"it gave the receipt of {found.transaction} for {transaction}"
    if any((log.block_hash, log.transaction) != (found.block_hash, found.transaction) for log in found.logs):
        return f"a log in the receipt of {transaction} is of another transaction or block"
    return ""


def _matches(topics: Sequence[str], asked: Sequence[str | Sequence[str] | None]) -> bool:
    if len(topics) < len(asked):
        return False
    for topic, wanted in zip(topics, asked, strict=False):
        if wanted is not None and topic not in ([wanted] if isinstance(wanted, str) else wanted):
            return False
    return True
