"""Releasing what settlements held back: what has come to its date, and what was stopped for a reason that has ended.

All of it becomes payable by one entry, to the contributor or to the payees of the estate that holds by then. Where
stopping payments was agreed, whoever is stopped at that moment waits on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from sqlmodel import Session, col, select

from ledger import accounts, holds, journal
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
    kept: list[tuple[Hold, str]]  # due, and left where they are; and why


def release(session: Session, at: date | datetime | str | None = None, *, dry_run: bool = False) -> Released:
    """Make payable whatever is due at an instant, or now. Asking again releases nothing more.

    What would touch a frozen or closed account is kept, so that it does not keep back the others. Raises
    `InstantError`, and `FutureEventError` for an instant that has not come.
    """
    instant = moment(session) if at is None else parse_instant(at)
    due = list(due_at(session, instant))
    destinations = _destinations(session, due)
    kept = _shut(session, due, destinations)
    left_alone = {hold.id for hold, _ in kept}
    released = [(hold, left) for hold, left in due if hold.id not in left_alone]
    if dry_run or not released:
        return Released(None, released, kept)
    posted = holds.change(
        session,
        [Change(hold.id, holds.POSTED, left) for hold, left in released],
        kind=KIND,
        subject=instant,
        key=f"{KIND}:{journal.head(session)[0] + 1}",  # whoever asks again finds nothing due
        event_at=None if at is None else instant,
        destinations=destinations,
    )
    return Released(posted.entry.sequence, released, kept)


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


def _destinations(session: Session, due: Iterable[tuple[Hold, int]]) -> dict[int, list[tuple[str, int]]]:
    """Where each hold goes: to its contributor, or to those who are paid in their stead by now."""
    payees, found = estates(session), {}
    for hold, left in due:
        owner = hold.destination.partition(":")[2]
        shared = split(left, owner, payees.get(owner, {}))
        found[hold.id] = [(f"payable:{payee}", part) for payee, part in shared.items() if part]
    return found


def _shut(
    session: Session, due: Iterable[tuple[Hold, int]], destinations: Mapping[int, Iterable[tuple[str, int]]]
) -> list[tuple[Hold, str]]:
    keys = {
        hold.id: [(name, hold.commodity) for name in (hold.account, *(to for to, _ in destinations[hold.id]))]
        for hold, _ in due
    }
    shut = accounts.shut(session, (key for own in keys.values() for key in own))
    first = {id: next((key for key in own if key in shut), None) for id, own in keys.items()}
    return [(hold, f"{key[0]} is {shut[key]}") for hold, _ in due if (key := first[hold.id]) is not None]


def _waiting(session: Session, entry: int, instant: str) -> set[str]:
    settlement = session.exec(select(Settlement).where(col(Settlement.entry) == entry)).first()
    if settlement is None or not any(isinstance(one, StopPayment) for one in terms_of(session, settlement).policies):
        return set()
    return set(stopped(session, run_worths(session, settled_scope(session, settlement)), instant))
