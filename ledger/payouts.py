"""Paying contributors: what is payable is sent, is in flight until it is confirmed, and comes back where it failed.

A payout is a hold: from `payable`, on `in_flight`, meant for `paid`. It is confirmed or fails, whole or in part.
"""

from __future__ import annotations

from datetime import date, datetime

from sqlmodel import Session

from ledger import balances, holds, journal, registry
from ledger.accounts import account_name
from ledger.errors import HoldError
from ledger.holds import NewHold
from ledger.models import Hold

PURPOSE, CONFIRMED, FAILED = "payout", "payout confirmed", "payout failed"


def start(
    session: Session,
    contributor: str,
    asset: str,
    amount: int | None = None,
    *,
    key: str,
    reference: str | None = None,
    event_at: date | datetime | str | None = None,
) -> Hold:
    """Send minor units of an asset to a contributor, or all that is payable. The same again returns the first payout.

    Raises `UnknownContributorError`, `HoldError` where nothing is payable, `AccountLimitError` where less is.
    """
    owner = registry.contributor(session, contributor).id
    payable = account_name("payable", owner)
    whole = amount
    if whole is None:
        made = journal.by_key(session, key)  # what it came to then, so that the same request has the same content
        sent = [] if made is None else holds.made_by(session, made.sequence)
        whole = sent[0].amount if sent else balances.balance(session, payable, asset)
    if not whole:
        raise HoldError(None, f"of nothing cannot be made: nothing is payable to {owner!r} in {asset}")
    hold = NewHold(PURPOSE, account_name("in_flight", owner), payable, account_name("paid", owner), asset, whole)
    return holds.open_hold(session, hold, key=key, reference=reference, event_at=event_at)


def confirm(
    session: Session,
    hold: int,
    amount: int | None = None,
    *,
    key: str,
    reference: str | None = None,
    event_at: date | datetime | str | None = None,
) -> journal.Posted:
    """Note that a payout arrived, all that is left of it or a part. Raises `HoldError`."""
    return _end(session, hold, holds.POSTED, CONFIRMED, amount, key, None, reference, event_at)


def fail(
    session: Session,
    hold: int,
    reason: str,
    amount: int | None = None,
    *,
    key: str,
    event_at: date | datetime | str | None = None,
) -> journal.Posted:
    """Note that a payout did not arrive: it is payable again. Raises `HoldError`."""
    return _end(session, hold, holds.VOIDED, FAILED, amount, key, reason, None, event_at)


def one(session: Session, entry: int) -> Hold:
    """The payout that an entry started. Raises `HoldError`."""
    found = [hold for hold in holds.made_by(session, entry) if hold.purpose == PURPOSE]
    if len(found) != 1:
        raise HoldError(None, f"of a payout was not made by entry {entry}")
    return found[0]


def in_flight(session: Session) -> list[tuple[Hold, int]]:
    """The payouts that are neither confirmed nor failed, with what is left of each."""
    return list(holds.open_holds(session, purpose=PURPOSE).values())


def _end(
    session: Session,
    number: int,
    change: str,
    kind: str,
    amount: int | None,
    key: str,
    reason: str | None,
    reference: str | None,
    event_at: date | datetime | str | None,
) -> journal.Posted:
    hold = session.get(Hold, number)
    if hold is None or hold.purpose != PURPOSE:
        raise HoldError(number, "is no payout; `ghostledger pay list` shows those in flight")
    step = holds.Change(number, change, amount)
    return holds.change(
        session,
        [step],
        kind=kind,
        subject=hold.origin.partition(":")[2] or hold.origin,  # a hold of that purpose may be anybody's
        key=key,
        reason=reason,
        reference=reference,
        event_at=event_at,
    )
