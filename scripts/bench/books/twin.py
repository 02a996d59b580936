"""Raw SQL: what a ledger has written, replayed by plain statements into a copy of it, same schema and all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from ledger.audit import audit
from ledger.database import Ledger
from ledger.models import Account, Entry, Part, Posting, Row

# What the bench's entries add, in an order that satisfies every reference.
TABLES: tuple[type[Row], ...] = (Entry, Account, Part, Posting)

_FEW = 10  # rows that are inserted one by one on PostgreSQL; COPY is faster beyond

Values = tuple[Any, ...]


class Twin:
    """A copy of a ledger that raw SQL writes from then on: it follows `books` row for row."""

    def __init__(self, books: Ledger, twin: Ledger) -> None:
        self._server = books.engine.dialect.name == "postgresql"
        self._mark = "%s" if self._server else "?"
        self._twin = twin
        self._source = books.engine.raw_connection()
        self._raw = twin.engine.raw_connection()
        if not self._server:
            self._raw.cursor().execute("PRAGMA foreign_keys = ON")
            self._raw.cursor().execute("PRAGMA query_only = OFF")
        self._seen = self._last()

    def follow(self, *, one_by_one: bool) -> float:
        """Write what the ledger has written since, a transaction an entry or in one; the seconds it took.

        Entry by entry in any case: the triggers open an entry only when the one before is whole.
        """
        since, self._seen = self._seen, self._last()
        found = {table: self._rows(table, since) for table in TABLES}
        entries = [
            {table: [row for row in rows if row[_place(table)] == entry] for table, rows in found.items()}
            if self._seen - since > 1
            else found
            for entry in range(since + 1, self._seen + 1)
        ]
        began = time.perf_counter()
        cursor: Any = self._raw.cursor()
        for number, rows in enumerate(entries):
            if not self._server and (one_by_one or not number):
                cursor.execute("BEGIN IMMEDIATE")
            self._write(cursor, rows)
            if one_by_one:
                self._raw.commit()
        self._raw.commit()
        return time.perf_counter() - began

    def check(self) -> None:
        """Audit the twin: that it passes says that its rows are the ledger's own."""
        with self._twin.reading() as session:
            result = audit(session)
        assert result.ok, [check for check in result.checks if not check.ok]
        assert result.entries == self._seen
        self._source.close()
        self._raw.close()

    def _write(self, cursor: Any, rows: dict[type[Row], list[Values]]) -> None:
        for table, values in rows.items():
            if len(values) > _FEW and self._server:
                with cursor.copy(f"COPY {table.__tablename__} ({_columns(table)}) FROM STDIN") as copy:
                    for value in values:
                        copy.write_row(value)
            elif values:
                marks = ", ".join([self._mark] * len(values[0]))
                insert = f"INSERT INTO {table.__tablename__} ({_columns(table)}) VALUES ({marks})"
                cursor.executemany(insert, values)
        ((entry, hash),) = [(row[_place(Entry)], row[_names(Entry).index("hash")]) for row in rows[Entry]]
        cursor.execute(f"UPDATE head SET count = {self._mark}, hash = {self._mark}", (entry, hash))

    def _rows(self, table: type[Row], since: int) -> list[Values]:
        entry = _names(table)[_place(table)]
        query = f"SELECT {_columns(table)} FROM {table.__tablename__} WHERE {entry} > {since} ORDER BY {entry}"
        return [tuple(row) for row in self._read(query)]

    def _last(self) -> int:
        ((count,),) = self._read("SELECT count FROM head")
        return int(count)

    def _read(self, query: str) -> Iterable[Sequence[Any]]:
        cursor = self._source.cursor()
        cursor.execute(query)
        rows = cursor.fetchall()
        if self._server:
            self._source.commit()  # so that it keeps no old view
        return list(rows)


def _names(table: type[Row]) -> list[str]:
    return [column.name for column in table.__table__.columns]  # type: ignore[attr-defined]


def _columns(table: type[Row]) -> str:
    return ", ".join(_names(table))


def _place(table: type[Row]) -> int:
    """Which column names the entry that made a row."""
    return _names(table).index("sequence" if table is Entry else "entry")
