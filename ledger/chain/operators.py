"""Operators: who may approve, two together, that a contributor's payout address changes without the old key."""

from __future__ import annotations

from sqlmodel import Session, col, select

from ledger import registry
from ledger.chain.checksum import ZERO_ADDRESS, checksummed
from ledger.errors import OperatorError
from ledger.models import Operator
from ledger.payout_addresses import operators

__all__ = ["ADDED", "REMOVED", "add_operator", "operators", "remove_operator"]

ADDED, REMOVED = "added", "removed"


def add_operator(session: Session, name: str, address: str) -> Operator:
    """Let somebody approve by the key of an address from now on. The same again returns the first.

    Raises `IdentifierError`, `AddressError` and `OperatorError`: an operator has one address, and no two have the same.
    """
    registry.identifier("operator", name)
    if checksummed(address) == ZERO_ADDRESS:
        raise OperatorError(name, "nobody has the key of the zero address")
    for other, theirs in operators(session).items():
        if other == name and theirs == address:
            return _last(session, name)
        if other == name:
            raise OperatorError(name, f"has the address {theirs}; remove it before another is added")
        if theirs == address:
            raise OperatorError(name, f"{address} is the address of {other!r}: two approvals are by two keys")
    return registry.register(session, Operator(name=name, address=address, change=ADDED, entry=0), repeatable=True)


def remove_operator(session: Session, name: str) -> Operator:
    """Let an operator approve nothing from now on; what they approved stays so. Again returns the first.

    Raises `OperatorError`.
    """
    last = _last(session, name)
    if last.change == REMOVED:
        return last
    row = Operator(name=name, address=last.address, change=REMOVED, entry=0)
    return registry.register(session, row, repeatable=True)


def _last(session: Session, name: str) -> Operator:
    query = select(Operator).where(Operator.name == name).order_by(col(Operator.entry).desc())
    found = session.exec(query).first()
    if found is None:
        raise OperatorError(name, "there is none of this name")
    return found
