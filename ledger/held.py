"""What is left of holds: now, ahead of an entry, and of which ones their time has come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlmodel import Session, col, exists, or_, select

from ledger.accounts import Key
from ledger.batches import batches
from ledger.errors import HoldError
from ledger.models import Hold, HoldChange
from ledger.pending import RESTORED

_BATCH = 400  # holds of one query


def remaining(session: Session, holds: Iterable[int], *, before: int | None = None) -> dict[int, int]:
    """What is left of each of these holds, smallest units; `before`: ahead of that entry."""
    left: dict[int, int] = {}
    for batch in batches(holds, _BATCH):
        left |= dict(session.exec(select(Hold.id, Hold.amount).where(col(Hold.id).in_(batch))).all())
        columns: Any = (HoldChange.hold, HoldChange.change, HoldChange.amount)
        taken = select(*columns).where(col(HoldChange.hold).in_(batch))
        if before is not None:
            taken = taken.where(HoldChange.entry < before)
        for hold, change, amount in session.exec(taken):
            left[hold] += amount if change == RESTORED else -amount
    return left


def made_by(session: Session, entry: int) -> list[Hold]:
    """The holds that an entry made, in the order in which it states them."""
    return list(session.exec(select(Hold).where(Hold.entry == entry).order_by(col(Hold.id))))


def left_of(session: Session, entry: int, *, before: int | None = None) -> list[tuple[Hold, int]]:
    """The holds that an entry made of which something is left, with what is left; `before`: ahead of that entry."""
    made = made_by(session, entry)
    left = remaining(session, [hold.id for hold in made], before=before)
    return [(hold, left[hold.id]) for hold in made if left[hold.id]]


def open_holds(
    session: Session,
    *,
    purpose: str | None = None,
    account: str | None = None,
    touching: Key | None = None,
    expired_by: str | None = None,
) -> dict[int, tuple[Hold, int]]:
    """The holds of which something is left, by number, with what is left.

    `touching`: those that lie in an account, come from it or are meant for it. `expired_by`: whose time is then over.
    """
    changes = select(HoldChange.entry).where(HoldChange.hold == Hold.id)
    emptied = exists(changes.where(HoldChange.change != RESTORED, HoldChange.amount == Hold.amount))
    query = select(Hold).where(or_(~emptied, exists(changes.where(HoldChange.change == RESTORED))))
    if purpose is not None:
        query = query.where(Hold.purpose == purpose)
    if account is not None:
        query = query.where(Hold.account == account)
    if touching is not None:
        ends = [col(end) == touching[0] for end in (Hold.account, Hold.origin, Hold.destination)]
        query = query.where(or_(*ends), Hold.commodity == touching[1])
    if expired_by is not None:
        query = query.where(col(Hold.expires_at) <= expired_by)
    found = {hold.id: hold for hold in session.exec(query.order_by(col(Hold.id)))}
    left = remaining(session, found)
    return {id: (hold, left[id]) for id, hold in found.items() if left[id]}


def rows(session: Session, numbers: Sequence[int]) -> dict[int, Hold]:
    """The holds with these numbers, by number. Raises `HoldError` where there is none, or one is named twice."""
    found: dict[int, Hold] = {}
    for batch in batches(numbers, _BATCH):
        found |= {hold.id: hold for hold in session.exec(select(Hold).where(col(Hold.id).in_(batch)))}
    for number, times in Counter(numbers).items():
        if number not in found:
            raise HoldError(number, "there is no such hold")
        if times > 1:
            raise HoldError(number, "is named more than once in one request")
    return found
