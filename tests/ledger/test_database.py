import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger import registry
from ledger.database import Ledger
from ledger.errors import (
    DatabaseBusyError,
    DatabaseExistsError,
    DatabaseMissingError,
    DatabaseReadOnlyError,
    DatabaseUrlError,
    LedgerError,
    NotALedgerError,
    SchemaVersionError,
    SettingError,
)


def test_a_new_ledger_opens_by_path_and_by_url(tmp_path: Path) -> None:
    Ledger.create(tmp_path / "new" / "books.db", tolerance="0.02").close()
    for place in (tmp_path / "new" / "books.db", f"sqlite:///{tmp_path}/new/books.db"):
        with Ledger.open(place) as books, books.reading() as session:
            assert registry.tolerance(session) == "0.02"


def test_creating_leaves_only_the_database(tmp_path: Path) -> None:
    Ledger.create(tmp_path / "books.db").close()
    assert [path.name for path in tmp_path.iterdir()] == ["books.db"]


def test_a_ledger_is_never_overwritten(books: Ledger) -> None:
    with pytest.raises(DatabaseExistsError):
        Ledger.create(books.place)


@pytest.mark.parametrize("tolerance", ["", "-0.1", "1e-2", "NaN", "1.5", "a"])
def test_a_tolerance_that_makes_no_sense_leaves_nothing_behind(tmp_path: Path, tolerance: str) -> None:
    with pytest.raises(SettingError):
        Ledger.create(tmp_path / "books.db", tolerance=tolerance)
    assert not list(tmp_path.iterdir())


def test_a_missing_ledger_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(DatabaseMissingError, match=r"books\.db"):
        Ledger.open(tmp_path / "books.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + b"x" * 4096])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "books.db").write_bytes(content)
    with pytest.raises(NotALedgerError, match=r"books\.db"):
        Ledger.open(tmp_path / "books.db")
    assert (tmp_path / "books.db").read_bytes() == content


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotALedgerError):
        Ledger.open(tmp_path)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE songs (title)")
    with pytest.raises(NotALedgerError, match="other tables"):
        Ledger.open(tmp_path / "other.db")


@pytest.mark.parametrize(
    ("revision", "words"),
    [("9999", "install a newer ghostledger"), ("0001", "made before the first release .* `ghostledger import-run`")],
)
def test_a_schema_that_this_program_does_not_know_is_refused(books: Ledger, revision: str, words: str) -> None:
    with books.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    for opening in (Ledger.open, Ledger.upgrade):
        with pytest.raises(SchemaVersionError, match=words):
            opening(books.place)


@pytest.mark.parametrize("url", ["nothing://x", "postgres ql://x", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(DatabaseUrlError):
        Ledger.open(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:secret@localhost:1/books",
        "postgres://me:secret@localhost:1/books",
        "postgresql://localhost:1/books?user=me&password=secret",
        "postgresql+psycopg2://me:secret@localhost:1/books",
        "mysql://me:secret@localhost:1/books",
        "postgres ql://me:secret@localhost:1/books",
    ],
)
def test_a_password_is_not_shown(url: str) -> None:
    with pytest.raises(LedgerError, match="/books") as caught:
        Ledger.open(url)
    assert "secret" not in str(caught.value)


def test_who_waits_too_long_for_another_writer_is_told(books: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.places.WAIT_SECONDS", 0.001)
    with books.writing(), Ledger.open(books.place) as other:
        blocked = other.writing()
        with pytest.raises(DatabaseBusyError, match="is busy with others"):
            blocked.__enter__()


def test_sqlite_is_set_up_for_books(file_books: Ledger) -> None:
    with file_books.engine.connect() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "foreign_keys", "recursive_triggers")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "recursive_triggers": 1}


def test_a_failing_block_stores_nothing(books: Ledger) -> None:
    def fail() -> None:
        with books.writing() as session:
            registry.add_contributor(session, "alice")
            registry.contributor(session, "nobody")

    with pytest.raises(LedgerError):
        fail()
    with books.reading() as session:
        assert registry.contributors(session) == []


def test_a_reading_session_cannot_write(books: Ledger) -> None:
    with pytest.raises(DatabaseReadOnlyError), books.reading() as session:
        registry.add_contributor(session, "alice")
    with books.reading() as session:
        assert registry.contributors(session) == []
