"""Many rows at a time, in the way that each database takes them best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Table, insert, text

from ledger.batches import batches

_ROWS = 10_000  # of one statement


def add_rows(connection: Connection, model: Any, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows into a model's table, all of which name the same columns."""
    table: Table = model.__table__
    for batch in batches(rows, _ROWS):
        if connection.dialect.name == "postgresql":
            columns = [table.c[name] for name in batch[0]]
            arrays = {column.name: _array(connection, column, batch) for column in columns}
            connection.execute(_from_arrays(connection, table, columns), arrays)
        else:
            connection.execute(insert(table), batch)


def _from_arrays(connection: Connection, table: Table, columns: Sequence[Column[Any]]) -> Any:
    """An insert whose parameters are whole columns: four times as quick as one with a parameter for each value."""
    arrays = []
    for column in columns:
        type = column.type.compile(connection.dialect).partition(" COLLATE")[0]
        arrays.append(f"CAST(:{column.name} AS {type}[])")
    names = ", ".join(column.name for column in columns)
    return text(f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({', '.join(arrays)})")


def _array(connection: Connection, column: Column[Any], rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    stored = column.type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
    values = [row[column.name] for row in rows]
    return values if stored is None else [stored(value) for value in values]
