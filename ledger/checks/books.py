"""The journal: its sequence, hashes, balances and reversals, in one pass over entries, parts and postings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, func, select

from ledger.canonical import GENESIS, Request, content_hash, entry_hash, part_leaf, posting_leaf, root_of
from ledger.checks.fault import Fault, all_lines, line_rows, read_line
from ledger.checks.streams import InStep, stream
from ledger.errors import StoredAmountError
from ledger.journal import REVERSAL
from ledger.lines import Line
from ledger.models import Entry, Head, Part, Period
from ledger.money import LARGEST_AMOUNT

SEQUENCE, CONTENT, CHAIN, BALANCE = "entry sequence", "entry content", "hash chain", "entry balances"
REVERSALS, TIMES, HEAD = "reversals", "times of entries", "head"
JOURNAL_CLAIMS = {
    SEQUENCE: "entries are counted from 1 without a gap, and every posting and part has one",
    CONTENT: "every entry's payload, parts and postings have the hash that it states",
    CHAIN: "every entry's hash is right and covers the hash of the entry before",
    BALANCE: "in every entry, debits equal credits in each commodity, and no amount is beyond 2**256 - 1",
    REVERSALS: "every reversal says why, and mirrors the entry that it reverses, which is no reversal",
    TIMES: "entries are recorded in order, and happened when they say, or when they were recorded if that was closed",
}
HEAD_CLAIMS = {HEAD: "the head counts every entry and holds the last one's hash"}

_Row = Any


def journal_faults(session: Session) -> Iterator[Fault]:
    """What does not hold in the journal."""
    previous, number, recorded_at, closed = GENESIS, 0, "", ""
    lines, parts = InStep(all_lines(session)), InStep(_all_parts(session))
    for entry in stream(session, select(Entry).order_by(col(Entry.sequence))):
        number += 1
        if entry.sequence != number:
            missing = f"entry {number}" if entry.sequence == number + 1 else f"entries {number} to {entry.sequence - 1}"
            yield Fault(SEQUENCE, f"{missing} missing")
            number = entry.sequence
        for what, rows in (("posting", lines), ("part", parts)):
            yield from _strays(what, rows.before(entry.sequence))
        yield from _entry_faults(session, entry, lines.of(entry.sequence), parts.of(entry.sequence))
        if entry.previous != previous:
            yield Fault(CHAIN, f"entry {number}: does not follow the hash of the entry before it")
        if entry.recorded_at < recorded_at:
            yield Fault(TIMES, f"entry {number}: recorded at {entry.recorded_at}, before the entry before it")
        yield from _time_faults(entry, closed)
        if entry.kind == Period.entry_kind:
            closed = max(closed, entry.subject)
        previous, recorded_at = entry.hash, entry.recorded_at
        session.expunge(entry)
    for what, rows in (("posting", lines), ("part", parts)):
        yield from _strays(what, rows.before(None))


def _entry_faults(session: Session, entry: Entry, rows: Iterable[_Row], parts: Iterable[_Row]) -> Iterator[Fault]:
    number, name = entry.sequence, f"entry {entry.sequence} ({entry.kind} {entry.subject})"
    lines, counted = _Lines(session, entry, rows), _Numbered(parts)
    part_root = root_of(part_leaf(str(contributor), str(payload)) for _, _, contributor, payload in counted)
    line_root = root_of(map(posting_leaf, lines))
    details = (entry.stated_at, entry.reason, entry.reference, entry.reverses)
    try:
        request = Request(entry.kind, entry.subject, entry.payload, *details)
        if content_hash(request, part_root, line_root) != entry.content:
            yield Fault(CONTENT, f"{name}: changed since it was written")
        stamps = (entry.recorded_at, entry.event_at, entry.key, entry.content, entry.previous)
        if entry_hash(number, *stamps) != entry.hash:
            yield Fault(CHAIN, f"{name}: its hash is not that of what it holds")
    except (ValueError, TypeError, AttributeError) as error:  # a number beyond what canonical JSON holds
        yield Fault(CONTENT, f"{name}: cannot be hashed: {error}")
    yield from lines.faults
    if not lines.numbered or not counted.right:
        what = "parts" if lines.numbered else "postings"
        yield Fault(SEQUENCE, f"entry {number}: its {what} are not numbered from 1 without a gap")
    for commodity, difference in sorted(lines.difference.items()):
        if difference:
            yield Fault(BALANCE, f"entry {number}: its debits are {difference} {commodity} more than its credits")
    yield from _reversal_faults(session, entry, lines)


def _reversal_faults(session: Session, entry: Entry, lines: _Lines) -> Iterator[Fault]:
    number = entry.sequence
    if (entry.kind == REVERSAL) != (entry.reverses is not None):
        yield Fault(REVERSALS, f"entry {number}: is a {entry.kind} entry, and reverses {entry.reverses}")
    elif entry.reverses is not None:
        if not lines.mirrors:
            yield Fault(REVERSALS, f"entry {number}: is not the mirror image of entry {entry.reverses}")
        kind = session.exec(select(Entry.kind).where(Entry.sequence == entry.reverses)).first()
        if kind in (None, REVERSAL) or entry.reverses >= number:
            yield Fault(REVERSALS, f"entry {number}: reverses entry {entry.reverses}, of which there is no reversal")
        if not (entry.reason or "").strip():
            yield Fault(REVERSALS, f"entry {number}: reverses entry {entry.reverses} without a reason")


def _time_faults(entry: Entry, closed: str) -> Iterator[Fault]:
    stated, name = entry.stated_at, f"entry {entry.sequence}"
    if stated is not None and stated > entry.recorded_at:
        yield Fault(TIMES, f"{name}: says that it happened at {stated}, and was recorded at {entry.recorded_at}")
    right = entry.recorded_at if stated is None or stated <= closed else stated
    if entry.event_at != right:
        yield Fault(TIMES, f"{name}: is booked at {entry.event_at}, not at {right}")


def _strays(what: str, rows: Iterable[_Row]) -> Iterator[Fault]:
    for row in rows:
        yield Fault(SEQUENCE, f"{what} {row[1]} of entry {row[0]}: the entry is missing")


def _all_parts(session: Session) -> Iterator[_Row]:
    columns: Any = (Part.entry, Part.number, Part.contributor, Part.payload)
    yield from stream(session, sa.select(*columns).order_by(col(Part.entry), col(Part.number)))


def head_faults(session: Session, expected: str | None) -> Iterator[Fault]:
    """Whether entries were cut off the end; `expected` is a hash that an outside checkpoint kept.

    The checkpoint may be older than the newest entry: it must then be the hash of an earlier one.
    """
    heads = session.exec(select(Head.id, Head.count, Head.hash).order_by(col(Head.id))).all()
    last = session.exec(select(Entry.sequence, Entry.hash).order_by(col(Entry.sequence).desc()).limit(1)).first()
    count = session.exec(select(func.count()).select_from(Entry)).one()
    if [id for id, _, _ in heads] != [1]:
        yield Fault(HEAD, "the head's row is missing" if not heads else "the head is not one row, with the id 1")
    for _, counted, hash in heads:
        if counted != count:
            yield Fault(HEAD, f"the head counts {counted} entries, the journal holds {count}")
        elif last is not None and hash != last[1]:
            yield Fault(HEAD, f"the head holds another hash than entry {last[0]}, the last")
    if expected is not None and session.exec(select(Entry).where(Entry.hash == expected)).first() is None:
        yield Fault(HEAD, f"no entry has the expected hash {expected}: the journal was rewritten or cut short")


class _Lines:
    """An entry's lines as they are read, and what came to light: each is looked at once and not kept."""

    def __init__(self, session: Session, entry: Entry, rows: Iterable[_Row]) -> None:
        self._rows = rows
        self._reversed = None if entry.reverses is None else line_rows(session, entry.reverses)
        self.faults: list[Fault] = []
        self.difference: dict[str, int] = defaultdict(int)  # debits less credits
        self.numbered = self.mirrors = True

    def __iter__(self) -> Iterator[Line]:
        originals: Iterable[_Row] = self._reversed or ()
        for place, (row, original) in enumerate(zip_longest(self._rows, originals), start=1):
            if row is None or (self._reversed is not None and original is None):
                self.mirrors = False
            if row is None:
                continue
            self.numbered &= row[1] == place
            line = self._read(row)
            if line is not None:
                self.difference[line.commodity] += line.signed
                if original is not None:
                    self.mirrors &= _mirrors(line, original)
                yield line

    def _read(self, row: _Row) -> Line | None:
        try:
            line = read_line(*row)
        except StoredAmountError as error:
            self.faults.append(Fault(CONTENT, f"entry {row[0]}, posting {row[1]}: {error}"))
            return None
        if not 0 < line.amount <= LARGEST_AMOUNT:
            self.faults.append(Fault(BALANCE, f"entry {row[0]}, posting {row[1]}: {line.amount} is no amount"))
        return line


def _mirrors(line: Line, original: _Row) -> bool:
    try:
        other = read_line(*original)
    except StoredAmountError:
        return True  # named where the reversed entry itself is checked
    return (line.account, line.commodity, line.signed) == (other.account, other.commodity, -other.signed)


class _Numbered:
    """Rows passed on as they come, and whether their second columns counted from one."""

    def __init__(self, rows: Iterable[_Row]) -> None:
        self._rows, self.right = rows, True

    def __iter__(self) -> Iterator[_Row]:
        for place, row in enumerate(self._rows, start=1):
            self.right &= row[1] == place
            yield row
