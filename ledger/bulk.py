"""Many rows at a time, as fast as each database takes and gives them, in memory that does not grow with them.

Plain SQL with positional parameters: where there are a hundred thousand rows, what is done for each of them counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from ledger.batches import batches
from ledger.canonical_json import dumps
from ledger.exact_integer import ExactInteger, encoder

ROWS = 2_000  # in memory at a time
FEW = 20  # rows that PostgreSQL takes one by one; a COPY is faster beyond

Values = tuple[Any, ...]


def add_rows(connection: Connection, model: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows into a model's table, all of which name the same columns."""
    rest = iter(rows)
    for first in rest:
        values = itemgetter(*first) if len(first) > 1 else lambda row: tuple(row.values())
        insert_rows(connection, model, map(values, chain([first], rest)), tuple(first))


def insert_rows(connection: Connection, model: Any, rows: Iterable[Values], names: tuple[str, ...] = ()) -> None:
    """The same of tuples, with a value for each of the columns, or for all of the table's in their order."""
    _, _, exact = _insertion(model.__table__, names, connection.dialect.name == "postgresql")

    def stored(row: Values) -> Values:
        values = list(row)
        for place, digits in exact:
            if values[place] is not None:
                values[place] = encoder(digits)(values[place])
        return tuple(values)

    insert_stored(connection, model, map(stored, rows) if exact else rows, names)


def insert_stored(connection: Connection, model: Any, rows: Iterable[Values], names: tuple[str, ...] = ()) -> None:
    """The same of values that are in the form in which the database stores them (`stored_as`)."""
    server = connection.dialect.name == "postgresql"
    statement, copying, _ = _insertion(model.__table__, names, server)
    for batch in batches(rows, ROWS):
        if server and len(batch) > FEW:
            _copy(connection, copying, batch)
        else:
            connection.exec_driver_sql(statement, batch if len(batch) > 1 else batch[0])


def stored_as(connection: Connection, digits: int) -> Callable[[int], Any]:
    """What turns an exact integer into its stored form."""
    return int if connection.dialect.name == "postgresql" else encoder(digits)


def asked_for(connection: Connection, names: Sequence[str]) -> tuple[str, Any]:
    """SQL that gives names as a table ``asked (name)``, and the one parameter that it takes."""
    if connection.dialect.name == "postgresql":
        return "unnest(%s::text[]) AS asked (name)", list(names)
    return "(SELECT value AS name FROM json_each(?)) AS asked", dumps(list(names)).decode()


def mark(connection: Connection) -> str:
    """How a parameter is marked."""
    return "%s" if connection.dialect.name == "postgresql" else "?"


@cache
def _insertion(table: Table, names: tuple[str, ...], server: bool) -> tuple[str, str, list[tuple[int, int]]]:
    """The statements that add a row and copy many; which values must be encoded first, and in how many digits."""
    columns = [table.c[name] for name in names] if names else list(table.columns)
    named = ", ".join(column.name for column in columns)
    marks = ", ".join(["%s" if server else "?"] * len(columns))
    insert = f"INSERT INTO {table.name} ({named}) VALUES ({marks})"
    exact = [(place, one.type.digits) for place, one in enumerate(columns) if isinstance(one.type, ExactInteger)]
    return insert, f"COPY {table.name} ({named}) FROM STDIN", [] if server else exact


def _copy(connection: Connection, statement: str, rows: Iterable[Values]) -> None:
    driver: Any = connection.dialect.loaded_dbapi
    try:
        cursor: Any = connection.connection.cursor()
        with cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except driver.Error as error:  # as every other statement's errors come
        raise DBAPIError.instance(statement, None, error, driver.Error, dialect=connection.dialect) from error
