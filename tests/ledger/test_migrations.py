from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Inspector, create_engine, inspect, text

from ledger import migrations, triggers
from ledger.database import Ledger
from ledger.models import Row

REBUILD = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "rebuilt", "0001", None, None


def upgrade():
    with op.batch_alter_table("postings", recreate="always") as batch:
        batch.add_column(sa.Column("memo", sa.String(), nullable=True))
"""


def migrated() -> Engine:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        migrations.upgrade(connection)
    return engine


def described(inspector: Inspector) -> dict[str, Any]:
    return {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(table)
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


def test_migrations_make_the_same_schema_as_the_models() -> None:
    from_models = create_engine("sqlite://")
    Row.metadata.create_all(from_models)
    assert described(inspect(migrated())) == described(inspect(from_models))


def test_every_constraint_has_a_name() -> None:
    for table, found in described(inspect(migrated())).items():
        for kind in ("foreign keys", "unique", "checks"):
            assert all(constraint["name"] for constraint in found[kind]), (table, kind)
        assert found["primary key"]["name"]


def test_migrations_make_every_trigger() -> None:
    with migrated().connect() as connection:
        assert triggers.faults(connection) == []
        count = connection.execute(text("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'")).scalar_one()
    assert count == 3 * len(Row.metadata.tables)


def test_a_table_rebuilt_by_a_later_migration_keeps_its_rows_and_triggers(books: Ledger, tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "0002_rebuilt.py").write_text(REBUILD)
    with books.engine.begin() as connection:
        before = connection.execute(text("SELECT count(*) FROM entries")).scalar_one()
        migrations.upgrade(connection, (str(versions),))
        assert "memo" in {column["name"] for column in inspect(connection).get_columns("postings")}
        assert triggers.faults(connection) == []
        assert connection.execute(text("SELECT count(*) FROM entries")).scalar_one() == before


def test_a_trigger_refuses_every_key_that_replace_would_free() -> None:
    for table in Row.metadata.sorted_tables:
        sql = triggers.expected("sqlite", [table])[f"{table.name}_refuse_replace"][1]
        for column in table.primary_key:
            assert f"{column.name} = NEW.{column.name}" in sql


def test_upgrading_a_current_ledger_changes_nothing(books: Ledger) -> None:
    books.close()
    before = Path(books.place).read_bytes()
    Ledger.upgrade(books.place).close()
    with Ledger.open(books.place) as again, again.reading() as session:
        assert triggers.faults(session.connection()) == []
    assert len(Path(books.place).read_bytes()) == len(before)
