"""Closed periods: what each sealed still adds up to its seal, and nothing was booked into it later."""

from __future__ import annotations

from collections.abc import Iterator

from sqlmodel import Session, col, select

from ledger import balances
from ledger.balances import Moment
from ledger.checks.fault import Fault
from ledger.checks.streams import stream
from ledger.errors import StoredAmountError
from ledger.models import Entry, Period

PERIODS = "closed periods"
PERIOD_CLAIMS = {PERIODS: "every closed period's trial balance has its seal, and nothing was booked into it afterwards"}


def period_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the periods."""
    periods = list(session.exec(select(Period).order_by(col(Period.entry))))
    last = ""
    for period in periods:
        name = f"the period through {period.through}, entry {period.entry}"
        if period.through <= last:
            yield Fault(PERIODS, f"{name}: everything through {last} was closed already")
        last = max(last, period.through)
        columns = select(Entry.sequence, Entry.event_at)
        late = columns.where(Entry.sequence >= period.entry, Entry.event_at <= period.through)
        for sequence, event_at in stream(session, late.order_by(col(Entry.sequence))):
            yield Fault(PERIODS, f"{name}: entry {sequence} is booked at {event_at}, and came after it was closed")
    moments = [Moment(event_at=period.through, before=period.entry) for period in periods]
    try:
        sealed = balances.seals(session, moments) if moments else []
    except StoredAmountError as error:
        yield Fault(PERIODS, f"what closed periods sealed cannot be added up: {error}")
        return
    for period, found in zip(periods, sealed, strict=True):
        if found != period.trial_balance:
            yield Fault(PERIODS, f"the period through {period.through}, entry {period.entry}: its seal is broken")
