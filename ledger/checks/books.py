"""The journal: its sequence, hashes, balances and reversals, in one pass over entries and postings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlmodel import Session, col, func, select

from ledger.checks.fault import Fault, all_lines, read_line, stored_lines
from ledger.errors import StoredAmountError
from ledger.journal import GENESIS, REVERSAL, Line, content_hash, entry_hash, imbalance
from ledger.models import Account, Entry, Head

SEQUENCE, CONTENT, CHAIN, BALANCE = "entry sequence", "entry content", "hash chain", "entry balances"
REVERSALS, ACCOUNTS, HEAD = "reversals", "accounts", "head"
JOURNAL_CLAIMS = {
    SEQUENCE: "entries are counted from 1 without a gap, and every posting has its entry",
    CONTENT: "every entry's payload and postings have the hash that it states",
    CHAIN: "every entry's hash is right and covers the hash of the entry before",
    BALANCE: "in every entry, debits equal credits in each commodity",
    REVERSALS: "every reversal mirrors the entry that it reverses",
    ACCOUNTS: "every account is named by its kind and owner",
}
HEAD_CLAIMS = {HEAD: "the head counts every entry and holds the last one's hash"}

_Row = tuple[int, int, str, str, str, Any]


def journal_faults(session: Session) -> Iterator[Fault]:
    """What does not hold in the journal."""
    previous, number = GENESIS, 0
    lines = _Ahead(all_lines(session))
    for entry in session.exec(select(Entry).order_by(col(Entry.sequence)).execution_options(yield_per=1000)):
        number += 1
        if entry.sequence != number:
            missing = f"entry {number}" if entry.sequence == number + 1 else f"entries {number} to {entry.sequence - 1}"
            yield Fault(SEQUENCE, f"{missing} missing")
            number = entry.sequence
        yield from _strays(lines.before(entry.sequence))
        yield from _entry_faults(session, entry, lines.before(entry.sequence + 1))
        if entry.previous != previous:
            yield Fault(CHAIN, f"entry {number}: does not follow the hash of the entry before it")
        previous = entry.hash
        session.expunge(entry)
    yield from _strays(lines.rest())
    for account in session.exec(select(Account)):
        owner = f":{account.contributor}" if account.contributor else ""
        if account.name != f"{account.kind}{owner}":
            yield Fault(ACCOUNTS, f"account {account.name!r}: kind {account.kind!r}, owner {account.contributor!r}")


def _entry_faults(session: Session, entry: Entry, rows: list[_Row]) -> Iterator[Fault]:
    number = entry.sequence
    lines: list[Line] = []
    for row in rows:
        try:
            lines.append(read_line(*row))
        except StoredAmountError as error:
            yield Fault(CONTENT, f"entry {number}, posting {row[1]}: {error}")
    if [row[1] for row in rows] != list(range(1, len(rows) + 1)):
        yield Fault(SEQUENCE, f"entry {number}: its postings are not numbered from 1 without a gap")
    texts = (str(entry.kind), str(entry.subject), str(entry.payload))
    if content_hash(*texts, lines, entry.reverses) != entry.content:
        yield Fault(CONTENT, f"entry {number} ({entry.kind} {entry.subject}): changed since it was written")
    if (
        entry_hash(number, str(entry.recorded_at), str(entry.key), str(entry.content), str(entry.previous))
        != entry.hash
    ):
        yield Fault(CHAIN, f"entry {number} ({entry.kind} {entry.subject}): its hash is not that of what it holds")
    for commodity, (left, right) in imbalance(lines).items():
        yield Fault(BALANCE, f"entry {number}: debit {left}, credit {right} in {commodity}")
    if (entry.kind == REVERSAL) != (entry.reverses is not None):
        yield Fault(REVERSALS, f"entry {number}: is a {entry.kind} entry, and reverses {entry.reverses}")
    elif entry.reverses is not None:
        try:
            original = stored_lines(session, entry.reverses)
        except StoredAmountError:
            return  # named where the reversed entry itself is checked
        sides = {"debit": "credit", "credit": "debit"}
        mirrored = [(line.account, line.commodity, sides.get(line.side), line.amount) for line in original]
        if mirrored != [(line.account, line.commodity, line.side, line.amount) for line in lines]:
            yield Fault(REVERSALS, f"entry {number}: is not the mirror image of entry {entry.reverses}")


def _strays(rows: list[_Row]) -> Iterator[Fault]:
    for row in rows:
        yield Fault(SEQUENCE, f"posting {row[1]} of entry {row[0]}: the entry is missing")


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


class _Ahead:
    """Reads a stream of postings in step with the entries."""

    def __init__(self, rows: Iterator[_Row]) -> None:
        self._rows, self._next = rows, next(rows, None)

    def before(self, sequence: int) -> list[_Row]:
        """The postings not yet read of entries ahead of this one."""
        taken = []
        while self._next is not None and self._next[0] < sequence:
            taken.append(self._next)
            self._next = next(self._rows, None)
        return taken

    def rest(self) -> list[_Row]:
        """All postings not yet read."""
        taken = [] if self._next is None else [self._next, *self._rows]
        self._next = None
        return taken
