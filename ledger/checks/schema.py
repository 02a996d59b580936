"""That the database still guards its rows, and that its own structure is sound."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    Table,
    and_,
    exists,
    not_,
    select,
    text,
)
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
    """Triggers and constraints that are missing or foreign, and rows that break one."""
    connection = session.connection()
    for sentence in triggers.faults(connection):
        yield Fault(TRIGGERS, sentence)
    lite = connection.dialect.name == "sqlite"
    held = set(_rules_of_a_file(connection) if lite else _rules_of_a_server(connection))
    for table in Row.metadata.sorted_tables:
        rules: list[Any] = [*table.constraints, *table.indexes]
        names = sorted(str(rule.name) for rule in rules)
        yield from (Fault(INTEGRITY, f"{table.name} is not held to {name}") for name in names if name not in held)
    if not lite:
        for table in Row.metadata.sorted_tables:
            for reference in table.foreign_key_constraints:
                yield from _reference_faults(connection, table, reference)
        return
    for (found,) in connection.execute(text("PRAGMA integrity_check")):
        if found != "ok":
            yield Fault(INTEGRITY, str(found))
    for name, row, parent, _ in connection.execute(text("PRAGMA foreign_key_check")):
        where = f"row {row} of {name}" if row is not None else f"a row of {name}"
        yield Fault(INTEGRITY, f"{where} refers to a row of {parent} that does not exist")
    for table in Row.metadata.sorted_tables:
        for column in table.columns:
            yield from _type_faults(connection, table, column)


def _rules_of_a_file(connection: Connection) -> Iterator[str]:
    for name, sql in connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")):
        yield name  # of an index
        yield from re.findall(r'CONSTRAINT "?(\w+)', sql)


def _rules_of_a_server(connection: Connection) -> Iterator[str]:
    """The constraints that hold for every row, and the indexes that are whole."""
    query = text(
        "SELECT conname FROM pg_constraint WHERE convalidated AND connamespace = current_schema()::regnamespace "
        "UNION ALL SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE indisvalid AND relnamespace = current_schema()::regnamespace"
    )
    yield from connection.execute(query).scalars()


def _reference_faults(connection: Connection, table: Table, reference: ForeignKeyConstraint) -> Iterator[Fault]:
    """PostgreSQL checks a reference when it is made, and whoever administers the server can make it not to."""
    pairs = [(element.parent, element.column) for element in reference.elements]
    parent = reference.referred_table.alias()
    there = exists().where(*(parent.c[other.name] == own for own, other in pairs))
    lost = select(*table.primary_key).where(and_(*(own.is_not(None) for own, _ in pairs)), not_(there))
    key = ", ".join(column.name for column in table.primary_key)
    for row in connection.execute(lost):
        where = ", ".join(str(part) for part in row)
        yield Fault(
            INTEGRITY,
            f"{table.name} ({key}) = ({where}) refers to a row of {reference.referred_table.name} that does not exist",
        )


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
