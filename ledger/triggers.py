"""The triggers by which the database itself refuses to change or delete a row; personal data alone may be deleted.

SQLite's INSERT OR REPLACE deletes without asking a DELETE trigger unless `recursive_triggers` is on, so an INSERT
whose key is taken is refused before it can replace anything, whatever that setting says.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, Table, UniqueConstraint, inspect, text

from ledger.models import Row

_HEAD = "head"
_ALLOWED = "personal_data_refuse_delete"  # names may be erased


def expected(dialect: str, tables: Iterable[Table] | None = None) -> dict[str, tuple[str, str]]:
    """Every trigger that a ledger must have: name → (table, SQL that creates it)."""
    chosen = Row.metadata.sorted_tables if tables is None else tables
    made: dict[str, tuple[str, str]] = {}
    for table in chosen:
        for name, sql in (_postgresql if dialect == "postgresql" else _sqlite)(table).items():
            if name != _ALLOWED:
                made[name] = (table.name, sql)
    return made


def install(connection: Connection) -> None:
    """Make every trigger of every table that exists, anew: a table rebuilt by a migration has lost its own."""
    present = set(inspect(connection).get_table_names())
    if connection.dialect.name == "postgresql":
        for function in _POSTGRESQL_FUNCTIONS:
            connection.execute(text(function))
    tables = [table for table in Row.metadata.sorted_tables if table.name in present]
    for name, (table, sql) in expected(connection.dialect.name, tables).items():
        on = f' ON "{table}"' if connection.dialect.name == "postgresql" else ""
        connection.execute(text(f'DROP TRIGGER IF EXISTS "{name}"{on}'))
        connection.execute(text(sql))


def faults(connection: Connection) -> list[str]:
    """What is wrong with the ledger's triggers, a sentence each; an empty list where all are in place."""
    wanted = expected(connection.dialect.name)
    if connection.dialect.name == "postgresql":
        query = "SELECT tgname AS name, NULL AS sql FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'"
    else:
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
    found = {row.name: row.sql for row in connection.execute(text(query))}
    wrong = [f"trigger {name} on {table} is missing" for name, (table, _) in wanted.items() if name not in found]
    wrong += [
        f"trigger {name} on {table} is not the ledger's own"
        for name, (table, sql) in wanted.items()
        if found.get(name) not in (None, sql)
    ]
    wrong += [f"trigger {name} does not belong to the ledger" for name in found if name not in wanted]
    return wrong


def _keys(table: Table) -> list[list[str]]:
    """The sets of columns that a table holds unique, the primary key first."""
    keys = [[column.name for column in table.primary_key]]
    keys += sorted(
        [column.name for column in constraint.columns]
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
    )
    keys += sorted([column.name for column in index.columns] for index in table.indexes if index.unique)
    return keys


def _sqlite(table: Table) -> dict[str, str]:
    name = table.name
    taken = " OR ".join("(" + " AND ".join(f"{c} = NEW.{c}" for c in key) + ")" for key in _keys(table))
    change = "WHEN NEW.id <> OLD.id OR NEW.count <> OLD.count + 1 " if name == _HEAD else ""
    return {
        f"{name}_refuse_update": f"CREATE TRIGGER {name}_refuse_update BEFORE UPDATE ON {name} {change}"
        f"BEGIN SELECT RAISE(ABORT, '{name} are never changed'); END",
        f"{name}_refuse_delete": f"CREATE TRIGGER {name}_refuse_delete BEFORE DELETE ON {name} "
        f"BEGIN SELECT RAISE(ABORT, '{name} are never deleted'); END",
        f"{name}_refuse_replace": f"CREATE TRIGGER {name}_refuse_replace BEFORE INSERT ON {name} "
        f"WHEN EXISTS (SELECT 1 FROM {name} WHERE {taken}) "
        f"BEGIN SELECT RAISE(ABORT, '{name} are never replaced'); END",
    }


_POSTGRESQL_FUNCTIONS = (
    """CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% are never changed or deleted', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$""",
    """CREATE OR REPLACE FUNCTION ledger_refuse_head() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.id <> OLD.id OR NEW.count <> OLD.count + 1 THEN
RAISE EXCEPTION 'the head only moves forward' USING ERRCODE = 'integrity_constraint_violation'; END IF;
RETURN NEW; END $$""",
)


def _postgresql(table: Table) -> dict[str, str]:
    name = table.name
    update = "ledger_refuse_head" if name == _HEAD else "ledger_refuse"
    return {
        f"{name}_refuse_update": f'CREATE TRIGGER {name}_refuse_update BEFORE UPDATE ON "{name}" '
        f"FOR EACH ROW EXECUTE FUNCTION {update}()",
        f"{name}_refuse_delete": f'CREATE TRIGGER {name}_refuse_delete BEFORE DELETE ON "{name}" '
        "FOR EACH ROW EXECUTE FUNCTION ledger_refuse()",
        f"{name}_refuse_truncate": f'CREATE TRIGGER {name}_refuse_truncate BEFORE TRUNCATE ON "{name}" '
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()",
    }
