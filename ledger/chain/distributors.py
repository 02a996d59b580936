"""Distributors: the contracts that pay, each one token on one chain, for one asset of the books."""

from __future__ import annotations

import re

from sqlmodel import Session, col, func, select

from ledger import registry
from ledger.chain.checksum import ZERO_ADDRESS, checksummed
from ledger.errors import AssetError, DistributorError
from ledger.models import Commodity, Distributor, PayoutAddress
from ledger.valuation_names import is_nats

LARGEST_CHAIN_ID = 2**53 - 1  # what canonical JSON holds as a number
_HASH = re.compile("0x[0-9a-f]{64}")


def register_distributor(
    session: Session,
    *,
    chain_id: int,
    address: str,
    token: str,
    asset: str,
    code_hash: str,
    activation_delay: int,
    first_block: int,
    confirmations: int,
) -> Distributor:
    """Register a contract, as somebody who has looked at it says. The same again returns the first.

    `asset` is a commodity of the ledger, and one of its minor units is one of the token's. `code_hash` is ``0x`` and
    64 lower-case digits, `activation_delay` in seconds. Raises `AddressError`, `AssetError` and `DistributorError`.
    """
    name = f"{chain_id}:{checksummed(address)}"
    known = session.get(Commodity, asset)
    if known is None or is_nats(asset):
        raise AssetError(asset, "is no money of this ledger yet; settle in it before it is published")
    row = Distributor(
        id=(session.exec(select(func.max(Distributor.id))).one() or 0) + 1,
        chain_id=chain_id,
        address=address,
        token=checksummed(token),
        asset=asset,
        code_hash=code_hash,
        activation_delay=activation_delay,
        first_block=first_block,
        confirmations=confirmations,
        entry=0,
    )
    same = select(Distributor).where(Distributor.chain_id == chain_id, Distributor.address == address)
    earlier = session.exec(same).first()
    if earlier is not None:
        for what, before in earlier.payload().items():
            if what != "id" and before != row.payload()[what]:
                raise DistributorError(name, f"is registered by entry {earlier.entry}, with {before!r} for its {what}")
        return earlier
    _refuse(session, name, row)
    return registry.register(session, row)


def distributor(session: Session, which: int | str | None = None) -> Distributor:
    """The distributor with this number or address, or the only one there is. Raises `DistributorError`."""
    query = select(Distributor)
    if isinstance(which, int) or (which is not None and which.isdecimal()):
        query = query.where(Distributor.id == int(which))
    elif which is not None:
        query = query.where(Distributor.address == which.rpartition(":")[2])
        if ":" in which:
            query = query.where(Distributor.chain_id == int(which.partition(":")[0]))
    found = session.exec(query.order_by(col(Distributor.id))).all()
    if len(found) == 1:
        return found[0]
    if found:
        there = ", ".join(f"{one.id} ({one.subject()})" for one in found)
        raise DistributorError("?" if which is None else str(which), f"there are several; name one of {there}")
    raise DistributorError("?" if which is None else str(which), "there is none; register it first")


def distributors(session: Session) -> list[Distributor]:
    """All distributors, by number."""
    return list(session.exec(select(Distributor).order_by(col(Distributor.id))))


def _refuse(session: Session, name: str, row: Distributor) -> None:
    if not 1 <= row.chain_id <= LARGEST_CHAIN_ID:
        raise DistributorError(name, f"a chain has a number from 1 to {LARGEST_CHAIN_ID}")
    if row.address == row.token or ZERO_ADDRESS in (row.address, row.token):
        raise DistributorError(name, "it and its token are two contracts, and neither is the zero address")
    if not _HASH.fullmatch(row.code_hash):
        raise DistributorError(name, f"{row.code_hash!r} is no hash of code: 0x and 64 lower-case digits")
    if min(row.activation_delay, row.first_block) < 0 or row.confirmations < 1:
        raise DistributorError(name, "delay and block count from 0, and what is final has 1 confirmation or more")
    taken = select(PayoutAddress).where(col(PayoutAddress.address).in_([row.address, row.token]))
    payee = session.exec(taken).first()
    if payee is not None:
        raise DistributorError(
            name, f"{payee.address} is a payout address of {payee.contributor!r}, so it is no contract"
        )
