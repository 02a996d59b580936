"""Making a distributor: the contract on the chain, looked at, and then registered in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlmodel import Session

from ledger import registry
from ledger.chain import contract, sending
from ledger.chain.checksum import checksummed
from ledger.chain.contract import DistributorContract
from ledger.chain.distributors import register_distributor
from ledger.chain.keys import Signer
from ledger.chain.node import Node
from ledger.chain.sending import Cost
from ledger.chain.token import Token
from ledger.database import Ledger
from ledger.errors import TokenMismatchError, WrongContractError
from ledger.models import Distributor
from ledger.money import Asset


@dataclass(frozen=True)
class Roles:
    """Who may do what with a distributor: three addresses, all different."""

    owner: str
    publisher: str
    guardian: str


def cost(node: Node, sender: str, token: str, roles: Roles, delay: int, *, fee_cap: int) -> Cost:
    """What making one would cost. Raises `AddressError`, `RevertedError`, `FeeCapError` and `NodeError`s."""
    return sending.cost(node, sender, None, _data(token, roles, delay), fee_cap=fee_cap)


def deploy(
    node: Node,
    signer: Signer,
    token: str,
    roles: Roles,
    delay: int,
    *,
    planned: Cost,
    sent: Callable[[str], object] = lambda hash: None,
    wait: Callable[[], object] = sending.pause,
) -> tuple[str, int]:
    """Make a distributor; returns its address and the number of its block. `delay` is in seconds.

    Raises `AddressError`, and what `sending.send` does.
    """
    data = _data(token, roles, delay)
    receipt = sending.send(node, signer, node.chain_id(), None, data, planned=planned, sent=sent, wait=wait)
    if receipt.contract is None:
        raise WrongContractError(receipt.transaction, "its receipt names no contract")
    return checksummed(receipt.contract), receipt.block_number


def register(
    books: Ledger, node: Node, address: str, asset: Asset, *, first_block: int, confirmations: int
) -> Distributor:
    """Look at a distributor on its chain and register it for an asset, which the ledger then uses.

    Raises `AddressError`, `WrongContractError`, `TokenMismatchError`, `AssetError`, `DistributorError`, `NodeError`s.
    """
    found = DistributorContract(node, node.chain_id(), address)
    found.assert_code(found.chain_id)
    token = Token(node, found.token())
    if (decimals := token.decimals()) != asset.exponent:
        raise TokenMismatchError(token.address, decimals, asset.code, asset.exponent)
    code_hash, delay = found.code_hash(), found.activation_delay()

    def work(session: Session) -> Distributor:
        registry.use_asset(session, asset)
        return register_distributor(
            session,
            chain_id=found.chain_id,
            address=found.address,
            token=token.address,
            asset=asset.code,
            code_hash=code_hash,
            activation_delay=delay,
            first_block=first_block,
            confirmations=confirmations,
        )

    return books.transact(work)


def _data(token: str, roles: Roles, delay: int) -> bytes:
    return contract.deployment(token, roles.owner, roles.publisher, roles.guardian, delay)
