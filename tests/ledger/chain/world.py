"""A distributor on a chain of the tests, with a token, money, and a key for each part that somebody plays."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from eth_account import Account
from eth_utils.crypto import keccak

from ledger.chain import contract as contracts
from ledger.chain import token as tokens
from ledger.chain.checksum import checksummed
from ledger.chain.contract import DistributorContract
from ledger.chain.fees import first
from ledger.chain.keys import Keystore, Signer
from ledger.chain.node import Node, Receipt
from ledger.chain.token import Token
from ledger.chain.transactions import transaction, transaction_hash

ROLES = ("owner", "publisher", "guardian")
CONTRIBUTORS = ("alice", "bob", "carol")
DELAY = 3_600  # seconds from a root's submission to its activation
FUNDS = 1_000_000 * 10**6  # what the distributor has, and its owner as much again
FEE_CAP = 10**12  # wei per gas


class Chain(Protocol):
    """What the tests do with a chain beside what the ledger does."""

    def node(self) -> Node: ...
    def fund(self, address: str, wei: int = ...) -> None: ...
    def mine(self, blocks: int = ..., seconds_apart: int = ...) -> None: ...
    def pass_time(self, seconds: int) -> None: ...
    def snapshot(self) -> str: ...
    def revert(self, snapshot: str) -> None: ...


@dataclass(frozen=True)
class World:
    """A deployed distributor; `first_block` holds its deployment."""

    chain: Chain
    node: Node
    keys: dict[str, Keystore]
    token: Token
    contract: DistributorContract
    first_block: int

    @property
    def chain_id(self) -> int:
        """Which chain it is on."""
        return self.contract.chain_id

    def address(self, who: str) -> str:
        """Whose address."""
        return self.keys[who].address

    def sign(self, who: str, to: str | None, data: bytes, *, nonce: int | None = None, value: int = 0) -> bytes:
        """A transaction, signed and not sent."""
        return signed(self.node, self.keys[who], to, data, nonce=nonce, value=value)

    def send(self, who: str, to: str | None, data: bytes, *, value: int = 0) -> Receipt:
        """Send a transaction on a chain that mines at once; it must succeed."""
        return sent(self.node, self.keys[who], to, data, value=value)

    def submit(self, id: int, root: bytes, total: int, metadata_hash: bytes = bytes(32)) -> Receipt:
        """Submit a root by the publisher."""
        return self.send("publisher", self.contract.address, self.contract.submit_root(id, root, total, metadata_hash))

    def activate(self) -> None:
        """Let the roots that were submitted become active."""
        self.chain.pass_time(DELAY + 1)


def key(who: str) -> Keystore:
    """Somebody's key, always the same; it is no secret."""
    return Keystore(Account.from_key(keccak(text=f"ghostledger test {who}")))


def made(chain: Chain) -> World:
    """Deploy a token and a distributor that has FUNDS of it, and give everybody money for gas."""
    node = chain.node()
    keys = {who: key(who) for who in (*ROLES, *CONTRIBUTORS)}
    for signer in keys.values():
        chain.fund(signer.address)
    owner, publisher, guardian = (keys[role] for role in ROLES)
    token = Token(node, _created(node, owner, tokens.deployment("Demo dollar", "DUSD", 6, owner.address)))
    deployment = contracts.deployment(token.address, owner.address, publisher.address, guardian.address, DELAY)
    receipt = sent(node, owner, None, deployment)
    assert receipt.contract is not None
    contract = DistributorContract(node, node.chain_id(), receipt.contract)
    for holder in (contract.address, owner.address):
        sent(node, owner, token.address, token.mint(holder, FUNDS))
    return World(chain, node, keys, token, contract, receipt.block_number)


def signed(
    node: Node, signer: Signer, to: str | None, data: bytes, *, nonce: int | None = None, value: int = 0
) -> bytes:
    """A transaction with fees of now."""
    asked = transaction(
        chain_id=node.chain_id(),
        nonce=node.transaction_count(signer.address) if nonce is None else nonce,
        to=to,
        data=data,
        gas=5_000_000,
        fees=first(node.base_fee(), 10**9, FEE_CAP),
        value=value,
    )
    return signer.sign_transaction(asked)


def sent(node: Node, signer: Signer, to: str | None, data: bytes, *, value: int = 0) -> Receipt:
    """A transaction's receipt; the chain mines at once, and the transaction must succeed."""
    raw = signed(node, signer, to, data, value=value)
    assert node.send(raw) == "sent"
    receipt = mined(node, raw)
    if not receipt.succeeded:
        node.estimate_gas({"to": to, "data": data, "value": value}, sender=signer.address)  # says why
    assert receipt.succeeded
    return receipt


def mined(node: Node, raw: bytes, patience: float = 10) -> Receipt:
    """The receipt of what was sent; the chain mines it at once, but answers before it has."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        receipt = node.receipt(transaction_hash(raw))
        if receipt is not None:
            return receipt
        time.sleep(0.01)
    raise AssertionError("the transaction was not mined")


def _created(node: Node, signer: Signer, data: bytes) -> str:
    receipt = sent(node, signer, None, data)
    assert receipt.contract is not None
    return checksummed(receipt.contract)
