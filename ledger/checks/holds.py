"""Holds: rows are what entries say, nothing was taken twice, and accounts hold what is left of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator

from sqlmodel import Session, col, select

from ledger import balances
from ledger.checks.fault import Fault
from ledger.models import Entry, Hold, HoldChange
from ledger.models.holds import PURPOSES

HOLDS = "holds"
HOLD_CLAIMS = {HOLDS: "every hold and change is what its entry says, and accounts of holds hold what is left of them"}
_ACCOUNTS = ("holdback", "vesting", "stopped", "disputed", "house_disputed", "in_flight")


def hold_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the holds."""
    left: dict[tuple[str, str], int] = defaultdict(int)
    changed = _changes(session)
    numbers, last = iter(()), None
    for hold in session.exec(select(Hold).order_by(col(Hold.entry), col(Hold.id))):
        name = f"hold {hold.id}"
        if hold.entry != last:
            entry = session.get(Entry, hold.entry)
            numbers, last = iter(_said(entry, "holds")), hold.entry
        said = next(numbers, None)
        row = {column: getattr(hold, column) for column in hold.model_dump() if column not in ("id", "entry")}
        if said != {**row, "amount": str(hold.amount)}:
            yield Fault(HOLDS, f"{name}: is not what entry {hold.entry} says of it")
        if hold.purpose not in PURPOSES:
            yield Fault(HOLDS, f"{name}: has purpose {hold.purpose!r}")
        rest = hold.amount - changed.pop(hold.id, 0)
        if rest < 0:
            yield Fault(HOLDS, f"{name}: {-rest} more was taken from it than was put in")
        left[hold.account, hold.commodity] += rest
    for number in changed:
        yield Fault(HOLDS, f"hold {number}: has changes, and does not exist")
    yield from _change_faults(session)
    yield from _count_faults(session)
    for kind in _ACCOUNTS:
        for total in balances.totals(session, kind=kind):
            key = (total.account, total.commodity)
            if total.balance != left.pop(key, 0):
                yield Fault(HOLDS, f"{total.account} holds {total.balance} {total.commodity}, not what its holds do")
    for (account, commodity), rest in left.items():
        if rest:
            yield Fault(HOLDS, f"{account} holds nothing in {commodity}, its holds have {rest} left")


def _changes(session: Session) -> dict[int, int]:
    taken: dict[int, int] = defaultdict(int)
    for hold, amount in session.exec(select(HoldChange.hold, HoldChange.amount)):
        taken[hold] += amount
    return taken


def _change_faults(session: Session) -> Iterator[Fault]:
    for change in session.exec(select(HoldChange).order_by(col(HoldChange.entry), col(HoldChange.hold))):
        said = {int(item["hold"]): item for item in _said(session.get(Entry, change.entry), "hold_changes")}
        wanted = {"hold": change.hold, "change": change.change, "amount": str(change.amount)}
        if said.get(change.hold) != wanted:
            yield Fault(HOLDS, f"hold {change.hold}: {change.change} is not what entry {change.entry} says")


def _count_faults(session: Session) -> Iterator[Fault]:
    """What entries say and no row shows."""
    for word, table in (("holds", Hold), ("hold_changes", HoldChange)):
        for entry in session.exec(select(Entry).where(col(Entry.payload).contains(f'"{word}"'))):
            rows = len(session.exec(select(table.entry).where(table.entry == entry.sequence)).all())
            if rows != len(_said(entry, word)):
                yield Fault(HOLDS, f"entry {entry.sequence}: states {len(_said(entry, word))} {word}, rows show {rows}")


def _said(entry: Entry | None, word: str) -> list[dict[str, str]]:
    try:
        found = json.loads(entry.payload).get(word, []) if entry is not None else []
    except (ValueError, AttributeError):
        return []
    return found if isinstance(found, list) else []
