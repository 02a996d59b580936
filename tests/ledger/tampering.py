"""Books in which everything has happened, and sessions for which no rule of the database holds. All is undone after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import StaticPool
from sqlmodel import Session

from ledger.audit import audit
from ledger.database import Ledger
from ledger.models import Row
from tests.ledger.everything import clock, fill
from tests.ledger.server import Server

ADMINISTRATOR = "postgres"


class Original:
    """The books, on one of the databases."""

    def __init__(self, folder: Path, server: Server | None = None) -> None:
        self.folder = folder
        self.place = str(folder / "books.db") if server is None else server.url(server.make())
        with Ledger.create(self.place, clock=clock("2026-03-01T23:00:00")) as books, books.writing() as session:
            fill(session, folder)
        if server is None:
            self._engine = create_engine(f"sqlite:///{self.place}", poolclass=StaticPool)
            event.listen(self._engine, "connect", _prepare)
            event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
        else:
            as_administrator = self.place.replace("//keeper@", f"//{ADMINISTRATOR}@").replace(
                "postgresql:", "postgresql+psycopg:"
            )
            self._engine = create_engine(as_administrator, poolclass=StaticPool)

    @property
    def looked_at(self) -> str:
        """Which row of a table is changed, so that both ends are."""
        return "first" if self.is_sqlite else "last"

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a file."""
        return self._engine.dialect.name == "sqlite"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session on the books as they are; whatever it does is undone when the block ends."""
        with self._engine.connect() as connection, Session(connection) as session:
            session.info["clock"] = lambda: datetime(2027, 1, 1, tzinfo=UTC)
            session.info["folder"] = self.folder if self.is_sqlite else None
            yield session
            session.rollback()
            connection.rollback()

    @contextmanager
    def tampering(self, session: Session, table: str | None = None) -> Iterator[Connection]:
        """Its connection, with no trigger and no reference in the way while the block lasts.

        Nor are the conditions of `table`, or of any table in a file; those of a server stay away, and are missed.
        """
        connection = session.connection()
        without = _without_rules_of_sqlite(connection) if self.is_sqlite else _as_a_replica(connection, table)
        with without:
            yield connection
        session.expire_all()


def faults(session: Session, **options: Any) -> list[str]:
    """What an audit finds, with the name of each check."""
    return [f"{check.name}: {check.detail}" for check in audit(session, **options).checks if not check.ok]


def named(found: list[str], check: str, *words: str) -> None:
    """Asserts that a check of this name fails and names these."""
    assert any(fault.startswith(f"{check}: ") and all(word in fault for word in words) for fault in found), found


def _prepare(connection: Any, _: object) -> None:
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = OFF")


@contextmanager
def _without_rules_of_sqlite(connection: Connection) -> Iterator[None]:
    triggers = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
    connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
    for name, _ in triggers:
        connection.exec_driver_sql(f"DROP TRIGGER {name}")
    yield
    for _, sql in triggers:
        connection.exec_driver_sql(sql)
    connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")


@contextmanager
def _as_a_replica(connection: Connection, table: str | None) -> Iterator[None]:
    """As a superuser can: for a replica, neither triggers nor references fire."""
    connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
    for constraint in Row.metadata.tables[table].constraints if table is not None else ():
        if str(constraint.name).startswith("ck_"):
            connection.exec_driver_sql(f'ALTER TABLE "{table}" DROP CONSTRAINT "{constraint.name}"')
    yield
    connection.exec_driver_sql("SET LOCAL session_replication_role = origin")
