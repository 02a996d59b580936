"""Errors of settlement on a chain: addresses, trees, keys, nodes, fees and the contract. They need no web3."""

from __future__ import annotations

from ledger.errors.base import LedgerError


class ChainError(LedgerError):
    """Root of what goes wrong between the ledger and a chain."""


class AddressError(ChainError):
    """A text is not an address with its checksum (EIP-55)."""

    def __init__(self, given: str, reason: str) -> None:
        self.given, self.reason = given, reason
        super().__init__(f"{given!r} is no address: {reason}")


class ClaimTreeError(ChainError):
    """Leaves that make no tree of claims, or an account that is not in one."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class TypedDataError(ChainError):
    """A message is not typed data (EIP-712), or a signature of one is malformed."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class KeystoreError(ChainError):
    """A keystore file cannot be made, read or opened. Neither key nor password is ever in the message."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: {reason}")


class TransactionError(ChainError):
    """A transaction is not one that this package signs, or bytes are not a signed transaction."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ExternalSignerError(ChainError):
    """An external signer cannot be reached, refuses, or signs something else than it was asked to."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint, self.reason = endpoint, reason
        super().__init__(f"the signer at {endpoint} {reason}")


class NodeError(ChainError):
    """Root of what goes wrong with a node."""


class NodeUrlError(NodeError):
    """A text is not the URL of a node or signer; it is not repeated, since such URLs often hold secrets."""

    def __init__(self) -> None:
        super().__init__("this is no URL of a node or signer: write http://HOST:PORT or https://HOST/PATH")


class NodeUnreachableError(NodeError):
    """A node does not answer, or not in time, or not with JSON-RPC: whatever was asked may have happened."""

    def __init__(self, endpoint: str, reason: str) -> None:
        self.endpoint, self.reason = endpoint, reason
        super().__init__(f"the node at {endpoint} {reason}")


class NodeAnswerError(NodeError):
    """A node answers a request with an error, or with what is no answer to it."""

    def __init__(self, method: str, message: str, code: int | None = None) -> None:
        self.method, self.message, self.code = method, message, code
        super().__init__(f"the node answers {method} with: {message}")


class NonceTooLowError(NodeAnswerError):
    """A transaction with this nonce is on the chain already: this one, or another."""


class UnderpricedError(NodeAnswerError):
    """The fees are too low for the node, or not enough above those of the transaction that is to be replaced."""


class InsufficientFundsError(NodeAnswerError):
    """The sender cannot pay for the transaction."""


class LyingNodeError(NodeError):
    """A node's answers contradict each other, or what was asked."""

    def __init__(self, method: str, reason: str) -> None:
        self.method, self.reason = method, reason
        super().__init__(f"the node cannot be trusted: by {method}, {reason}")


class RevertedError(ChainError):
    """A contract refused; `data` is what it returned, `reason` the same in words."""

    def __init__(self, data: bytes, reason: str) -> None:
        self.data, self.reason = data, reason
        super().__init__(f"the contract refuses: {reason}")


class WrongChainError(ChainError):
    """A node is on another chain than is wanted."""

    def __init__(self, found: int, expected: int) -> None:
        self.found, self.expected = found, expected
        super().__init__(f"the node is on chain {found}, and not on {expected}: give the URL of another node")


class WrongContractError(ChainError):
    """What is at an address is not the contract that this package was built with."""

    def __init__(self, address: str, reason: str) -> None:
        self.address, self.reason = address, reason
        super().__init__(f"{address} is not the distributor: {reason}")


class FeeCapError(ChainError):
    """The cap on fees is too low to send or to replace a transaction; all in wei per gas."""

    def __init__(self, cap: int, needed: int) -> None:
        self.cap, self.needed = cap, needed
        super().__init__(f"a cap of {cap} wei per gas is too low now: {needed} would be needed")
