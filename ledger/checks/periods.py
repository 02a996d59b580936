"""Closed periods: what each sealed still adds up to its seal, and nothing was booked into it later."""

from __future__ import annotations

from collections.abc import Iterator

from sqlmodel import Session, col, select

from ledger import balances
from ledger.balances import Moment
from ledger.checks.fault import Fault
from ledger.models import Entry, Period

PERIODS = "closed periods"
PERIOD_CLAIMS = {PERIODS: "every closed period's trial balance has its seal, and nothing was booked into it afterwards"}


def period_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the periods."""
    for period in session.exec(select(Period).order_by(col(Period.through))):
        late = select(Entry).where(Entry.sequence >= period.entry, Entry.event_at <= period.through)
        for entry in session.exec(late):
            detail = f"entry {entry.sequence}: happened at {entry.event_at}, through {period.through} was closed"
            yield Fault(PERIODS, detail)
        sealed = balances.seal(session, Moment(event_at=period.through, before=period.entry))
        if sealed != period.trial_balance:
            yield Fault(PERIODS, f"the period through {period.through}, entry {period.entry}: its seal is broken")
