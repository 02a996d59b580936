"""The journal as exports read it: up to one entry, in order, as streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from ledger import balances, journal
from ledger.balances import Moment, Total
from ledger.lines import Line
from ledger.models import Account, Commodity, Entry, Part, Posting
from ledger.money import format_units

_ROWS = 1000  # held in memory at a time
_POSTED: Any = (Posting.entry, Posting.account, Posting.commodity, Posting.side, Posting.amount)


@dataclass(frozen=True)
class DeclaredAccount:
    """An account's name, and the commodities in which it was opened, by code."""

    name: str
    commodities: list[str]


class Extract:
    """The journal up to its present last entry, `count`, whose hash is `head`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.count, self.head = journal.head(session)
        rows = session.exec(select(Commodity).where(Commodity.entry <= self.count).order_by(col(Commodity.code)))
        self.exponents = {row.code: row.exponent for row in rows}
        days = select(func.min(Entry.event_at), func.max(Entry.event_at)).where(Entry.sequence <= self.count)
        first, last = session.exec(days).one()
        self.first_day, self.last_day = day_of(first), day_of(last)

    def decimal(self, units: int, commodity: str) -> str:
        """Exact decimal text of smallest units, with all of the commodity's decimals."""
        return format_units(units, self.exponents[commodity])

    def accounts(self) -> Iterator[DeclaredAccount]:
        """All accounts, by name."""
        for name, rows in groupby(self.account_rows(), key=lambda row: row.name):
            yield DeclaredAccount(name, [row.commodity for row in rows])

    def account_rows(self) -> Iterator[Account]:
        """All accounts, one for each commodity, by name and commodity."""
        query = select(Account).where(Account.entry <= self.count).order_by(col(Account.name), col(Account.commodity))
        yield from self._stream(query)

    def entries(self) -> Iterator[tuple[Entry, Iterator[Line]]]:
        """All entries in their order, each with its postings in theirs."""
        query = select(*_POSTED).where(Posting.entry <= self.count).order_by(col(Posting.entry), col(Posting.line))
        postings = _ByEntry(self._stream(query))
        for entry in self._stream(select(Entry).where(Entry.sequence <= self.count).order_by(col(Entry.sequence))):
            yield entry, (Line(*row[1:]) for row in postings.of(entry.sequence))

    def parts(self) -> _ByEntry:
        """What entries say about single contributors: rows of (entry, contributor, payload)."""
        query: Any = select(Part.entry, Part.contributor, Part.payload).where(Part.entry <= self.count)
        return _ByEntry(self._stream(query.order_by(col(Part.entry), col(Part.number))))

    def totals(self) -> Iterator[Total]:
        """What every account holds that was ever touched."""
        return balances.totals(self._session, Moment(before=self.count + 1))

    def _stream(self, query: Any) -> Iterator[Any]:
        yield from self._session.exec(query.execution_options(yield_per=_ROWS))


class _ByEntry:
    """Rows that begin with an entry's number and come in its order, handed out entry by entry."""

    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def of(self, sequence: int) -> Iterator[Any]:
        """The rows of an entry; to be asked for in the entries' order."""
        while self._next is not None and self._next[0] <= sequence:
            row, self._next = self._next, next(self._rows, None)
            if row[0] == sequence:
                yield row


def day_of(instant: str) -> date:
    """The day, UTC, of an instant in stored form."""
    return date.fromisoformat(instant[:10])
