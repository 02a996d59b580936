"""Money set aside: pending until it is posted to where it was meant to go, voided, or expired back to its origin.

A hold lies in an account of its own kind (`holdback:alice`), so the books balance at every moment; each change is a
new entry, for the whole of what is left or a part. An entry makes holds by stating them in its payload under "holds"
(`statement`), crediting their accounts, and `record`; what changes them is stated under "hold_changes".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, insert
from sqlmodel import Session, col, select

from ledger import journal
from ledger.accounts import KINDS, split_name
from ledger.batches import batches
from ledger.errors import HoldError
from ledger.instants import format_instant, parse_instant
from ledger.lines import Line, credit, debit
from ledger.models import Hold, HoldChange

OPENED, POSTED, VOIDED, EXPIRED = "hold", "posted", "voided", "expired"
_ROWS = 10_000


@dataclass(frozen=True)
class NewHold:
    """A hold to be: `amount` smallest units in `account`, from `origin`, meant for `destination`.

    Instants are in stored form. All three accounts are credit accounts of one commodity.
    """

    purpose: str
    account: str
    origin: str
    destination: str
    commodity: str
    amount: int
    release_at: str | None = None
    expires_at: str | None = None


@dataclass(frozen=True)
class Change:
    """A hold's next step: all that is left of it where no amount is given."""

    hold: int
    change: str
    amount: int | None = None


def stated(hold: NewHold) -> dict[str, Any]:
    """What an entry's payload says of a hold."""
    return {**asdict(hold), "amount": str(hold.amount)}


def record(session: Session, entry: int, holds: Sequence[NewHold]) -> list[int]:
    """Add the rows of holds that an entry made; returns their numbers."""
    first = (session.exec(select(func.max(Hold.id))).one() or 0) + 1
    rows = [{"id": first + place, "entry": entry, **asdict(hold)} for place, hold in enumerate(holds)]
    for batch in batches(rows, _ROWS):
        session.connection().execute(insert(Hold), batch)
    return [row["id"] for row in rows]


def open_hold(
    session: Session,
    hold: NewHold,
    *,
    key: str,
    reason: str | None = None,
    reference: str | None = None,
    event_at: date | datetime | str | None = None,
) -> Hold:
    """Set money aside by an entry of its own: debit the origin, credit the hold's account. The same again, the first.

    Raises `HoldError`, `AccountLimitError` where the origin holds less, and what `journal.post` does.
    """
    for name in (hold.account, hold.origin, hold.destination):
        if KINDS[split_name(name)[0]].normal_side != "credit":
            raise HoldError(None, f"lies between credit accounts, and {name!r} is none")
    if hold.amount <= 0:
        raise HoldError(None, "needs an amount above zero")
    lines = [debit(hold.origin, hold.commodity, hold.amount), credit(hold.account, hold.commodity, hold.amount)]
    posted = journal.post(
        session,
        kind=OPENED,
        subject=hold.account,
        key=key,
        payload={"holds": [stated(hold)]},
        lines=lines,
        reason=reason,
        reference=reference,
        event_at=event_at,
    )
    if not posted.repeated:
        record(session, posted.entry.sequence, [hold])
    return session.exec(select(Hold).where(Hold.entry == posted.entry.sequence)).one()


def change(
    session: Session,
    changes: Sequence[Change],
    *,
    kind: str,
    subject: str,
    key: str,
    reason: str | None = None,
    reference: str | None = None,
    event_at: date | datetime | str | None = None,
    destinations: Mapping[int, Sequence[tuple[str, int]]] | None = None,
) -> journal.Posted:
    """Post, void or expire holds, by one entry.

    `destinations` sends what is posted of a hold elsewhere than planned, as (account, amount) that sum to it: to the
    payees of an estate. Raises `HoldError` for more than is left, for a posting before the release date, and for an
    expiry before its time.
    """
    earlier = journal.by_key(session, key)
    if earlier is not None and kind == earlier.kind:
        whole = [Change(int(made["hold"]), made["change"], int(made["amount"])) for made in _said(earlier.payload)]
        if [(c.hold, c.change) for c in changes] == [(c.hold, c.change) for c in whole] and all(
            asked.amount in (None, done.amount) for asked, done in zip(changes, whole, strict=True)
        ):
            return journal.Posted(earlier, repeated=True)
    now = format_instant(session.info["clock"]())
    at = now if event_at is None else parse_instant(event_at)
    rows = {hold.id: hold for hold in _rows(session, [step.hold for step in changes])}
    left = remaining(session, rows)
    done, lines = [], []
    for step in changes:
        hold = rows.get(step.hold)
        if hold is None:
            raise HoldError(step.hold, "there is no such hold")
        whole_step = replace(step, amount=left[hold.id] if step.amount is None else step.amount)
        done.append(whole_step)
        lines += _lines(hold, whole_step, left[hold.id], at, (destinations or {}).get(hold.id))
        left[hold.id] -= whole_step.amount or 0
    said = [{"hold": step.hold, "change": step.change, "amount": str(step.amount)} for step in done]
    posted = journal.post(
        session,
        kind=kind,
        subject=subject,
        key=key,
        payload={"hold_changes": said},
        lines=lines,
        reason=reason,
        reference=reference,
        event_at=event_at,
    )
    if not posted.repeated:
        made = [{"entry": posted.entry.sequence, **asdict(step)} for step in done]
        for batch in batches(made, _ROWS):
            session.connection().execute(insert(HoldChange), batch)
    return posted


def remaining(session: Session, holds: Iterable[int]) -> dict[int, int]:
    """What is left of each of these holds, smallest units."""
    left: dict[int, int] = {}
    for batch in batches(holds, 400):
        amounts = select(Hold.id, Hold.amount).where(col(Hold.id).in_(batch))
        left |= dict(session.exec(amounts).all())
        for hold, amount in session.exec(
            select(HoldChange.hold, HoldChange.amount).where(col(HoldChange.hold).in_(batch))
        ):
            left[hold] -= amount
    return left


def open_holds(
    session: Session, *, purpose: str | None = None, account: str | None = None
) -> dict[int, tuple[Hold, int]]:
    """The holds of which something is left, by number, with what is left."""
    query = select(Hold)
    if purpose is not None:
        query = query.where(Hold.purpose == purpose)
    if account is not None:
        query = query.where(Hold.account == account)
    found = {hold.id: hold for hold in session.exec(query.order_by(col(Hold.id)))}
    left = remaining(session, found)
    return {id: (hold, left[id]) for id, hold in found.items() if left[id]}


def _said(payload: str) -> list[dict[str, Any]]:
    return list(json.loads(payload).get("hold_changes", []))


def _rows(session: Session, numbers: Iterable[int]) -> Iterable[Hold]:
    for batch in batches(numbers, 400):
        yield from session.exec(select(Hold).where(col(Hold.id).in_(batch)))


def _lines(hold: Hold, step: Change, left: int, at: str, destinations: Sequence[tuple[str, int]] | None) -> list[Line]:
    amount = step.amount or 0
    if not 0 < amount <= left:
        raise HoldError(hold.id, f"{amount} is not between 1 and the {left} that are left of it (smallest units)")
    if step.change == POSTED and hold.release_at is not None and at < hold.release_at:
        raise HoldError(hold.id, f"is kept until {hold.release_at}, and it is {at}")
    if step.change == EXPIRED and (hold.expires_at is None or at < hold.expires_at):
        raise HoldError(hold.id, f"has not expired: {hold.expires_at or 'it never does'}")
    if step.change != POSTED:
        targets: Sequence[tuple[str, int]] = [(hold.origin, amount)]
    else:
        targets = destinations or [(hold.destination, amount)]
        if sum(part for _, part in targets) != amount:
            raise HoldError(hold.id, f"{amount} cannot be sent on in parts that sum to something else")
    return [
        debit(hold.account, hold.commodity, amount),
        *(credit(account, hold.commodity, part) for account, part in targets),
    ]
