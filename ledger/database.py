"""An open ledger: made, opened, upgraded; read in unchanging views, written in transactions that hold whole or not.

One writer at a time, on both databases: SQLite takes its write lock at the beginning, and on PostgreSQL a writer locks
the head of the journal before it reads anything.
"""

from __future__ import annotations

import errno
import os
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from json import JSONDecodeError
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from ledger import migrations, roles
from ledger.errors import (
    DatabaseDamagedError,
    DatabaseExistsError,
    DatabaseMissingError,
    DatabaseUrlError,
    NotALedgerError,
    SchemaVersionError,
    WriteConflictError,
)
from ledger.failures import explained, of_system
from ledger.places import MIGRATING, READING, file_engine, path_of, server_engine, shown

Clock = Callable[[], datetime]
T = TypeVar("T")

DEFAULT_TOLERANCE = "0.01"  # of |improvement|
ATTEMPTS = 5  # of a transaction that gave way to others
_PAUSE_SECONDS = 0.05  # at most, after the first attempt; twice as long after each further one
_MAGIC = b"SQLite format 3\0"
_MAKING = int.from_bytes(b"ghostled")  # the advisory lock of whoever makes a ledger, while there is no head to lock


def utc_now() -> datetime:
    """The present moment, with its offset."""
    return datetime.now(UTC)


class Ledger:
    """An open ledger. Use `Ledger.open` or `Ledger.create`, then `reading`, and `transact` or `writing`::

    with Ledger.open("ghostledger.db") as books:
        books.transact(lambda session: registry.add_contributor(session, "alice", "Alice Ltd"))
    """

    def __init__(self, engine: Engine, place: str, folder: Path | None, clock: Clock) -> None:
        self.engine = engine
        self.place = place  # the path or URL it was opened by, without a password
        self.folder = folder  # where relative paths of run records start; None for a database server
        self.clock = clock
        self._reader = engine.execution_options(**{READING: True})

    @classmethod
    def create(
        cls,
        place: str | os.PathLike[str],
        *,
        tolerance: str = DEFAULT_TOLERANCE,
        origin: str | None = None,
        application_role: str | None = None,
        clock: Clock = utc_now,
    ) -> Ledger:
        """Make a new ledger at a path, or in an empty PostgreSQL database, whole or not at all, and open it.

        `tolerance` is the largest \\|gap\\| / \\|improvement\\| at which a run is settled, as decimal text.
        `origin` is what checkpoints call the log, something random unless given. On PostgreSQL `application_role` is a
        role that may then read the ledger and add to it, and nothing else. Raises `DatabaseExistsError`,
        `DatabaseUrlError`, `SettingError`, `ApplicationRoleError`, and what `open` does of a database that cannot be
        used.
        """
        from ledger.registry import start  # the registry's functions take sessions, which are made here

        def begin(session: Session) -> None:
            start(session, tolerance, origin)

        path = path_of(place)
        if path is None:
            books = cls(server_engine(str(place)), shown(str(place)), None, clock)
            books._build(begin, application_role)
            return books
        _assert_no_role(path, application_role)
        if path.exists():
            raise DatabaseExistsError(str(path))
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
        new_folders = [folder for folder in path.parents if not folder.exists()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            books = cls(file_engine(scratch, new=True), str(path), path.parent, clock)
            books._build(begin, None)
            books.close()
            _take_place(scratch, path)
        except OSError as error:
            raise of_system(str(path), error) from error
        finally:
            with suppress(OSError):
                for suffix in ("", "-wal", "-shm", "-journal"):
                    scratch.with_name(scratch.name + suffix).unlink(missing_ok=True)
                for folder in new_folders if not path.exists() else ():
                    folder.rmdir()
        return cls.open(path, clock=clock)

    @classmethod
    def open(cls, place: str | os.PathLike[str], *, clock: Clock = utc_now) -> Ledger:
        """Open the ledger at a path or URL.

        Raises `DatabaseMissingError`, `NotALedgerError`, `SchemaVersionError`, `DatabaseUrlError`, and of a database
        that cannot be used `DatabaseUnreachableError`, `DatabasePermissionError`, `DatabaseReadOnlyError` or
        `DatabaseDamagedError`.
        """
        books = cls._connect(place, clock)
        found, newest = books._revision(), migrations.newest()
        if found != newest:
            books.close()
            raise books._of_another_version(found)
        return books

    @classmethod
    def upgrade(
        cls, place: str | os.PathLike[str], *, application_role: str | None = None, clock: Clock = utc_now
    ) -> Ledger:
        """Bring an older ledger to this program's schema, and open it. Raises what `open` does.

        Roles that it was given to keep it; `application_role` is one more, as in `create`.
        """
        _assert_no_role(path_of(place), application_role)
        books = cls._connect(place, clock)
        found = books._revision()
        if not migrations.known(found):
            books.close()
            raise books._of_another_version(found)
        with books._closed_by_errors(), books.engine.execution_options(**{MIGRATING: True}).begin() as connection:
            lock(connection)
            migrations.upgrade(connection)
            for role in {*roles.given(connection), *filter(None, [application_role])}:
                roles.give(connection, role)
        return books

    @classmethod
    def _connect(cls, place: str | os.PathLike[str], clock: Clock) -> Ledger:
        path = path_of(place)
        if path is None:
            return cls(server_engine(str(place)), shown(str(place)), None, clock)
        if not path.exists():
            raise DatabaseMissingError(str(path))
        try:
            with path.open("rb") as file:
                magic = file.read(len(_MAGIC))
        except IsADirectoryError as error:
            raise NotALedgerError(str(path), "it is a folder") from error
        except OSError as error:
            raise of_system(str(path), error) from error
        if magic != _MAGIC:
            raise NotALedgerError(str(path), "it is not a SQLite database")
        return cls(file_engine(path), str(path), path.parent, clock)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one unchanging view of the books. Writing in it raises `DatabaseReadOnlyError`."""
        with self._reported(), Session(self._reader) as session:
            self._equip(session)
            session.connection().execute(text("SELECT count FROM head")).all()  # the view is that of the first read
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes are stored together when the block ends, or not at all when it raises.

        There is one at a time; others wait. Raises `WriteConflictError` where the database undid it in favour of
        another transaction: `transact` tries again.
        """
        with self._reported(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            self._equip(session)
            lock(session.connection())  # the transaction begins here, not at the first statement
            yield session

    def transact(self, work: Callable[[Session], T]) -> T:
        """What `work` returns, done in a session of `writing`: stored whole, or not at all when it raises.

        Where the database undoes it (a deadlock, a serialization failure) all of `work` is done again in a new
        session, so it must not keep anything from one. Raises `WriteConflictError` after several attempts.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self.writing() as session:
                    return work(session)
            except WriteConflictError as error:
                reason = error.reason
                if attempt < ATTEMPTS:
                    time.sleep(random.uniform(0, _PAUSE_SECONDS * 2**attempt))
        raise WriteConflictError(self.place, reason, ATTEMPTS)

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

    def _build(self, begin: Callable[[Session], None], role: str | None) -> None:
        with self._closed_by_errors(), Session(self.engine) as session, session.begin():
            self._equip(session)
            connection = session.connection()
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MAKING})
                if connection.execute(text("SHOW server_encoding")).scalar_one() != "UTF8":
                    raise DatabaseUrlError(self.place, "its encoding cannot hold every name; make it with UTF8")
                if inspect(connection).get_table_names():
                    raise DatabaseExistsError(self.place)
            migrations.upgrade(connection)
            begin(session)
            if role is not None:
                roles.give(connection, role)

    def _revision(self) -> str:
        with self._closed_by_errors(), self._reader.connect() as connection:
            tables = inspect(connection).get_table_names()
            if not tables and self.folder is None:
                raise DatabaseMissingError(self.place)
            if "alembic_version" not in tables:
                raise NotALedgerError(self.place, "it holds other tables" if tables else "it holds no table")
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
            if len(found) != 1:
                raise NotALedgerError(self.place, "its schema has no version")
            return str(found[0])

    def _of_another_version(self, found: str) -> SchemaVersionError:
        unreleased = found in migrations.UNRELEASED
        newer = not unreleased and not migrations.known(found)
        return SchemaVersionError(self.place, found, migrations.newest(), newer=newer, unreleased=unreleased)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            known = explained(self.place, error)
            if known is None:
                raise
            raise known from error
        except JSONDecodeError as error:
            reason = f"a text that it holds is no JSON ({error}); `ghostledger audit` says which"
            raise DatabaseDamagedError(self.place, reason) from error

    @contextmanager
    def _closed_by_errors(self) -> Iterator[None]:
        try:
            with self._reported():
                yield
        except BaseException:
            self.close()
            raise


def _assert_no_role(path: Path | None, role: str | None) -> None:
    if path is not None and role is not None:
        raise DatabaseUrlError(str(path), "a SQLite file knows no roles; leave the application role out")


def lock(connection: Connection) -> None:
    """Make other writers wait until this transaction ends. SQLite does so by how it begins."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT count FROM head FOR UPDATE")).all()


def _take_place(made: Path, path: Path) -> None:
    """Move a finished file to its place, unless somebody has been faster."""
    try:
        os.link(made, path)
    except FileExistsError as error:
        raise DatabaseExistsError(str(path)) from error
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        made.rename(path)  # a file system without links
