"""Periods: once one is closed its trial balance is sealed, and what comes late is booked forward (`journal.post`)."""

from __future__ import annotations

from datetime import date, datetime

from sqlmodel import Session, col, select

from ledger import balances, registry
from ledger.balances import Moment
from ledger.errors import PeriodError
from ledger.instants import format_instant, parse_end
from ledger.models import Period


def close_period(session: Session, through: date | datetime | str, reason: str | None = None) -> Period:
    """Close everything until and including `through`; a date includes its whole day, UTC. The same again, the first.

    Raises `InstantError`, and `PeriodError` for what has not passed yet or lies in a closed period.
    """
    last = parse_end(through)
    earlier = periods(session)
    for period in earlier:
        if period.through == last:
            return period
    if earlier and last < earlier[-1].through:
        raise PeriodError(last, f"everything through {earlier[-1].through} is closed already")
    if last >= format_instant(session.info["clock"]()):
        raise PeriodError(last, "it has not passed yet")
    sealed = Period(through=last, trial_balance=balances.seal(session, Moment(event_at=last)), entry=0)
    return registry.register(session, sealed, reason=reason)


def periods(session: Session) -> list[Period]:
    """All closed periods, in their order."""
    return list(session.exec(select(Period).order_by(col(Period.through))))
