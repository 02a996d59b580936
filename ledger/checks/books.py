"""The journal: its sequence, hashes, balances and reversals, in one pass over entries, parts and postings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, func, select

from ledger.canonical import GENESIS, Request, content_hash, entry_hash, part_leaf, posting_leaf, root_of
from ledger.checks.fault import Fault, all_lines, read_line, stored_lines
from ledger.errors import StoredAmountError
from ledger.journal import REVERSAL
from ledger.lines import Line, imbalance, mirrored
from ledger.models import Entry, Head, Part

SEQUENCE, CONTENT, CHAIN, BALANCE = "entry sequence", "entry content", "hash chain", "entry balances"
REVERSALS, HEAD = "reversals", "head"
JOURNAL_CLAIMS = {
    SEQUENCE: "entries are counted from 1 without a gap, recorded in order, and every posting and part has one",
    CONTENT: "every entry's payload, parts and postings have the hash that it states",
    CHAIN: "every entry's hash is right and covers the hash of the entry before",
    BALANCE: "in every entry, debits equal credits in each commodity",
    REVERSALS: "every reversal mirrors the entry that it reverses",
}
HEAD_CLAIMS = {HEAD: "the head counts every entry and holds the last one's hash"}

_Row = Any


def journal_faults(session: Session) -> Iterator[Fault]:
    """What does not hold in the journal."""
    previous, number, recorded_at = GENESIS, 0, ""
    lines, parts = _Ahead(all_lines(session)), _Ahead(_all_parts(session))
    for entry in session.exec(select(Entry).order_by(col(Entry.sequence)).execution_options(yield_per=1000)):
        number += 1
        if entry.sequence != number:
            missing = f"entry {number}" if entry.sequence == number + 1 else f"entries {number} to {entry.sequence - 1}"
            yield Fault(SEQUENCE, f"{missing} missing")
            number = entry.sequence
        for what, stream in (("posting", lines), ("part", parts)):
            yield from _strays(what, stream.before(entry.sequence))
        yield from _entry_faults(session, entry, lines.before(entry.sequence + 1), parts.before(entry.sequence + 1))
        if entry.previous != previous:
            yield Fault(CHAIN, f"entry {number}: does not follow the hash of the entry before it")
        if entry.recorded_at < recorded_at:
            yield Fault(SEQUENCE, f"entry {number}: recorded at {entry.recorded_at}, before the entry before it")
        previous, recorded_at = entry.hash, entry.recorded_at
        session.expunge(entry)
    for what, stream in (("posting", lines), ("part", parts)):
        yield from _strays(what, stream.before(None))


def _entry_faults(session: Session, entry: Entry, rows: Iterable[_Row], parts: Iterable[_Row]) -> Iterator[Fault]:
    number = entry.sequence
    lines: list[Line] = []
    numbered = True
    for place, row in enumerate(rows, start=1):
        numbered &= row[1] == place
        try:
            lines.append(read_line(*row))
        except StoredAmountError as error:
            yield Fault(CONTENT, f"entry {number}, posting {row[1]}: {error}")
    counted = _Numbered(parts)
    texts = (str(entry.kind), str(entry.subject), str(entry.payload))
    request = Request(*texts, entry.stated_at, entry.reason, entry.reference, entry.reverses)
    part_root = root_of(part_leaf(str(contributor), str(payload)) for _, _, contributor, payload in counted)
    if content_hash(request, part_root, root_of(map(posting_leaf, lines))) != entry.content:
        yield Fault(CONTENT, f"entry {number} ({entry.kind} {entry.subject}): changed since it was written")
    if not numbered or not counted.right:
        what = "parts" if numbered else "postings"
        yield Fault(SEQUENCE, f"entry {number}: its {what} are not numbered from 1 without a gap")
    stamps = (str(entry.recorded_at), str(entry.event_at), str(entry.key), str(entry.content), str(entry.previous))
    if entry_hash(number, *stamps) != entry.hash:
        yield Fault(CHAIN, f"entry {number} ({entry.kind} {entry.subject}): its hash is not that of what it holds")
    for commodity, (left, right) in imbalance(lines).items():
        yield Fault(BALANCE, f"entry {number}: debit {left}, credit {right} in {commodity}")
    yield from _reversal_faults(session, entry, lines)


def _reversal_faults(session: Session, entry: Entry, lines: list[Line]) -> Iterator[Fault]:
    if (entry.kind == REVERSAL) != (entry.reverses is not None):
        yield Fault(REVERSALS, f"entry {entry.sequence}: is a {entry.kind} entry, and reverses {entry.reverses}")
    elif entry.reverses is not None:
        try:
            original = stored_lines(session, entry.reverses)
        except StoredAmountError:
            return  # named where the reversed entry itself is checked
        if mirrored(original) != lines:
            yield Fault(REVERSALS, f"entry {entry.sequence}: is not the mirror image of entry {entry.reverses}")


def _strays(what: str, rows: Iterable[_Row]) -> Iterator[Fault]:
    for row in rows:
        yield Fault(SEQUENCE, f"{what} {row[1]} of entry {row[0]}: the entry is missing")


def _all_parts(session: Session) -> Iterator[_Row]:
    columns: Any = (Part.entry, Part.number, Part.contributor, Part.payload)
    query = sa.select(*columns).order_by(col(Part.entry), col(Part.number))
    yield from session.exec(query.execution_options(yield_per=1000))  # type: ignore[call-overload]


def head_faults(session: Session, expected: str | None) -> Iterator[Fault]:
    """Whether entries were cut off the end; `expected` is a hash that an outside checkpoint kept.

    The checkpoint may be older than the newest entry: it must then be the hash of an earlier one.
    """
    head = session.get(Head, 1)
    last = session.exec(select(Entry).order_by(col(Entry.sequence).desc())).first()
    count = session.exec(select(func.count()).select_from(Entry)).one()
    if head is None:
        yield Fault(HEAD, "the head's row is missing")
    elif head.count != count:
        yield Fault(HEAD, f"the head counts {head.count} entries, the journal holds {count}")
    elif last is not None and head.hash != last.hash:
        yield Fault(HEAD, f"the head holds another hash than entry {last.sequence}, the last")
    if expected is not None and session.exec(select(Entry).where(Entry.hash == expected)).first() is None:
        yield Fault(HEAD, f"no entry has the expected hash {expected}: the journal was rewritten or cut short")


class _Numbered:
    """Rows passed on as they come, and whether their second columns counted from one."""

    def __init__(self, rows: Iterable[_Row]) -> None:
        self._rows, self.right = rows, True

    def __iter__(self) -> Iterator[_Row]:
        for place, row in enumerate(self._rows, start=1):
            self.right &= row[1] == place
            yield row


class _Ahead:
    """Reads a stream of rows in step with the entries that their first columns name."""

    def __init__(self, rows: Iterator[_Row]) -> None:
        self._rows, self._next = rows, next(rows, None)

    def before(self, sequence: int | None) -> Iterator[_Row]:
        """The rows not yet read of entries ahead of this one, or all of them."""
        while self._next is not None and (sequence is None or self._next[0] < sequence):
            row, self._next = self._next, next(self._rows, None)
            yield row
