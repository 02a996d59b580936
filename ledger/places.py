"""Where a ledger lies: a SQLite file or a PostgreSQL database, and how a connection to either is set up."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError

from ledger.errors import DatabaseDamagedError, DatabaseUrlError

WAIT_SECONDS = 60.0  # for whoever is writing
CONNECT_SECONDS = 10
# What a transaction is for, as an option of its connection.
READING, MIGRATING = "ledger_reading", "ledger_migrating"

_DRIVER, _SERVERS = "postgresql+psycopg", ("postgresql", "postgres")


def path_of(place: str | os.PathLike[str]) -> Path | None:
    """The file that a place names, or None where it is a PostgreSQL database. Raises `DatabaseUrlError`."""
    if not isinstance(place, str) or "://" not in place:
        return Path(place).resolve()
    url = _url(place)
    if url.get_backend_name() in _SERVERS:
        return None
    if url.get_backend_name() != "sqlite":
        raise DatabaseUrlError(shown(url), "a ledger lies in a SQLite file or in PostgreSQL: postgresql://…")
    if not url.database or url.database == ":memory:":
        raise DatabaseUrlError(place, "a ledger in memory is gone when the program ends; name a file")
    return Path(url.database).resolve()


def shown(place: str | URL) -> str:
    """A URL without its password, wherever it states one."""
    url = _url(place) if isinstance(place, str) else place
    secret = [name for name in url.query if "password" in name]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def file_engine(path: Path, *, new: bool = False) -> Engine:
    """An engine on a SQLite file. A new one is told how it keeps its journal: a file that is there is not changed."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _prepare_sqlite)
    if new:
        event.listen(engine, "connect", _log_ahead)
    event.listen(engine, "begin", _begin_sqlite)
    event.listen(engine, "handle_error", partial(_garbled, str(path)))
    return engine


def server_engine(place: str) -> Engine:
    """An engine on a PostgreSQL database. Raises `DatabaseUrlError`."""
    url = _url(place)
    if url.drivername not in (*_SERVERS, _DRIVER):
        raise DatabaseUrlError(shown(url), f"its driver is not the ledger's; write {_DRIVER}://… or postgresql://…")
    defaults = {"connect_timeout": CONNECT_SECONDS, "application_name": "ghostledger"}
    arguments = {name: value for name, value in defaults.items() if name not in url.query}
    try:
        engine = create_engine(url.set(drivername=_DRIVER), pool_pre_ping=True, connect_args=arguments)
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed: pip install 'ghostledger[postgresql]'"
        raise DatabaseUrlError(shown(url), reason) from error
    event.listen(engine, "connect", _prepare_postgresql)
    event.listen(engine, "begin", _begin_postgresql)
    # Many rows go into one statement: without it the driver sends one a row.
    engine.dialect.use_insertmanyvalues_wo_returning = True
    return engine


def _url(place: str) -> URL:
    try:
        return make_url(place)
    except ArgumentError as error:
        raise DatabaseUrlError(re.sub("//.*@", "//***@", place), "is not a database URL") from error


def _wait_milliseconds() -> int:
    return round(WAIT_SECONDS * 1000)


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # sqlite3 would begin late, after the first read; `_begin_sqlite` does it
    cursor = connection.cursor()
    for pragma in (f"busy_timeout = {_wait_milliseconds()}", "recursive_triggers = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _log_ahead(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")  # readers and the writer do not wait for one another; it is kept


def _garbled(place: str, context: ExceptionContext) -> None:
    """Name a file so damaged that the driver could not even read what SQLite said of it."""
    if isinstance(context.original_exception, UnicodeDecodeError):
        raise DatabaseDamagedError(place, "its words are no text") from context.original_exception


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    reading = options.get(READING, False)
    # A migration that rebuilds a table drops it first, while others still refer to it; it checks them afterwards.
    referring = "OFF" if options.get(MIGRATING, False) else "ON"
    connection.exec_driver_sql(f"PRAGMA foreign_keys = {referring}")
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reading else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _prepare_postgresql(connection: Any, _: object) -> None:
    connection.execute(f"SET lock_timeout = '{_wait_milliseconds()}ms'")
    connection.commit()


def _begin_postgresql(connection: Connection) -> None:
    """The isolation is stated, whatever the server's own default is. That a database is read-only is for it to say."""
    reading = connection.get_execution_options().get(READING, False)
    level = "REPEATABLE READ, READ ONLY" if reading else "READ COMMITTED"
    connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL {level}")
