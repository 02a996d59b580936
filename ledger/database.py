"""Where the books are kept: one SQLite file, or any database by URL. Opening, creating, transactions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError
from sqlmodel import Session

from ledger import migrations
from ledger.errors import (
    DatabaseExistsError,
    DatabaseMissingError,
    DatabaseUnreachableError,
    DatabaseUrlError,
    NotALedgerError,
    SchemaVersionError,
)

Clock = Callable[[], datetime]

DEFAULT_TOLERANCE = "0.01"  # of |improvement|
_MAGIC = b"SQLite format 3\0"
_WAIT_SECONDS = 30
_READ_ONLY = "ledger_read_only"


def utc_now() -> datetime:
    """The present moment, with its offset."""
    return datetime.now(UTC)


class Ledger:
    """An open ledger. Use `Ledger.open` or `Ledger.create`, then `reading` and `writing`::

    with Ledger.open("ghostledger.db") as books, books.writing() as session:
        registry.add_contributor(session, "alice", "Alice Ltd")
    """

    def __init__(self, engine: Engine, place: str, folder: Path | None, clock: Clock) -> None:
        self.engine = engine
        self.place = place  # the path or URL it was opened by, without a password
        self.folder = folder  # where relative paths of run records start; None for a database server
        self.clock = clock

    @classmethod
    def create(
        cls, place: str | os.PathLike[str], *, tolerance: str = DEFAULT_TOLERANCE, clock: Clock = utc_now
    ) -> Ledger:
        """Make a new ledger at a path or URL, whole or not at all, and open it.

        `tolerance` is the largest \\|gap\\| / \\|improvement\\| at which a run is settled, as decimal text. Raises
        `DatabaseExistsError`, `DatabaseUrlError`, `DatabaseUnreachableError`, `SettingError`.
        """
        from ledger.registry import start  # the registry's functions take sessions, which are made here

        path = _path(place)
        if path is None:
            books = cls(_engine(str(place)), make_url(str(place)).render_as_string(), None, clock)
            with books._reported():
                if inspect(books.engine).get_table_names():
                    raise DatabaseExistsError(books.place)
                books._build(tolerance, start)
            return books
        if path.exists():
            raise DatabaseExistsError(str(path))
        scratch = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            books = cls(_engine(f"sqlite:///{scratch}"), str(path), path.parent, clock)
            with books._reported():
                books._build(tolerance, start)
            books.close()
            scratch.rename(path)
        except OSError as error:
            raise DatabaseUnreachableError(str(path), error.strerror or str(error)) from error
        finally:
            for suffix in ("", "-wal", "-shm"):
                scratch.with_name(scratch.name + suffix).unlink(missing_ok=True)
        return cls.open(path, clock=clock)

    @classmethod
    def open(cls, place: str | os.PathLike[str], *, clock: Clock = utc_now) -> Ledger:
        """Open the ledger at a path or URL.

        Raises `DatabaseMissingError`, `NotALedgerError`, `SchemaVersionError`, `DatabaseUrlError`,
        `DatabaseUnreachableError`.
        """
        books = cls._connect(place, clock)
        found, newest = books._revision(), migrations.newest()
        if found != newest:
            books.close()
            raise SchemaVersionError(books.place, found, newest, newer=not migrations.known(found))
        return books

    @classmethod
    def upgrade(cls, place: str | os.PathLike[str], *, clock: Clock = utc_now) -> Ledger:
        """Bring an older ledger to this program's schema, and open it. Raises what `open` does."""
        books = cls._connect(place, clock)
        found = books._revision()
        if not migrations.known(found):
            books.close()
            raise SchemaVersionError(books.place, found, migrations.newest(), newer=True)
        with books._reported(), books.engine.begin() as connection:
            migrations.upgrade(connection)
        return books

    @classmethod
    def _connect(cls, place: str | os.PathLike[str], clock: Clock) -> Ledger:
        path = _path(place)
        if path is None:
            return cls(_engine(str(place)), make_url(str(place)).render_as_string(), None, clock)
        if not path.exists():
            raise DatabaseMissingError(str(path))
        try:
            with path.open("rb") as file:
                magic = file.read(len(_MAGIC))
        except OSError as error:
            raise NotALedgerError(str(path), error.strerror or str(error)) from error
        if magic != _MAGIC:
            raise NotALedgerError(str(path), "it is not a SQLite database")
        return cls(_engine(f"sqlite:///{path}"), str(path), path.parent, clock)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one unchanging view of the books; what it writes is rolled back."""
        with self._reported(), Session(self.engine.execution_options(**{_READ_ONLY: True})) as session:
            self._equip(session)
            session.connection()  # the transaction begins here, not at the first statement
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are stored together when the block ends, or not at all when it raises."""
        with self._reported(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            self._equip(session)
            session.connection()  # the transaction begins here, not at the first statement
            yield session

    def close(self) -> None:
        """Give back the database's connections."""
        self.engine.dispose()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _equip(self, session: Session) -> None:
        session.info["clock"] = self.clock
        session.info["folder"] = self.folder

    def _build(self, tolerance: str, start: Callable[[Session, str], None]) -> None:
        with Session(self.engine) as session, session.begin():
            self._equip(session)
            migrations.upgrade(session.connection())
            start(session, tolerance)

    def _revision(self) -> str:
        try:
            reader = self.engine.execution_options(**{_READ_ONLY: True})
            with self._reported(), reader.connect() as connection:
                if "alembic_version" not in inspect(connection).get_table_names():
                    raise NotALedgerError(self.place, "it holds other tables")
                found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
            if len(found) != 1:
                raise NotALedgerError(self.place, "its schema has no version")
        except (NotALedgerError, DatabaseUnreachableError):
            self.close()
            raise
        return str(found[0])

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise DatabaseUnreachableError(self.place, str(error.orig)) from error
        except DatabaseError as error:
            if type(error) is DatabaseError:  # SQLite's own word for a file that is damaged or no database
                raise NotALedgerError(self.place, str(error.orig)) from error
            raise


def _path(place: str | os.PathLike[str]) -> Path | None:
    """The file that a place names, or None where it is a database server's URL."""
    if isinstance(place, str) and "://" in place:
        try:
            url = make_url(place)
        except ArgumentError as error:
            raise DatabaseUrlError(place, "is not a database URL") from error
        if url.get_backend_name() != "sqlite":
            return None
        if not url.database or url.database == ":memory:":
            raise DatabaseUrlError(place, "a ledger in memory is gone when the program ends; name a file")
        return Path(url.database).resolve()
    return Path(place).resolve()


def _engine(url: str) -> Engine:
    shown = make_url(url).render_as_string()
    try:
        engine = create_engine(url)
    except NoSuchModuleError as error:
        raise DatabaseUrlError(shown, "no driver is known for this kind of database") from error
    except ModuleNotFoundError as error:
        raise DatabaseUrlError(shown, f"its driver is not installed: pip install {error.name}") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin late, after the first read; `_begin_sqlite` does it
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_WAIT_SECONDS * 1000}",
        "journal_mode = WAL",
        "foreign_keys = ON",
        "recursive_triggers = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
