"""Releasing what settlements held back: what has come to its date, and what was stopped for a reason that has ended.

All of it becomes payable by one entry, to the contributor or to the payees of the estate that holds by then. Where
stopping payments was agreed, whoever is stopped at that moment waits on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from sqlmodel import Session, col, select

from ledger import holds
from ledger.canonical import canonical, sha256
from ledger.estates import estates
from ledger.holds import Change
from ledger.instants import parse_instant
from ledger.models import Hold, Settlement
from ledger.policies import StopPayment
from ledger.policies.estate import split
from ledger.scope import settled_scope
from ledger.settlement import terms_of
from ledger.settlement_entries import PURPOSES
from ledger.standing import moment, stopped
from ledger.worth import run_worths

KIND = "release"


@dataclass(frozen=True)
class Released:
    """What was released, in the order of the holds, and by which entry; None where there was nothing."""

    entry: int | None
    holds: list[tuple[Hold, int]]


def release(session: Session, at: date | datetime | str | None = None, *, dry_run: bool = False) -> Released:
    """Make payable whatever is due at an instant, or now. Asking again releases nothing more.

    Raises `InstantError`, and `FutureEventError` for an instant that has not come.
    """
    instant = moment(session) if at is None else parse_instant(at)
    due = list(due_at(session, instant))
    if dry_run or not due:
        return Released(None, due)
    payees = estates(session)
    owners = {hold.id: hold.destination.partition(":")[2] for hold, _ in due}
    destinations = {
        hold.id: [
            (f"payable:{payee}", part)
            for payee, part in split(left, owners[hold.id], payees.get(owners[hold.id], {})).items()
            if part
        ]
        for hold, left in due
    }
    # The same holds cannot be released twice, so they name the request.
    digest = sha256(canonical([[hold.id, str(left)] for hold, left in due]).encode())
    posted = holds.change(
        session,
        [Change(hold.id, holds.POSTED, left) for hold, left in due],
        kind=KIND,
        subject=instant,
        key=f"{KIND}:{digest}",
        event_at=None if at is None else instant,
        destinations=destinations,
    )
    return Released(posted.entry.sequence, due)


def due_at(session: Session, instant: str) -> Iterator[tuple[Hold, int]]:
    """The settlements' holds that may be released at an instant, with what is left of each."""
    by_settlement: dict[int, list[tuple[Hold, int]]] = defaultdict(list)
    for purpose in PURPOSES.values():
        for hold, left in holds.open_holds(session, purpose=purpose).values():
            if hold.release_at is None or hold.release_at <= instant:
                by_settlement[hold.entry].append((hold, left))
    for entry, found in sorted(by_settlement.items()):
        waiting = _waiting(session, entry, instant)
        for hold, left in sorted(found, key=lambda one: one[0].id):
            if hold.destination.partition(":")[2] not in waiting:
                yield hold, left


def _waiting(session: Session, entry: int, instant: str) -> set[str]:
    settlement = session.exec(select(Settlement).where(col(Settlement.entry) == entry)).first()
    if settlement is None or not any(isinstance(one, StopPayment) for one in terms_of(session, settlement).policies):
        return set()
    return set(stopped(session, run_worths(session, settled_scope(session, settlement)), instant))
