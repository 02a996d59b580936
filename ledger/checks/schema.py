"""That the database still guards its rows, and that its own structure is sound."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import text
from sqlmodel import Session

from ledger import triggers
from ledger.checks.fault import Fault

TRIGGERS, INTEGRITY = "append-only triggers", "database integrity"
SCHEMA_CLAIMS = {
    TRIGGERS: "the database refuses to change, delete or replace a row of any table",
    INTEGRITY: "the database finds its own structure, constraints and references sound",
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
