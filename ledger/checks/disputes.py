"""Disputes: each has its hold, of what its settlement gave; when resolved, what was held went to the right side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

from sqlmodel import Session, col, select

from ledger import appeals, disputes, journal, other_valuations
from ledger.checks.fault import Fault, line_faults
from ledger.errors import LedgerError
from ledger.holds import OPENED, POSTED, VOIDED
from ledger.lines import credit, debit
from ledger.models import Dispute, Entry, Hold, HoldChange, Resolution, Settlement
from ledger.scope import settled_scope
from ledger.settlement import terms_of
from ledger.valuation_names import is_dearer
from ledger.worth import common_name

DISPUTES = "disputes"
DISPUTE_CLAIMS = {
    DISPUTES: "every dispute holds what its settlement gave, and when resolved what it held went to the right side"
}
_UNREADABLE = (LedgerError, ValueError, TypeError, KeyError, AttributeError, IndexError)


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
    if found.calls_for is not None:
        yield from _call_faults(session, found, resolution)
    if resolution is not None and resolution.entry < found.entry:
        yield Fault(DISPUTES, f"{name}: was resolved by entry {resolution.entry}, before it was opened")


def _call_faults(session: Session, found: Dispute, resolution: Resolution | None) -> Iterator[Fault]:
    """Whether another valuation could be called for, and what became of it where that was upheld."""
    name, called = f"dispute {found.entry}", str(found.calls_for)
    made = session.get(Settlement, found.settlement)
    if made is None:
        yield Fault(DISPUTES, f"{name}: entry {found.settlement} is no settlement")
        return
    scope = settled_scope(session, made)
    for run in scope.runs:
        own = other_valuations.own_name_of(session, run)
        paid_by, entry = made.valuation or own, other_valuations.entry_of(session, run, called)
        there = called == own or (entry is not None and entry.sequence < found.entry)
        if called == paid_by or not (there or is_dearer(called, paid_by)):
            yield Fault(DISPUTES, f"{name}: calls for valuation {called!r} of a run that was paid by {paid_by!r}")
        decided = None if resolution is None or resolution.outcome != disputes.CLAIMANT else resolution.entry
        if decided is not None and called != own and (entry is None or entry.sequence > decided):
            yield Fault(DISPUTES, f"{name}: was upheld while run {run[:12]} had no valuation {called!r}")
    if resolution is None or resolution.outcome != disputes.CLAIMANT:
        if resolution is not None and resolution.payout is not None:
            yield Fault(DISPUTES, f"{name}: states a payout by {called!r}, and was not upheld")
        return
    payout = appeals.payout_by(session, found.settlement, found.claimant, called)
    if resolution.payout != payout:
        yield Fault(DISPUTES, f"{name}: states {resolution.payout} by valuation {called!r}, recomputed {payout}")
    again = appeals.settled_anew(session, found)
    wanted = replace(terms_of(session, made), by=common_name(session, scope, called))
    if again is None or terms_of(session, again) != wanted or again.entry < resolution.entry:
        yield Fault(DISPUTES, f"{name}: was upheld, and its runs were not settled anew by valuation {called!r}")


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
    won = resolution.outcome == disputes.CLAIMANT and found.calls_for is None
    change = session.get(HoldChange, (end.sequence, hold.id))
    right = (POSTED if won else VOIDED, found.amount)
    if change is None or (change.change, change.amount) != right:
        yield Fault(DISPUTES, f"{name}: hold {hold.id} was not {right[0]} whole by entry {end.sequence}")
    targets = disputes.claimants_part(session, found, before=resolution.entry) if won else [(hold.origin, found.amount)]
    lines = [debit(hold.account, found.asset, found.amount)]
    lines += [credit(account, found.asset, amount) for account, amount in targets]
    yield from line_faults(session, DISPUTES, name, end.sequence, lines)
