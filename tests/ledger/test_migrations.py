from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, Inspector, inspect, text

from ledger import journal, migrations, triggers
from ledger.audit import audit
from ledger.database import Ledger
from ledger.errors import SchemaInUseError
from ledger.lines import credit, debit
from ledger.models import Row
from ledger.places import MIGRATING, file_engine, server_engine
from tests.ledger.conftest import DATABASES
from tests.ledger.server import Server

STEPS = migrations.revisions()
# Every table rebuilt, where the database needs that for a new column. Batch mode does not see checks by itself.
REBUILD = """
import sqlalchemy as sa
from alembic import op

from ledger.models import Row

revision, down_revision, branch_labels, depends_on = "rebuilt", "{newest}", None, None


def upgrade():
    recreate = "always" if op.get_bind().dialect.name == "sqlite" else "never"
    for table in Row.metadata.sorted_tables:
        rules = (rule for rule in table.constraints if isinstance(rule, sa.CheckConstraint))
        checks = [sa.CheckConstraint(rule.sqltext, name=rule.name) for rule in rules]
        with op.batch_alter_table(table.name, recreate=recreate, table_args=checks, table_kwargs=table.kwargs) as batch:
            batch.add_column(sa.Column("memo", sa.String(), nullable=True))
"""


@pytest.fixture(params=DATABASES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database with nothing in it."""
    if request.param == "sqlite":
        engine = file_engine(tmp_path / "empty.db")
        yield engine
        engine.dispose()
        return
    server: Server = request.getfixturevalue("server")
    name = server.make()
    engine = server_engine(server.url(name))
    yield engine
    engine.dispose()
    server.drop(name)


@pytest.fixture
def migrated(empty: Engine) -> Engine:
    with empty.begin() as connection:
        migrations.upgrade(connection)
    return empty


def described(inspector: Inspector) -> dict[str, Any]:
    return {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in inspector.get_columns(table)
            ],
            "primary key": inspector.get_pk_constraint(table),
            "foreign keys": sorted(inspector.get_foreign_keys(table), key=str),
            "unique": sorted(inspector.get_unique_constraints(table), key=str),
            "checks": sorted(inspector.get_check_constraints(table), key=str),
            "indexes": sorted(inspector.get_indexes(table), key=str),
            "options": inspector.get_table_options(table),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def test_migrations_make_the_same_schema_as_the_models(empty: Engine) -> None:
    with empty.connect() as connection:
        Row.metadata.create_all(connection)
        from_models = described(inspect(connection))
        connection.rollback()
        assert inspect(connection).get_table_names() == []
        migrations.upgrade(connection)
        assert described(inspect(connection)) == from_models


def test_alembic_finds_nothing_left_to_migrate(migrated: Engine) -> None:
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Row.metadata) == []


def test_every_constraint_has_a_name(migrated: Engine) -> None:
    for table, found in described(inspect(migrated)).items():
        for kind in ("foreign keys", "unique", "checks"):
            assert all(constraint["name"] for constraint in found[kind]), (table, kind)
        assert found["primary key"]["name"]


def test_text_is_sorted_by_code_point_and_no_number_is_drawn_from_a_sequence(server_books: Ledger) -> None:
    with server_books.engine.connect() as connection:
        assert connection.execute(text("SELECT 'B' > 'a'")).scalar_one(), "the tests' server sorts as a dictionary does"
        others = connection.execute(
            text(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
                "AND table_name <> 'alembic_version' AND data_type IN ('text', 'character varying', 'character') "
                "AND collation_name IS DISTINCT FROM 'C'"
            )
        )
        assert others.all() == []
        assert connection.execute(text("SELECT count(*) FROM pg_sequences")).scalar_one() == 0


def test_every_table_is_guarded_after_each_step_up_and_down(empty: Engine) -> None:
    with empty.begin() as connection:
        for revision in STEPS:
            migrations.upgrade(connection, to=revision)
            present = inspect(connection).get_table_names()
            faults = [fault for fault in triggers.faults(connection) if on(fault) in present]
            assert faults == [], revision
    tables = []
    for revision in [*STEPS[-2::-1], "base"]:
        with empty.begin() as connection:
            migrations.downgrade(connection, to=revision)
            tables.append(len(inspect(connection).get_table_names()))
    assert tables == sorted(tables, reverse=True)
    assert tables[-1] == 0
    with empty.begin() as connection:
        if connection.dialect.name == "postgresql":
            assert not count(connection, "pg_proc WHERE proname LIKE 'ledger%'")
        migrations.upgrade(connection)
        assert triggers.faults(connection) == []


def on(fault: str) -> str:
    """The table that a fault is about."""
    return fault.partition(" on ")[2].split()[0]


def test_a_ledger_that_only_started_may_be_taken_back(books: Ledger) -> None:
    with books.engine.begin() as connection:
        migrations.downgrade(connection, to="base")
        assert inspect(connection).get_table_names() == []


def test_a_ledger_with_money_keeps_what_it_holds(books: Ledger) -> None:
    with books.writing() as session:
        lines = [debit("buyer", "nat", 1), credit("escrow", "nat", 1)]
        journal.post(session, kind="test", subject="x", key="k", payload={}, lines=lines)
    refused(books, "entries", STEPS[0])


def test_a_ledger_with_datasets_keeps_them(staffed: Ledger) -> None:
    refused(staffed, "dataset_records", STEPS[1])


def refused(books: Ledger, table: str, revision: str) -> None:
    with (
        pytest.raises(SchemaInUseError, match=f"before {revision} has no place for the . rows of {table}"),
        books.engine.begin() as connection,
    ):
        migrations.downgrade(connection, to="base")
    with Ledger.open(books.place) as again, again.reading() as session:
        assert [check.detail for check in audit(session).checks if not check.ok] == []


def test_tables_rebuilt_by_a_later_migration_keep_rows_rules_and_triggers(staffed: Ledger, tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "rebuilt.py").write_text(REBUILD.replace("{newest}", STEPS[-1]))
    with staffed.engine.execution_options(**{MIGRATING: True}).begin() as connection:
        before = {table: count(connection, table) for table in Row.metadata.tables}
        migrations.upgrade(connection, (str(versions),))
        for table in Row.metadata.tables:
            assert "memo" in {column["name"] for column in inspect(connection).get_columns(table)}
        assert {table: count(connection, table) for table in Row.metadata.tables} == before
        assert triggers.faults(connection) == []
    with staffed.reading() as session:
        assert [check.detail for check in audit(session).checks if not check.ok] == []


def count(connection: Any, table: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_upgrading_a_current_ledger_changes_nothing(staffed: Ledger) -> None:
    staffed.close()
    with Ledger.open(staffed.place) as books, books.reading() as session:
        before = journal.head(session)
    Ledger.upgrade(staffed.place).close()
    with Ledger.open(staffed.place) as again, again.reading() as session:
        assert [check.detail for check in audit(session).checks if not check.ok] == []
        assert journal.head(session) == before
