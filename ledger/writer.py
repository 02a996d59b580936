"""Entries appended one after the other in one transaction. Only the journal calls this, with what it has checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from ledger import accounts
from ledger.accounts import Key, Position
from ledger.batches import batches
from ledger.bulk import Values, insert_rows, mark
from ledger.canonical import GENESIS, Request, entry_hash
from ledger.errors import AccountLimitError, AccountShutError, FutureEventError
from ledger.instants import format_instant
from ledger.lines import Line
from ledger.models import Entry, Head, Part, Posting
from ledger.requests import Ready

_KEPT = 10_000  # accounts whose balances are remembered from one entry to the next
_COLUMNS = tuple(Entry.model_fields)


class Writer:
    """Who may append: the head is locked from now until the session's transaction ends, so that others queue up."""

    def __init__(self, session: Session) -> None:
        session.flush()  # what was said before comes before
        self._session, self._connection = session, session.connection()
        self._mark = mark(self._connection)
        self._server = self._connection.dialect.name == "postgresql"
        # `Ledger.writing` has locked it already, before anything was read.
        head = self._one(f"SELECT count, hash FROM head{' FOR UPDATE' if self._server else ''}")
        self._count: int = head[0] if head else 0
        self._hash: str = head[1] if head else GENESIS
        last = self._one(f"SELECT recorded_at FROM entries WHERE sequence = {self._mark}", self._count)
        self._recorded_at = last[0] if last else ""
        self._positions: dict[Key, Position] = {}

    def append(self, asked: Ready) -> dict[str, Any] | None:
        """Store an entry and all that it says; returns its columns, or None where its key is taken.

        Raises `FutureEventError`, `AccountShutError`, `AccountLimitError`, and what `accounts.open_missing` does.
        """
        entry = self._next(asked.request, asked.key, asked.content)
        if not self._claim(entry):
            return None
        sequence = entry["sequence"]
        numbered = enumerate(asked.parts, start=1)
        insert_rows(self._connection, Part, ((sequence, number, *part) for number, part in numbered))
        for batch in batches(enumerate(asked.lines, start=1), accounts.BATCH):
            insert_rows(self._connection, Posting, self._postings(sequence, batch))
        self._move(sequence, entry["hash"])
        self._recorded_at = entry["recorded_at"]
        return entry

    def _next(self, request: Request, key: str, content: str) -> dict[str, Any]:
        """The columns of the entry that comes after the last one."""
        # Entries are recorded in order, also where the clock went back.
        recorded_at = max(format_instant(self._session.info["clock"]()), self._recorded_at)
        event_at = self._event_at(request, recorded_at)
        sequence, previous = self._count + 1, self._hash
        return {
            **request.__dict__,
            "sequence": sequence,
            "recorded_at": recorded_at,
            "event_at": event_at,
            "key": key,
            "content": content,
            "previous": previous,
            "hash": entry_hash(sequence, recorded_at, event_at, key, content, previous),
        }

    def _event_at(self, request: Request, recorded_at: str) -> str:
        stated_at = request.stated_at
        if stated_at is None:
            return recorded_at
        if stated_at > recorded_at:
            raise FutureEventError(request.kind, stated_at, recorded_at)
        closed = self._one("SELECT max(through) FROM periods")
        return recorded_at if closed and closed[0] is not None and stated_at <= closed[0] else stated_at

    def _claim(self, entry: dict[str, Any]) -> bool:
        """Insert the entry, unless its key is taken."""
        names, marks = ", ".join(_COLUMNS), ", ".join([self._mark] * len(_COLUMNS))
        statement = f"INSERT INTO entries ({names}) VALUES ({marks})"
        values = tuple(entry[name] for name in _COLUMNS)
        if self._server:
            statement += " ON CONFLICT (key) DO NOTHING"
            return self._connection.exec_driver_sql(statement, values).rowcount == 1
        try:
            self._connection.exec_driver_sql(statement, values)
        except IntegrityError:
            # SQLite undoes the one statement and the transaction goes on; it may have been another rule than the key's.
            if self._one(f"SELECT 1 FROM entries WHERE key = {self._mark}", entry["key"]) is None:
                raise
            return False
        return True

    def _postings(self, sequence: int, numbered: Sequence[tuple[int, Line]]) -> Iterator[Values]:
        known = self._positions
        if len(known) > _KEPT:
            known.clear()
        keys = dict.fromkeys((line.account, line.commodity) for _, line in numbered)
        if unknown := [key for key in keys if key not in known]:
            known |= accounts.positions(self._session, unknown)
        if missing := [key for key in unknown if key not in known]:
            known |= accounts.open_missing(self._session, missing, sequence)
        for number, line in numbered:
            key = (line.account, line.commodity)
            position = known[key]
            if position.state != "open":
                raise AccountShutError(*key, position.state)
            moved = line.amount if line.side == position.normal_side else -line.amount
            balance = (position.balance or 0) + moved
            if position.floor is not None and balance < position.floor:
                raise AccountLimitError(*key, balance, position.floor)
            known[key] = position.moved_to(balance)
            yield sequence, number, *key, line.side, line.amount, balance

    def _move(self, count: int, hash: str) -> None:
        if count == 1:
            insert_rows(self._connection, Head, [(1, count, hash)])
        else:
            update = f"UPDATE head SET count = {self._mark}, hash = {self._mark}"
            self._connection.exec_driver_sql(update, (count, hash))
        self._count, self._hash = count, hash

    def _one(self, query: str, *parameters: Any) -> Any:
        return self._connection.exec_driver_sql(query, parameters).first()
