"""What must hold before a submission is signed. Each thing that does not is one error, which says what to do."""

from __future__ import annotations

from ledger.chain.contract import DistributorContract, Token
from ledger.chain.evidence import View
from ledger.errors.outbox import (
    NotActiveError,
    NotThePublisherError,
    RootsPausedError,
    UnderfundedError,
    UnknownRootError,
    UnlikeDistributorError,
)
from ledger.models import Distributor


def assert_same(contract: DistributorContract, distributor: Distributor) -> None:
    """Check that a contract is the one that was registered: its chain, code, token and activation delay.

    Raises `WrongChainError`, `WrongContractError` and `UnlikeDistributorError`.
    """
    contract.assert_code(distributor.chain_id)
    registered = {
        "code hash": (distributor.code_hash, contract.code_hash()),
        "token": (distributor.token, contract.token()),
        "activation delay": (distributor.activation_delay, contract.activation_delay()),
    }
    for what, (before, found) in registered.items():
        if before != found:
            raise UnlikeDistributorError(distributor.address, what, str(before), str(found))


def assert_may_submit(contract: DistributorContract, sender: str) -> None:
    """Check that a sender is the publisher, and that roots are not paused.

    Raises `NotThePublisherError` and `RootsPausedError`.
    """
    publisher = contract.publisher()
    if publisher != sender:
        raise NotThePublisherError(sender, publisher)
    if contract.roots_paused():
        raise RootsPausedError(contract.address)


def assert_funded(contract: DistributorContract, total: int) -> None:
    """Check that the distributor has, or has paid, what a root promises (smallest units). Raises `UnderfundedError`."""
    token = Token(contract.node, contract.token())
    covered = token.balance_of(contract.address) + contract.total_claimed()
    if covered < total:
        raise UnderfundedError(contract.address, total, covered)


def next_id(contract: DistributorContract, before: tuple[int, str] | None, view: View) -> int:
    """The id of the next root, after the ledger's last one: `before` is its id, and what became of it.

    Raises `NotActiveError`, and `UnknownRootError` where the chain has a live root that the ledger did not publish.
    """
    known, state = before or (0, "abandoned")
    if state == "abandoned":
        known = max(known - 1, 0)
    elif state == "published":
        root = contract.root_of(known)
        if root.revoked or not view.has_passed(root.activates_at):
            raise NotActiveError(known, root.activates_at)
    last = contract.last_id()
    for id in range(known + 1, last + 1):
        if not contract.root_of(id).revoked:
            raise UnknownRootError(contract.address, id)
    return last + 1
