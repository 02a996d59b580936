"""Entries appended one after the other in one transaction. Only the journal calls this, with what it has checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from ledger import accounts
from ledger.accounts import Key, Position
from ledger.batches import batches
from ledger.bulk import Values, asked_for, insert_rows, insert_stored, mark, stored_as
from ledger.canonical import GENESIS, Request, entry_hash
from ledger.errors import AccountLimitError, AccountShutError, FutureEventError
from ledger.exact_integer import BALANCE_DIGITS, DIGITS
from ledger.instants import format_instant
from ledger.lines import Line
from ledger.models import Account, Entry, Head, Part, Posting
from ledger.requests import Ready
from ledger.spool import Spool

_KEPT = 10_000  # accounts whose balances are remembered from one entry to the next


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
        # Accounts that were touched, and what they hold: together they would be made anew for every posting.
        self._positions: dict[Key, Position] = {}
        self._balances: dict[Key, int] = {}
        self._taken: dict[str, bool] = {}  # by keys that were asked about

    def foresee(self, asked: Sequence[Ready]) -> None:
        """Look up together what appending these will need; it is looked up for each of them otherwise."""
        lookup, keys = asked_for(self._connection, [one.key for one in asked])
        found = self._connection.exec_driver_sql(f"SELECT key FROM {lookup} JOIN entries ON key = asked.name", (keys,))
        self._taken = dict.fromkeys((one.key for one in asked), False) | dict.fromkeys(found.scalars(), True)
        touched = dict.fromkeys((line.account, line.commodity) for one in asked for line in one.lines)
        self._remember(accounts.positions(self._session, [key for key in touched if key not in self._positions]))

    def append(self, asked: Ready) -> dict[str, Any] | None:
        """Store an entry and all that it says; returns its columns, or None where its key is taken.

        All of it is worked out first, so that a refusal leaves nothing behind. Raises `FutureEventError`,
        `AccountShutError`, `AccountLimitError`, and what `accounts.opened` does. Where the database itself refuses
        something the whole transaction is undone, since a part of an entry may not stay: savepoints, which could undo
        the entry alone, double what writing costs on SQLite.
        """
        if self._is_taken(asked.key):
            return None
        entry = self._next(asked)
        sequence = entry["sequence"]
        new: Spool[Values] = Spool()  # accounts
        postings = Spool(self._postings(sequence, asked.lines, new))
        try:
            insert_stored(self._connection, Entry, [tuple(entry.values())], tuple(entry))
            if new:
                insert_rows(self._connection, Account, new)
            if asked.parts:
                parts = ((sequence, number, *part) for number, part in enumerate(asked.parts, start=1))
                insert_rows(self._connection, Part, parts)
            insert_stored(self._connection, Posting, postings)
            self._move(sequence, entry["hash"])
        except DBAPIError:
            self._session.rollback()
            raise
        self._recorded_at = entry["recorded_at"]
        self._taken[asked.key] = True
        return entry

    def _is_taken(self, key: str) -> bool:
        taken = self._taken.get(key)
        if taken is None:
            return self._one(f"SELECT 1 FROM entries WHERE key = {self._mark}", key) is not None
        return taken

    def _next(self, asked: Ready) -> dict[str, Any]:
        """The columns of the entry that comes after the last one."""
        request, key, content = asked.request, asked.key, asked.content
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

    def _postings(self, sequence: int, lines: Iterable[Line], new: Spool[Values]) -> Iterator[Values]:
        """The rows of an entry's lines, in stored form; those of accounts that it opens are added to `new`."""
        positions, balances = self._positions, self._balances
        amount_of, balance_of = stored_as(self._connection, DIGITS), stored_as(self._connection, BALANCE_DIGITS)
        for batch in batches(enumerate(lines, start=1), accounts.BATCH):
            self._look_up([(line.account, line.commodity) for _, line in batch], sequence, new)
            for number, line in batch:
                key = account, commodity = line.account, line.commodity
                _, normal_side, floor, _, state = positions[key]
                if state != "open":
                    raise AccountShutError(account, commodity, state)
                amount, side = line.amount, line.side
                balance = balances[key] + (amount if side == normal_side else -amount)
                if floor is not None and balance < floor:
                    raise AccountLimitError(account, commodity, balance, floor)
                balances[key] = balance
                yield sequence, number, account, commodity, side, amount_of(amount), balance_of(balance)

    def _look_up(self, keys: Sequence[Key], entry: int, new: Spool[Values]) -> None:
        """Know these accounts, those too that this entry opens."""
        known = self._positions
        if len(known) > _KEPT:
            known.clear()
            self._balances.clear()
        if unknown := [key for key in keys if key not in known]:
            found = accounts.positions(self._session, unknown)
            if missing := [key for key in unknown if key not in found]:
                rows, opened = accounts.opened(self._session, list(dict.fromkeys(missing)), entry)
                new.extend(rows)
                found |= opened
            self._remember(found)

    def _remember(self, found: dict[Key, Position]) -> None:
        self._positions |= found
        self._balances |= {key: position.balance or 0 for key, position in found.items()}

    def _move(self, count: int, hash: str) -> None:
        if count == 1:
            insert_rows(self._connection, Head, [(1, count, hash)])
        else:
            update = f"UPDATE head SET count = {self._mark}, hash = {self._mark}"
            self._connection.exec_driver_sql(update, (count, hash))
        self._count, self._hash = count, hash

    def _one(self, query: str, *parameters: Any) -> Any:
        return self._connection.exec_driver_sql(query, parameters).first()
