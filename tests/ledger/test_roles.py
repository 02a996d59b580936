"""The application's role on PostgreSQL: the whole path of a run, and nothing that a writer of books has no need of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy.exc import ProgrammingError

from ledger import personal, registry
from ledger.cli import main
from ledger.database import Ledger
from ledger.errors import ApplicationRoleError, DatabasePermissionError, DatabaseUrlError
from ledger.models import Row
from tests.ledger.conftest import ticking
from tests.ledger.records import synthetic_record
from tests.ledger.server import CLERK, OWNER, PASSWORD, Server

TABLES = [table.name for table in Row.metadata.sorted_tables]


def clerks(server: Server, database: str) -> str:
    """The URL by which the application connects."""
    return server.url(database, f"{CLERK}:{quote(PASSWORD)}")


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    name = server.make()
    yield name
    server.drop(name)


@pytest.fixture
def clerked(server: Server, database: str) -> Iterator[Ledger]:
    """A ledger of the owner's, opened by the application's role."""
    Ledger.create(server.url(database), application_role=CLERK, clock=ticking()).close()
    with Ledger.open(clerks(server, database), clock=ticking(100)) as books:
        yield books


def test_the_application_goes_the_whole_path_of_a_run(
    server: Server, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str | Path, code: int = 0) -> None:
        assert main([str(word) for word in words]) == code, capsys.readouterr().err

    run("init", "--ledger", server.url(database), "--application-role", CLERK)
    ledger = ("--ledger", clerks(server, database))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "one.txt").write_text("alice wrote this")
    run("contributor", "add", "alice", *ledger)
    consent = ("--licence", "MIT", "--consent-given", "2026-01-01")
    run("dataset", "register", "alice", tmp_path / "texts", *consent, *ledger)
    record = synthetic_record({"alice": [0.5]}).save(tmp_path / "run")
    run("import-run", record, *ledger)
    run("settle", record, "--pool", "10.00", "EUR", *ledger)
    run("statement", "alice", *ledger)
    run("audit", *ledger)
    assert "everything holds" in capsys.readouterr().out


FORBIDDEN = [
    *(f"UPDATE {table} SET {next(iter(Row.metadata.tables[table].columns)).name} = NULL" for table in TABLES),
    *(f"DELETE FROM {table}" for table in TABLES if table != "personal_data"),
    *(f"TRUNCATE {table}" for table in TABLES),
    "UPDATE alembic_version SET version_num = '9999'",
    "DELETE FROM alembic_version",
    "ALTER TABLE postings DISABLE TRIGGER ALL",
    "DROP TRIGGER postings_refuse_change ON postings",
    "CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "DROP TABLE postings",
    "DROP SCHEMA public CASCADE",
    "ALTER TABLE entries ADD COLUMN memo text",
    "CREATE TABLE ours (id integer)",
    "SET session_replication_role = replica",
    f"SET ROLE {OWNER}",
]


def test_the_application_may_do_nothing_else(clerked: Ledger) -> None:
    for statement in FORBIDDEN:
        with clerked.engine.connect() as connection, pytest.raises(ProgrammingError) as caught:
            connection.exec_driver_sql(statement)
        assert getattr(caught.value.orig, "sqlstate", None) == "42501", statement  # insufficient privilege


def test_the_application_erases_personal_data_and_moves_the_head(clerked: Ledger) -> None:
    clerked.transact(lambda session: registry.add_contributor(session, "alice", "Alice"))
    with clerked.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM personal_data")
    with clerked.reading() as session:
        assert personal.name_of(session, "alice") is None


def test_an_upgrade_keeps_what_was_given_and_gives_to_one_more(server: Server, database: str) -> None:
    server.run("CREATE ROLE second LOGIN")
    try:
        Ledger.create(server.url(database), application_role=CLERK).close()
        Ledger.upgrade(server.url(database)).close()
        Ledger.upgrade(server.url(database), application_role="second").close()
        for url in (clerks(server, database), server.url(database, "second")):
            with Ledger.open(url) as books:
                books.transact(lambda session: registry.add_contributor(session, "alice"))
                with pytest.raises(DatabasePermissionError, match="must be owner"):
                    Ledger.upgrade(url)
    finally:
        server.run("DROP OWNED BY second", database)
        server.run("DROP ROLE second")


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("nobody", "does not exist"),
        (OWNER, "may do everything already"),
        ("postgres", "may do everything already"),
        ('clerk"; DROP TABLE entries; --', "does not exist"),
    ],
)
def test_a_role_that_cannot_be_given_the_ledger_leaves_nothing_behind(
    server: Server, database: str, role: str, words: str
) -> None:
    with pytest.raises(ApplicationRoleError, match=words):
        Ledger.create(server.url(database), application_role=role)
    Ledger.create(server.url(database)).close()


def test_a_file_knows_no_roles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DatabaseUrlError, match="knows no roles"):
        Ledger.create(tmp_path / "books.db", application_role=CLERK)
    assert main(["init", "--ledger", str(tmp_path / "books.db"), "--application-role", CLERK]) == 2
    assert "knows no roles" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
