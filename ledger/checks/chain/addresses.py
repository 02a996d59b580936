"""Payout addresses: each in its turn, approved and delayed where it is a change, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from ledger.checks.fault import Fault
from ledger.checks.streams import stream
from ledger.errors import LedgerError
from ledger.models import Distributor, Entry, Operator, PayoutAddress
from ledger.payout_addresses import OLD_KEY, SHORTEST_DELAY, asked_at, is_approved, operators

ADDRESSES = "payout addresses"
ADDRESS_CLAIMS = {
    ADDRESSES: "payout addresses follow one another, changes are approved and delayed, and nobody has another's"
}
_DAMAGED = (LedgerError, ValueError, KeyError, TypeError, AttributeError, OverflowError)


def address_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the payout addresses and of the operators."""
    order = (col(PayoutAddress.contributor), col(PayoutAddress.chain_id), col(PayoutAddress.entry))
    rows = stream(session, select(PayoutAddress).order_by(*order))
    for _, group in groupby(rows, key=lambda row: (row.contributor, row.chain_id)):
        for place, row in enumerate(group):
            name = f"payout address of {row.contributor!r}, entry {row.entry}"
            try:
                yield from _one(session, name, place, row)
            except _DAMAGED as error:
                yield Fault(ADDRESSES, f"{name}: cannot be read: {error}")
    yield from _shared(session)
    yield from _operator_faults(session.exec(select(Operator).order_by(col(Operator.entry))))


def _one(session: Session, name: str, place: int, row: PayoutAddress) -> Iterator[Fault]:
    if row.nonce != place:
        yield Fault(ADDRESSES, f"{name}: is number {row.nonce}, after {place} others")
    yield from _moment_faults(session, name, row)
    by = [one["by"] for one in json.loads(row.approvals)]
    if place == 0:
        if row.delay or by:
            yield Fault(ADDRESSES, f"{name}: is the first, and in force at once, without approval")
        return
    if row.delay < SHORTEST_DELAY.days * 86_400:
        yield Fault(ADDRESSES, f"{name}: changes after {row.delay} seconds, and {SHORTEST_DELAY.days} day is the least")
    known = {*operators(session, before=row.entry), OLD_KEY}
    for stranger in sorted(set(by) - known):
        yield Fault(ADDRESSES, f"{name}: was approved by {stranger!r}, who was no operator then")
    if not is_approved(one for one in by if one in known):
        yield Fault(
            ADDRESSES, f"{name}: was approved by {', '.join(by) or 'nobody'}; the old key or two operators must"
        )


def _moment_faults(session: Session, name: str, row: PayoutAddress) -> Iterator[Fault]:
    """What it was asked for at lies between the entry before its own and its own."""
    recorded = select(Entry.sequence, Entry.recorded_at).where(col(Entry.sequence).in_((row.entry - 1, row.entry)))
    times = dict(session.exec(recorded).all())
    begin, end = times.get(row.entry - 1, ""), times.get(row.entry, "")
    asked = asked_at(row)
    if not begin <= asked <= end:
        yield Fault(
            ADDRESSES,
            f"{name}: is in force from {row.effective_at}, {row.delay} seconds after {asked}; "
            f"it was recorded between {begin} and {end}",
        )


def _shared(session: Session) -> Iterator[Fault]:
    """Addresses of several contributors, and of contracts that cannot be paid."""
    others: Any = sa.orm.aliased(PayoutAddress)
    first = (
        select(PayoutAddress.entry, PayoutAddress.address, PayoutAddress.contributor, sa.func.min(others.entry))
        .join(others, (others.address == PayoutAddress.address) & (others.contributor != PayoutAddress.contributor))
        .where(others.entry < PayoutAddress.entry)
        .group_by(col(PayoutAddress.entry), col(PayoutAddress.address), col(PayoutAddress.contributor))
    )
    for entry, address, contributor, earlier in session.exec(first.order_by(col(PayoutAddress.entry))):
        yield Fault(
            ADDRESSES,
            f"payout address of {contributor!r}, entry {entry}: {address} is another's since entry {earlier}",
        )
    payee = col(PayoutAddress.address)
    contracts = sa.or_(col(Distributor.address) == payee, col(Distributor.token) == payee)
    query = select(PayoutAddress.entry, PayoutAddress.contributor, Distributor.id).join(Distributor, contracts)
    for entry, contributor, distributor in session.exec(query):
        yield Fault(
            ADDRESSES, f"payout address of {contributor!r}, entry {entry}: is distributor {distributor} or its token"
        )


def _operator_faults(rows: Iterable[Operator]) -> Iterator[Fault]:
    now: dict[str, str] = {}
    for row in rows:
        name = f"operator {row.name!r}, entry {row.entry}"
        if row.change == "added":
            if row.name in now or row.address in now.values():
                yield Fault(ADDRESSES, f"{name}: is added while there is one of this name or address")
            now[row.name] = row.address
        elif now.pop(row.name, None) != row.address:
            yield Fault(ADDRESSES, f"{name}: is removed with another address than it had, or was there no more")
