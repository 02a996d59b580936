"""The schema's history, run from code: an installed package needs no alembic.ini."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from ledger.errors import SchemaInUseError

UNRELEASED = frozenset({"0001"})  # the schemas of ledgers from before the first release, which nothing upgrades


def configuration(connection: Connection | None = None, version_folders: tuple[str, ...] = ()) -> Config:
    """Alembic's configuration for a connection, with folders of further migrations if any."""
    folder = files(__package__)
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join((str(folder / "versions"), *version_folders)))
    config.attributes["connection"] = connection
    return config


def revisions() -> list[str]:
    """Every revision, from the first to the one that this program's models describe."""
    return [script.revision for script in ScriptDirectory.from_config(configuration()).walk_revisions()][::-1]


def newest() -> str:
    """The revision that this program's models describe."""
    return revisions()[-1]


def known(revision: str) -> bool:
    """Whether this program knows a revision, so that it can upgrade from it."""
    return revision in revisions()


def upgrade(connection: Connection, version_folders: tuple[str, ...] = (), *, to: str = "heads") -> None:
    """Bring the schema to a revision, or to the newest, triggers included.

    On SQLite the connection must have been begun for migrating (`ledger.places.MIGRATING`) where a table is rebuilt.
    """
    command.upgrade(configuration(connection, version_folders), to)


def downgrade(connection: Connection, *, to: str) -> None:
    """Take the schema back to a revision, or to nothing at all, "base".

    Raises `SchemaInUseError` where that would drop what a ledger holds beyond how it started.
    """
    command.downgrade(configuration(connection), to)
    if to == "base":
        connection.execute(text("DROP TABLE alembic_version"))


def assert_unused(connection: Connection, revision: str, *tables: str, beyond: str = "") -> None:
    """Check that tables to be dropped hold no row, or none `beyond` a condition. Raises `SchemaInUseError`."""
    where = f" WHERE NOT ({beyond})" if beyond else ""
    for table in tables:
        rows = connection.execute(text(f"SELECT count(*) FROM {table}{where}")).scalar_one()
        if rows:
            raise SchemaInUseError(revision, table, rows)


def assert_referring(connection: Connection) -> None:
    """Check on SQLite, which does not look while it migrates, that every reference still leads to a row."""
    if connection.dialect.name == "sqlite":
        lost = connection.execute(text("PRAGMA foreign_key_check")).first()
        assert lost is None, f"the migration lost a row of {lost[2]} that {lost[0]} refers to"
