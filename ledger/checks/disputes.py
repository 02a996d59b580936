"""Disputes: each has its hold, of what its settlement gave; when resolved, what was held went to the right side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from sqlmodel import Session, col, select

from ledger import disputes, journal
from ledger.checks.fault import Fault, line_faults
from ledger.errors import LedgerError
from ledger.holds import OPENED, POSTED, VOIDED
from ledger.lines import credit, debit
from ledger.models import Dispute, Entry, Hold, HoldChange, Resolution

DISPUTES = "disputes"
DISPUTE_CLAIMS = {
    DISPUTES: "every dispute holds what its settlement gave, and when resolved what it held went to the right side"
}
_UNREADABLE = (LedgerError, ValueError, TypeError, KeyError, AttributeError)


def dispute_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the disputes."""
    ended: set[str] = set()
    held: set[int] = set()
    for number in session.exec(select(Dispute.entry).order_by(col(Dispute.entry))).all():
        try:
            found = session.get_one(Dispute, number)
            resolution = disputes.resolution_of(session, number)
            yield from _claim_faults(session, found, resolution)
            for hold in _holds(session, number):
                held.add(hold.id)
                yield from _hold_faults(session, found, hold, resolution)
                if resolution is not None:
                    ended.add(disputes.end_key(number))
                    yield from _end_faults(session, found, hold, resolution)
            if not _holds(session, number):
                yield Fault(DISPUTES, f"dispute {number}: holds nothing")
        except _UNREADABLE as error:
            yield Fault(DISPUTES, f"dispute {number}: cannot be read: {error}")
    for entry in session.exec(select(Entry).where(Entry.kind == disputes.ENDED)):
        if entry.key not in ended:
            yield Fault(DISPUTES, f"entry {entry.sequence} ends a dispute that nobody resolved")
    for id in session.exec(select(Hold.id).where(Hold.purpose == "dispute")):
        if id not in held:
            yield Fault(DISPUTES, f"hold {id}: there is no dispute that it is for")


def _claim_faults(session: Session, found: Dispute, resolution: Resolution | None) -> Iterator[Fault]:
    name = f"dispute {found.entry}"
    given = disputes.given_by(session, found.settlement, found.respondent)
    if found.amount > given:
        respondent = found.respondent or "the house"
        yield Fault(DISPUTES, f"{name}: is of {found.amount}, settlement {found.settlement} gave {respondent} {given}")
    reversal = journal.reversal_of(session, found.settlement)
    if reversal is not None and (resolution is None or reversal.sequence < resolution.entry):
        yield Fault(DISPUTES, f"{name}: entry {reversal.sequence} reversed its settlement before it was resolved")
    if resolution is not None and resolution.entry < found.entry:
        yield Fault(DISPUTES, f"{name}: was resolved by entry {resolution.entry}, before it was opened")


def _holds(session: Session, dispute: int) -> list[Hold]:
    entry = journal.by_key(session, disputes.hold_key(dispute))
    if entry is None or entry.kind != OPENED:
        return []
    return list(session.exec(select(Hold).where(Hold.entry == entry.sequence)))


def _hold_faults(session: Session, found: Dispute, hold: Hold, resolution: Resolution | None) -> Iterator[Fault]:
    for name, right in asdict(disputes.hold_of(found)).items():
        if getattr(hold, name) != right:
            yield Fault(
                DISPUTES, f"dispute {found.entry}: {name} of hold {hold.id} is {getattr(hold, name)!r}, not {right!r}"
            )
    end = None if resolution is None else journal.by_key(session, disputes.end_key(found.entry))
    for change in session.exec(select(HoldChange).where(HoldChange.hold == hold.id)):
        if end is None or change.entry != end.sequence:
            yield Fault(
                DISPUTES, f"dispute {found.entry}: entry {change.entry} took from hold {hold.id} and resolved nothing"
            )


def _end_faults(session: Session, found: Dispute, hold: Hold, resolution: Resolution) -> Iterator[Fault]:
    name = f"dispute {found.entry}, resolved by entry {resolution.entry}"
    end = journal.by_key(session, disputes.end_key(found.entry))
    if end is None or end.kind != disputes.ENDED:
        yield Fault(DISPUTES, f"{name}: what it held was not moved")
        return
    won = resolution.outcome == disputes.CLAIMANT
    change = session.get(HoldChange, (end.sequence, hold.id))
    right = (POSTED if won else VOIDED, found.amount)
    if change is None or (change.change, change.amount) != right:
        yield Fault(DISPUTES, f"{name}: hold {hold.id} was not {right[0]} whole by entry {end.sequence}")
    targets = disputes.claimants_part(session, found, before=resolution.entry) if won else [(hold.origin, found.amount)]
    lines = [debit(hold.account, found.asset, found.amount)]
    lines += [credit(account, found.asset, amount) for account, amount in targets]
    yield from line_faults(session, DISPUTES, name, end.sequence, lines)
