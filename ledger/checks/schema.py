"""That the database still guards its rows, and that its own structure is sound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Boolean, Column, Connection, Integer, LargeBinary, Table, text
from sqlmodel import Session

from ledger import triggers
from ledger.checks.fault import Fault
from ledger.models import Row

TRIGGERS, INTEGRITY, TYPES = "append-only triggers", "database integrity", "stored types"
SCHEMA_CLAIMS = {
    TRIGGERS: "the database refuses to change, delete or replace a row of any table",
    INTEGRITY: "the database finds its own structure, constraints and references sound",
    TYPES: "every column holds values of its own type only",
}


def schema_faults(session: Session) -> Iterator[Fault]:
    """Missing or foreign triggers; on SQLite also what its own checks find."""
    connection = session.connection()
    for sentence in triggers.faults(connection):
        yield Fault(TRIGGERS, sentence)
    if connection.dialect.name == "sqlite":
        for (found,) in connection.execute(text("PRAGMA integrity_check")):
            if found != "ok":
                yield Fault(INTEGRITY, str(found))
        for table, row, parent, _ in connection.execute(text("PRAGMA foreign_key_check")):
            where = f"row {row} of {table}" if row is not None else f"a row of {table}"
            yield Fault(INTEGRITY, f"{where} refers to a row of {parent} that does not exist")
        for table in Row.metadata.sorted_tables:
            for column in table.columns:
                yield from _type_faults(connection, table, column)


def _type_faults(connection: Connection, table: Table, column: Column[Any]) -> Iterator[Fault]:
    """SQLite stores anything anywhere; what has another type than its column would mislead every other check."""
    kind = column.type
    wanted = "integer" if isinstance(kind, Integer | Boolean) else "blob" if isinstance(kind, LargeBinary) else "text"
    or_null = ", 'null'" if column.nullable else ""
    wrong = f"typeof({column.name}) NOT IN ('{wanted}'{or_null})"
    if isinstance(kind, Boolean):
        wrong += f" OR {column.name} NOT IN (0, 1)"
    key = ", ".join(part.name for part in table.primary_key)
    for found, *row in connection.execute(text(f"SELECT typeof({column.name}), {key} FROM {table.name} WHERE {wrong}")):
        where = ", ".join(str(part) for part in row)
        yield Fault(TYPES, f"{table.name} ({key}) = ({where}): {column.name} holds {found}, not {kind}")
