"""A database that cannot be used, or no longer: one clear error each, and nothing half-done."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlmodel import Session

from ledger import registry
from ledger.audit import audit
from ledger.cli import main
from ledger.database import ATTEMPTS, Ledger
from ledger.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseExistsError,
    DatabaseFullError,
    DatabaseMissingError,
    DatabasePermissionError,
    DatabaseReadOnlyError,
    DatabaseUnreachableError,
    DatabaseUrlError,
    LedgerError,
    NotALedgerError,
    UnknownContributorError,
    WriteConflictError,
)
from ledger.places import file_engine
from tests.ledger.server import CLERK, OWNER, Server


def unchanged(books: Ledger) -> None:
    """Asserts that no contributor is there, that all else holds, and that writing works again."""
    with books.reading() as session:
        assert registry.contributors(session) == []
        assert audit(session).ok
    books.transact(lambda session: registry.add_contributor(session, "bob"))


# Connections to a server


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://{owner}@/{database}?host={folder}/nowhere", "No such file or directory"),
        ("postgresql://{owner}@127.0.0.1:1/{database}", "Connection refused"),
        ("postgresql://{owner}@/nowhere?host={folder}", 'database "nowhere" does not exist'),
        ("postgresql://stranger@/{database}?host={folder}", 'role "stranger" does not exist'),
        ("postgresql+psycopg://{clerk}:secret@/{database}?host={folder}", "password authentication failed"),
    ],
)
def test_a_server_that_does_not_let_in_says_why_in_one_line(
    server_books: Ledger, server: Server, url: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"owner": OWNER, "clerk": CLERK, "folder": server.folder, "database": server_books.engine.url.database}
    for opening in (Ledger.open, Ledger.create, Ledger.upgrade):
        with pytest.raises(DatabaseUnreachableError, match=words):
            opening(url.format(**names))
    assert main(["contributor", "add", "alice", "--ledger", url.format(**names)]) == 2
    refusal = capsys.readouterr().err
    assert refusal.count("\n") == 1
    assert words in refusal
    assert "secret" not in refusal


def test_a_database_without_a_ledger_is_told_from_one_with_other_tables(server: Server) -> None:
    database = server.make()
    with pytest.raises(DatabaseMissingError):
        Ledger.open(server.url(database))
    server.run("CREATE TABLE songs (title text)", database)
    with pytest.raises(NotALedgerError, match="other tables"):
        Ledger.open(server.url(database))
    with pytest.raises(DatabaseExistsError):
        Ledger.create(server.url(database))
    server.drop(database)


def test_a_database_that_cannot_hold_every_name_is_refused(server: Server) -> None:
    server.run(
        "CREATE DATABASE latin OWNER keeper TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C'"
    )
    with pytest.raises(DatabaseUrlError, match="UTF8"):
        Ledger.create(server.url("latin"))
    server.drop("latin")


def test_a_role_that_was_given_nothing_is_told_so(server_books: Ledger, server: Server) -> None:
    server.run("CREATE ROLE guest LOGIN")
    with pytest.raises(DatabasePermissionError, match="permission denied for table alembic_version"):
        Ledger.open(server.url(str(server_books.engine.url.database), "guest"))
    server.run("DROP ROLE guest")


def test_a_lost_connection_stores_nothing_and_the_next_one_works(server_books: Ledger, server: Server) -> None:
    def work(session: Session) -> None:
        registry.add_contributor(session, "alice")
        process = session.connection().execute(text("SELECT pg_backend_pid()")).scalar_one()
        server.run(f"SELECT pg_terminate_backend({process}, 5000)")

    with pytest.raises(DatabaseUnreachableError):
        server_books.transact(work)
    unchanged(server_books)


def test_a_server_that_went_away_between_requests_is_not_noticed(server_books: Ledger, server: Server) -> None:
    server_books.transact(registry.contributors)
    server.run(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{OWNER}'")
    unchanged(server_books)


def test_a_database_that_was_made_read_only_is_still_read(server_books: Ledger, server: Server) -> None:
    database = server_books.engine.url.database
    server.run(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    with Ledger.open(server_books.place) as books:
        with books.reading() as session:
            assert audit(session).ok
        with pytest.raises(DatabaseReadOnlyError, match="read-only transaction"):
            books.transact(lambda session: registry.add_contributor(session, "alice"))


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("40001", WriteConflictError),
        ("40P01", WriteConflictError),
        ("42501", DatabasePermissionError),
        ("53100", DatabaseFullError),
        ("55P03", DatabaseBusyError),
        ("57014", DatabaseBusyError),
        ("57P01", DatabaseUnreachableError),
        ("58030", DatabaseUnreachableError),
        ("XX001", DatabaseDamagedError),
    ],
)
def test_each_refusal_of_a_server_is_its_own_error(server_books: Ledger, state: str, kind: type[LedgerError]) -> None:
    def work(session: Session) -> None:
        registry.add_contributor(session, "alice")
        session.connection().exec_driver_sql(
            f"DO $$ BEGIN RAISE EXCEPTION 'said by a test' USING ERRCODE = '{state}'; END $$"
        )

    with pytest.raises(kind, match="said by a test"):
        server_books.transact(work)
    unchanged(server_books)


# Transactions that gave way


def test_what_gave_way_is_done_again_whole(server_books: Ledger) -> None:
    sessions: list[Session] = []

    def work(session: Session) -> str:
        sessions.append(session)
        registry.add_contributor(session, "alice")
        if len(sessions) < ATTEMPTS:
            session.connection().exec_driver_sql(
                "DO $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure'; END $$"
            )
        return "done"

    assert server_books.transact(work) == "done"
    assert len(set(map(id, sessions))) == ATTEMPTS
    with server_books.reading() as session:
        assert [row.id for row in registry.contributors(session)] == ["alice"]


def test_what_always_gives_way_is_given_up_and_says_so(server_books: Ledger) -> None:
    def work(session: Session) -> None:
        registry.add_contributor(session, "alice")
        session.connection().exec_driver_sql(
            "DO $$ BEGIN RAISE EXCEPTION 'never' USING ERRCODE = 'deadlock_detected'; END $$"
        )

    with pytest.raises(WriteConflictError, match=f"gave way to others {ATTEMPTS} times") as caught:
        server_books.transact(work)
    assert caught.value.attempts == ATTEMPTS
    unchanged(server_books)


def test_what_is_refused_is_not_tried_again(books: Ledger) -> None:
    attempts: list[Session] = []

    def work(session: Session) -> None:
        attempts.append(session)
        registry.add_contributor(session, "alice")
        registry.contributor(session, "nobody")

    with pytest.raises(UnknownContributorError):
        books.transact(work)
    assert len(attempts) == 1
    unchanged(books)


# Files


@contextmanager
def bound_by_modes() -> Iterator[None]:
    """What file modes say holds for this process too, where it is root's: without the capability to ignore them."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Sets(ctypes.Structure):
        _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))

    ignores_modes = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if os.geteuid():
        yield
        return
    system, header, sets = ctypes.CDLL(None), Header(0x20080522, 0), (Sets * 2)()
    assert system.capget(ctypes.byref(header), ctypes.byref(sets)) == 0
    before = sets[0].effective
    sets[0].effective = before & ~ignores_modes
    assert system.capset(ctypes.byref(header), ctypes.byref(sets)) == 0
    try:
        yield
    finally:
        sets[0].effective = before
        assert system.capset(ctypes.byref(header), ctypes.byref(sets)) == 0


@pytest.fixture
def alone(file_books: Ledger, tmp_path: Path) -> Path:
    """A closed ledger in a folder of its own."""
    file_books.close()
    (tmp_path / "alone").mkdir()
    return shutil.copy(tmp_path / "books.db", tmp_path / "alone" / "books.db")


def test_a_read_only_file_is_read_and_not_written(alone: Path) -> None:
    alone.chmod(0o400)
    before = alone.read_bytes()
    with bound_by_modes(), Ledger.open(alone) as books:
        with books.reading() as session:
            assert audit(session).ok
        with pytest.raises(DatabaseReadOnlyError, match=r"books\.db: is read-only"):
            books.transact(lambda session: registry.add_contributor(session, "alice"))
    assert alone.read_bytes() == before


def test_a_read_only_folder_is_refused_by_name(alone: Path) -> None:
    alone.parent.chmod(0o500)
    try:
        with bound_by_modes():
            with pytest.raises(DatabaseReadOnlyError, match="its folder cannot be written"):
                Ledger.open(alone)
            for place in (alone.parent / "new.db", alone.parent / "folder" / "new.db"):
                with pytest.raises((DatabaseReadOnlyError, DatabasePermissionError)):
                    Ledger.create(place)
    finally:
        alone.parent.chmod(0o700)
    assert [path.name for path in alone.parent.iterdir()] == ["books.db"]


def test_a_file_that_may_not_be_read_is_refused(alone: Path) -> None:
    alone.chmod(0)
    with bound_by_modes(), pytest.raises(DatabasePermissionError, match="Permission denied"):
        Ledger.open(alone)


def full_from_now_on(books: Ledger) -> None:
    """Let the file of a ledger not grow any more."""
    with books.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(books.engine, "connect", limit)
    books.engine.dispose()


def test_a_full_disk_stores_nothing_and_keeps_what_was_there(file_books: Ledger) -> None:
    full_from_now_on(file_books)

    def work(session: Session) -> None:
        for number in range(200):
            registry.add_contributor(session, f"somebody-{number}")

    with pytest.raises(DatabaseFullError, match="is out of room"):
        file_books.transact(work)
    with Ledger.open(file_books.place) as again:
        unchanged(again)


def test_no_ledger_is_half_made_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def limit(connection: Any, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 40")

    def small(path: Path, **options: bool) -> Engine:
        engine = file_engine(path, **options)
        event.listen(engine, "connect", limit)
        return engine

    monkeypatch.setattr("ledger.database.file_engine", small)
    with pytest.raises(DatabaseFullError):
        Ledger.create(tmp_path / "books.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("first", [1, 2, 20])
def test_a_damaged_file_is_named(alone: Path, first: int) -> None:
    whole = alone.read_bytes()
    alone.write_bytes(whole[: first * 4096] + b"\xaa" * (len(whole) - first * 4096))
    before = alone.read_bytes()

    def use() -> None:
        with Ledger.open(alone) as books:
            books.transact(lambda session: registry.add_contributor(session, "alice"))

    with pytest.raises((DatabaseDamagedError, NotALedgerError), match=r"books\.db"):
        use()
    assert alone.read_bytes() == before
