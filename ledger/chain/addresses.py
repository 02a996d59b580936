"""Payout addresses: where a contributor is paid on a chain, proved by the address's own signature (EIP-712).

The first is in force at once. A change needs the old key's approval, or two different operators', and takes effect
after a delay, in which it is shown in the contributor's statement and may be replaced by another. An address belongs to
one contributor for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlmodel import Session, or_, select

from ledger import registry
from ledger.canonical import canonical
from ledger.chain import typed_data
from ledger.chain.checksum import ZERO_ADDRESS, checksummed
from ledger.chain.distributors import LARGEST_CHAIN_ID
from ledger.chain.operators import operators
from ledger.errors import PayoutAddressError
from ledger.errors.chain import TypedDataError
from ledger.instants import parse_instant
from ledger.models import Distributor, PayoutAddress
from ledger.payout_addresses import (
    APPROVALS,
    DEFAULT_DELAY,
    OLD_KEY,
    SHORTEST_DELAY,
    Timeline,
    history,
    is_approved,
    later,
    timeline,
    timelines,
)
from ledger.standing import moment

__all__ = [
    "DEFAULT_DELAY",
    "SHORTEST_DELAY",
    "Asked",
    "Check",
    "Timeline",
    "address_of",
    "history",
    "set_address",
    "timelines",
    "to_sign",
]

Check = Callable[[str, bytes, bytes], bool]  # whether a contract wallet (EIP-1271) signed: address, digest, signature


@dataclass(frozen=True)
class Asked:
    """What must be signed for an address: `ownership` by its own key, `change` by the old one or two operators."""

    nonce: int
    ownership: dict[str, Any]
    change: dict[str, Any] | None  # None for the first


def set_address(
    session: Session,
    *,
    contributor: str,
    chain_id: int,
    address: str,
    signature: bytes,
    approvals: Sequence[bytes] = (),
    delay: timedelta = DEFAULT_DELAY,
    contract_wallet: bool = False,
    check: Check | None = None,
) -> PayoutAddress:
    """Set where a contributor is paid on a chain. What holds already, or is pending, is not said again.

    `signature` and `approvals` are of the messages of `to_sign`. `delay`, of a change, is a day or more. With
    `contract_wallet` the address is a contract, and `check` asks a node whether it signed; it is also asked where the
    old address is one. Raises `UnknownContributorError`, `AddressError` and `PayoutAddressError`.
    """
    owner = registry.contributor(session, contributor).id
    _refuse(session, owner, chain_id, checksummed(address))
    rows = history(session, owner, chain_id)
    if rows and rows[-1].address == address:
        return rows[-1]
    asked = to_sign(session, contributor=owner, chain_id=chain_id, address=address)
    _check_ownership(owner, address, asked, signature, check if contract_wallet else None, contract_wallet)
    now = moment(session)
    approved, seconds = "[]", 0
    if rows:
        seconds = _seconds(owner, address, delay)
        approved = canonical(_approvals(session, rows, asked, approvals, address, check))
    row = PayoutAddress(
        contributor=owner,
        chain_id=chain_id,
        address=address,
        nonce=asked.nonce,
        delay=seconds,
        effective_at=later(now, seconds),
        contract_wallet=contract_wallet,
        signature=signature.hex(),
        approvals=approved,
        entry=0,
    )
    return registry.register(session, row, repeatable=True)


def to_sign(session: Session, *, contributor: str, chain_id: int, address: str) -> Asked:
    """The messages to be signed so that an address becomes the contributor's next. Raises `AddressError`."""
    rows = history(session, contributor, chain_id)
    common: dict[str, Any] = {
        "origin": registry.origin(session),
        "chain_id": chain_id,
        "contributor": contributor,
        "nonce": len(rows),
    }
    old = timeline(rows, moment(session)).address
    ownership = typed_data.payout_address(address=address, **common)
    return Asked(len(rows), ownership, typed_data.address_change(old=old, new=address, **common) if old else None)


# Reading


def address_of(
    session: Session, contributor: str, chain_id: int, at: date | datetime | str | None = None
) -> str | None:
    """The address in force for a contributor on a chain at an instant, or now. Raises `InstantError`."""
    instant = moment(session) if at is None else parse_instant(at)
    return timeline(history(session, contributor, chain_id), instant).address


# Checks


def _refuse(session: Session, owner: str, chain_id: int, address: str) -> None:
    if not 1 <= chain_id <= LARGEST_CHAIN_ID:
        raise PayoutAddressError(owner, address, f"a chain has a number from 1 to {LARGEST_CHAIN_ID}, not {chain_id}")
    if address == ZERO_ADDRESS:
        raise PayoutAddressError(owner, address, "what is sent to the zero address is lost")
    contract = select(Distributor).where(or_(Distributor.address == address, Distributor.token == address))
    found = session.exec(contract).first()
    if found is not None:
        what = "a distributor" if found.address == address else "its token"
        raise PayoutAddressError(owner, address, f"it is {what} (distributor {found.id}), which cannot be paid")
    others = select(PayoutAddress).where(PayoutAddress.address == address, PayoutAddress.contributor != owner)
    taken = session.exec(others).first()
    if taken is not None:
        raise PayoutAddressError(owner, address, f"it belongs to {taken.contributor!r} for ever; use another")


def _check_ownership(
    owner: str, address: str, asked: Asked, signature: bytes, check: Check | None, contract_wallet: bool
) -> None:
    if contract_wallet:
        if check is None:
            raise PayoutAddressError(owner, address, "a contract's signature is checked on its chain: give a node")
        if not check(address, typed_data.digest(asked.ownership), signature):
            raise PayoutAddressError(owner, address, "the contract there says that it did not sign this")
        return
    try:
        signer = typed_data.recover(asked.ownership, signature)
    except TypedDataError as error:
        raise PayoutAddressError(owner, address, str(error)) from error
    if signer != address:
        raise PayoutAddressError(
            owner, address, f"{signer} signed, if the message was that of address number {asked.nonce}; sign it anew"
        )


def _seconds(owner: str, address: str, delay: timedelta) -> int:
    if delay < SHORTEST_DELAY or delay.microseconds:
        raise PayoutAddressError(
            owner, address, f"a change takes effect after whole seconds and {SHORTEST_DELAY.days} day or more"
        )
    return delay.days * 86_400 + delay.seconds


def _approvals(
    session: Session,
    rows: Sequence[PayoutAddress],
    asked: Asked,
    approvals: Sequence[bytes],
    address: str,
    check: Check | None,
) -> list[dict[str, str]]:
    owner = rows[-1].contributor
    assert asked.change is not None  # the first address is in force at once, so that there is an old one
    old = asked.change["message"]["oldAccount"]
    wallet = next(row.contract_wallet for row in reversed(rows) if row.address == old)
    named = {theirs: name for name, theirs in operators(session).items()}
    found: list[dict[str, str]] = []
    for approval in approvals:
        by = _approver(asked.change, approval, old, named, check if wallet else None)
        if by is None:
            raise PayoutAddressError(owner, address, "an approval is neither of the old key nor of an operator")
        found.append({"by": by, "signature": approval.hex()})
    if not is_approved(one["by"] for one in found):
        raise PayoutAddressError(
            owner, address, f"to replace {old} its key must approve, or {APPROVALS} different operators"
        )
    return found


def _approver(
    change: dict[str, Any], approval: bytes, old: str, named: dict[str, str], check: Check | None
) -> str | None:
    try:
        signer = typed_data.recover(change, approval)
    except TypedDataError:
        signer = ""
    if signer == old or (check is not None and check(old, typed_data.digest(change), approval)):
        return OLD_KEY
    return named.get(signer)
