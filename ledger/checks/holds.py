"""Holds: rows are what entries say, each runs its course within what was put in, and accounts hold what is left."""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, or_, select

from ledger.accounts import KINDS
from ledger.batches import batches
from ledger.checks.fault import Fault, differences, line_faults
from ledger.checks.streams import InStep, as_stored, stream
from ledger.errors import StoredAmountError
from ledger.exact_integer import decode
from ledger.journal import REVERSAL
from ledger.lines import Line, credit, debit
from ledger.models import Entry, Hold, HoldChange, Part, Posting
from ledger.pending import EXPIRED, POSTED, RESTORED
from ledger.requests import merged_lines
from ledger.spool import Spool, ordered

STATED, COURSE, LYING, MOVED = "holds", "courses of holds", "accounts of holds", "changes of holds"
HOLD_CLAIMS = {
    STATED: "every hold and every change of one is what its entry says, and none that an entry states is missing",
    COURSE: "no more is taken from a hold than is left of it, nor before its time, and only reversals restore",
    LYING: "what an entry adds to an account of holds is what it puts into holds there and takes out of them",
    MOVED: "what is taken from a hold goes where it was meant to go, or its entry says, or back",
}
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, StoredAmountError)
_BATCH = 400  # holds of one query


def hold_faults(session: Session) -> Iterator[Fault]:
    """What does not hold of the holds."""
    yield from _statement_faults(session)
    for number, rows in groupby(stream(session, _courses()), key=lambda row: row.id):
        yield from _course_faults(f"hold {number}", rows)
    for (account, commodity, entry), rows in groupby(stream(session, _moves()), key=lambda row: tuple(row[:3])):
        yield from _lying_faults(account, commodity, entry, rows)
    reversals = select(Entry.sequence).where(Entry.kind == REVERSAL)
    changing = (
        stream(session, _telling(table, "hold_changes").where(number.not_in(reversals)))
        for table, number in ((Entry, col(Entry.sequence)), (Part, col(Part.entry)))
    )
    for sequence, texts in groupby(heapq.merge(*changing, key=_place), key=lambda row: row[0]):
        steps = (step for text in texts for step in _said(text[2], "hold_changes"))
        try:
            yield from line_faults(session, MOVED, "change of holds", sequence, merged_lines(_moved(session, steps)))
        except _UNREADABLE as error:
            yield Fault(MOVED, f"entry {sequence}: what it says of holds cannot be read: {error}")


# Rows, and what entries say of them


def _statement_faults(session: Session) -> Iterator[Fault]:
    holds, changes, count = InStep(_all_holds(session)), InStep(_all_changes(session)), itertools.count(1)
    told = (stream(session, _telling(table, "holds", "hold_changes")) for table in (Entry, Part))
    for entry, texts in groupby(heapq.merge(*told, key=_place), key=lambda row: row[0]):
        yield from map(_stray, chain(holds.before(entry), changes.before(entry)))
        payloads = Spool(payload for _, _, payload in texts)
        made = ((next(count), hold) for payload in payloads for hold in _said(payload, "holds"))
        yield from _differences(entry, "hold", made, holds.of(entry))
        numbered = enumerate(step for payload in payloads for step in _said(payload, "hold_changes"))
        steps = ((number, step) for number, _, step in ordered((_hold_number(s), place, s) for place, s in numbered))
        yield from _differences(entry, "change of hold", steps, changes.of(entry))
    yield from map(_stray, chain(holds.before(None), changes.before(None)))


def _telling(table: type[Entry] | type[Part], *words: str) -> Any:
    """Entries, or parts of them, whose payload has one of these words: entry, number (an entry's is 0), payload."""
    first = (Entry.sequence, sa.literal(0)) if table is Entry else (Part.entry, Part.number)
    columns: Any = (*first, table.payload)
    return select(*columns).where(or_(*(col(table.payload).contains(f'"{word}"') for word in words))).order_by(*first)


def _place(row: Any) -> tuple[int, int]:
    return row[0], row[1]


def _all_holds(session: Session) -> Iterator[tuple[int, int, Any, dict[str, Any]]]:
    """Every hold: its entry, its number, its amount as stored, and what its entry should say."""
    names = ("purpose", "account", "origin", "destination", "commodity", "release_at", "expires_at")
    columns: Any = (Hold.entry, Hold.id, as_stored(Hold.amount), *(getattr(Hold, name) for name in names))
    rows = stream(session, select(*columns).order_by(col(Hold.entry), col(Hold.id)))
    for entry, number, amount, *others in rows:
        yield entry, number, amount, dict(zip(names, others, strict=True))


def _all_changes(session: Session) -> Iterator[tuple[int, int, Any, dict[str, Any]]]:
    """Every change in the same form, with the account that its hold lies in."""
    own = (HoldChange.entry, HoldChange.hold, as_stored(HoldChange.amount), HoldChange.change)
    columns: Any = (*own, Hold.account, Hold.commodity)
    query: Any = select(*columns).outerjoin(Hold, col(Hold.id) == HoldChange.hold)
    for entry, number, amount, change, account, commodity in stream(
        session, query.order_by(col(HoldChange.entry), col(HoldChange.hold))
    ):
        yield entry, number, amount, {"hold": number, "change": change, "account": account, "commodity": commodity}


def _differences(
    entry: int, what: str, said: Iterable[tuple[int, dict[str, Any]]], rows: Iterable[Any]
) -> Iterator[Fault]:
    """Where rows are not what is said of the same numbers; both come in that order, so that one fault stays one."""
    rest = iter(rows)
    row = next(rest, None)
    for number, wanted in said:
        while row is not None and row[1] < number:
            yield _stray(row)
            row = next(rest, None)
        if row is None or row[1] != number:
            yield Fault(
                STATED, f"entry {entry}: states {what} {number} of {wanted.get('amount')}, whose row is missing"
            )
            continue
        _, _, amount, found = row
        row = next(rest, None)
        try:
            found["amount"] = str(decode(amount))
        except StoredAmountError as error:
            yield Fault(STATED, f"{what} {number}: {error}")
            continue
        for difference in differences(found, {name: wanted[name] for name in wanted if name != "to"}):
            yield Fault(STATED, f"{what} {number}: the row and its entry {entry} differ: {difference}")
    if row is not None:
        yield from map(_stray, chain([row], rest))


def _stray(row: Any) -> Fault:
    return Fault(STATED, f"hold {row[1]}: entry {row[0]} does not say this of it")


def _said(payload: str, word: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(payload).get(word, [])
    except (ValueError, AttributeError):
        return []  # named where the entry's content is checked
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _hold_number(said: dict[str, Any]) -> int:
    number = said.get("hold")
    return number if isinstance(number, int) else 0


# Courses


def _courses() -> Any:
    columns: Any = (
        *(Hold.id, Hold.entry, as_stored(Hold.amount).label("whole"), Hold.release_at, Hold.expires_at),
        *(col(HoldChange.entry).label("by"), HoldChange.change, as_stored(HoldChange.amount).label("taken")),
        *(Entry.kind, Entry.reverses, Entry.stated_at, Entry.recorded_at),
    )
    joined = select(*columns).outerjoin(HoldChange, col(HoldChange.hold) == Hold.id)
    return joined.outerjoin(Entry, col(Entry.sequence) == HoldChange.entry).order_by(
        col(Hold.id), col(HoldChange.entry)
    )


def _course_faults(name: str, rows: Iterable[Any]) -> Iterator[Fault]:
    left: int | None = None
    taken: dict[int, int] = {}  # by the entry that took it, until it is restored
    for row in rows:
        try:
            whole = decode(row.whole)
            amount = 0 if row.by is None else decode(row.taken)
        except StoredAmountError:
            return  # named where rows are compared with entries
        left = whole if left is None else left
        if row.by is None:
            continue
        if row.by <= row.entry:
            yield Fault(COURSE, f"{name}: entry {row.by} changes it, and entry {row.entry} makes it")
        if row.change == RESTORED:
            left += amount
            if row.kind != REVERSAL or taken.pop(row.reverses, None) != amount:
                yield Fault(COURSE, f"{name}: entry {row.by} restores {amount}, and reverses nothing that took that")
        else:
            left -= amount
            taken[row.by] = amount
            yield from _time_faults(name, row)
        if not 0 <= left <= whole:
            yield Fault(COURSE, f"{name}: {left} of {whole} are left of it after entry {row.by}")


def _time_faults(name: str, row: Any) -> Iterator[Fault]:
    at = row.stated_at or row.recorded_at or ""
    if row.change == POSTED and row.release_at is not None and at < row.release_at:
        yield Fault(COURSE, f"{name}: entry {row.by} posts it at {at}, and it is kept until {row.release_at}")
    if row.change == EXPIRED and (row.expires_at is None or at < row.expires_at):
        yield Fault(COURSE, f"{name}: entry {row.by} says at {at} that it expired, which it does at {row.expires_at}")


# Accounts


def _moves() -> Any:
    """What every entry adds to every account of holds: by its postings, by holds that it makes, and by changes."""
    pending = [kind for kind, of_kind in KINDS.items() if of_kind.pending]
    names = [
        (col(Posting.account) == kind) | col(Posting.account).startswith(f"{kind}:", autoescape=True)
        for kind in pending
    ]
    posted: Any = (Posting.account, Posting.commodity, Posting.entry, Posting.side, as_stored(Posting.amount))
    made: Any = (Hold.account, Hold.commodity, Hold.entry, sa.literal("hold"), as_stored(Hold.amount))
    changed: Any = (Hold.account, Hold.commodity, HoldChange.entry, HoldChange.change, as_stored(HoldChange.amount))
    return sa.union_all(
        sa.select(*posted).where(or_(*names)),
        sa.select(*made),
        sa.select(*changed).join(Hold, col(Hold.id) == HoldChange.hold),
    ).order_by(sa.text("1"), sa.text("2"), sa.text("3"))


def _lying_faults(account: str, commodity: str, entry: int, rows: Iterable[Any]) -> Iterator[Fault]:
    moved = stated = 0
    try:
        for _, _, _, what, stored in rows:
            amount = decode(stored)
            if what in ("debit", "credit"):
                moved += amount if what == "credit" else -amount
            else:
                stated += amount if what in ("hold", RESTORED) else -amount
    except StoredAmountError as error:
        yield Fault(LYING, f"entry {entry}, {account}: {error}")
        return
    if moved != stated:
        yield Fault(LYING, f"entry {entry}: adds {moved} {commodity} to {account}, its holds there {stated}")


def _moved(session: Session, steps: Iterable[dict[str, Any]]) -> Iterator[Line]:
    """The lines of an entry that changes holds."""
    for batch in batches(steps, _BATCH):
        columns: Any = (Hold.id, Hold.origin, Hold.destination)
        query = select(*columns).where(col(Hold.id).in_([_hold_number(step) for step in batch]))
        ends = {number: (origin, destination) for number, origin, destination in session.exec(query)}
        for step in batch:
            amount = int(step["amount"])
            origin, destination = ends.get(_hold_number(step), ("", ""))
            yield debit(step["account"], step["commodity"], amount)
            for name, part in step.get("to") or [(destination if step["change"] == POSTED else origin, amount)]:
                yield credit(name, step["commodity"], int(part))
