"""Which of a contributor's payout addresses on a chain is in force when. It needs no library of any chain.

The first address is in force at once. A change takes effect after its delay, unless a later one is asked for before
that, which replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Protocol

from sqlmodel import Session, col, select

from ledger.instants import format_instant
from ledger.models import Operator, PayoutAddress

DEFAULT_DELAY, SHORTEST_DELAY = timedelta(days=7), timedelta(days=1)
OLD_KEY = "old key"  # who approves a change, if it is not operators; no operator can have this name
APPROVALS = 2  # of different operators, where the old key does not sign


class Said(Protocol):
    """What an address's row says."""

    address: str
    delay: int
    effective_at: str


@dataclass(frozen=True)
class Timeline:
    """A contributor's addresses on one chain at an instant: what is in force, and what is to replace it, and when."""

    address: str | None = None
    pending: str | None = None
    pending_from: str | None = None


def asked_at(row: Said) -> str:
    """When a change was asked for, in stored form: its delay ahead of its effect."""
    return later(row.effective_at, -row.delay)


def later(instant: str, seconds: int) -> str:
    """An instant in stored form, and so many seconds after it. Raises `ValueError` for what is no instant."""
    moved = datetime.fromisoformat(instant).astimezone(UTC) + timedelta(seconds=seconds)
    return format_instant(moved)


def timeline(rows: Iterable[Said], at: str) -> Timeline:
    """Where a contributor's addresses, in the order in which they were set, stand at an instant."""
    found = Timeline()
    for row in rows:
        if asked_at(row) > at:
            break
        found = _settled(found, asked_at(row))
        found = Timeline(found.address, row.address, row.effective_at)
    return _settled(found, at)


def is_approved(by: Iterable[str]) -> bool:
    """Whether these approvals are enough for a change: the old key's, or two different operators'."""
    who = set(by)
    return OLD_KEY in who or len(who) >= APPROVALS


def history(session: Session, contributor: str, chain_id: int, *, before: int | None = None) -> list[PayoutAddress]:
    """All addresses that a contributor has had on a chain, in order; `before`: as known ahead of that entry."""
    query = select(PayoutAddress).where(PayoutAddress.contributor == contributor, PayoutAddress.chain_id == chain_id)
    if before is not None:
        query = query.where(PayoutAddress.entry < before)
    return list(session.exec(query.order_by(col(PayoutAddress.entry))))


def timelines(session: Session, chain_id: int, at: str, *, before: int | None = None) -> dict[str, Timeline]:
    """Where every contributor who has an address on a chain stands at an instant in stored form, by id."""
    query = select(PayoutAddress).where(PayoutAddress.chain_id == chain_id)
    if before is not None:
        query = query.where(PayoutAddress.entry < before)
    rows = session.exec(
        query.order_by(col(PayoutAddress.contributor), col(PayoutAddress.entry)).execution_options(yield_per=1000)
    )
    return {owner: timeline(own, at) for owner, own in groupby(rows, key=lambda row: row.contributor)}


def operators(session: Session, *, before: int | None = None) -> dict[str, str]:
    """The operators' addresses by name; `before`: as they were ahead of that entry."""
    query = select(Operator)
    if before is not None:
        query = query.where(Operator.entry < before)
    now = {row.name: row for row in session.exec(query.order_by(col(Operator.entry)))}
    return {name: row.address for name, row in sorted(now.items()) if row.change == "added"}


def _settled(found: Timeline, at: str) -> Timeline:
    if found.pending_from is not None and found.pending_from <= at:
        return Timeline(found.pending)
    return found
