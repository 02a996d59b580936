"""The triggers by which the database itself keeps the books: rows are added, in their order, and nothing else.

In every table UPDATE, DELETE, TRUNCATE and INSERT OR REPLACE are refused; but the head moves forward, and personal
data may be erased. An entry is only appended to the head, parts and postings only while the head has not moved on to
their entry, and it moves on only to an entry that balances. No posting takes an account below its floor, or touches
one that is frozen or closed. PostgreSQL looks again when a transaction is stored, and at accounts' balances too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType

from sqlalchemy import Connection, Table, inspect, text

from ledger.models import Row
from ledger.triggers import postgresql, sqlite


def install(connection: Connection) -> None:
    """Make every trigger of every table that exists."""
    for statement in _database(connection).statements(connection, _present(connection)):
        connection.execute(text(statement))


def remove(connection: Connection) -> None:
    """Drop the ledger's own triggers, so that a migration may change rows, and rebuild tables that triggers name."""
    for statement in _database(connection).drops(connection, _present(connection)):
        connection.execute(text(statement))


def faults(connection: Connection) -> list[str]:
    """What is wrong with what guards the tables, a sentence each; an empty list where all is in place."""
    module = _database(connection)
    tables = Row.metadata.sorted_tables
    return list(_differences(module.wanted(connection, tables), module.found(connection, tables)))


def _differences(wanted: Mapping[str, object], found: Mapping[str, object]) -> Iterator[str]:
    for name, state in wanted.items():
        if name not in found:
            yield f"{name} is missing"
        elif found[name] != state:
            yield f"{name} is not the ledger's own"
    for name in found:
        if name not in wanted:
            yield f"{name} does not belong to the ledger"


def _present(connection: Connection) -> list[Table]:
    names = set(inspect(connection).get_table_names())
    return [table for table in Row.metadata.sorted_tables if table.name in names]


def _database(connection: Connection) -> ModuleType:
    return postgresql if connection.dialect.name == "postgresql" else sqlite
