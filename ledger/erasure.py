"""Erasing a contributor's name: the row is deleted, and the database is made to forget its bytes. Proofs hold on."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from sqlmodel import Session

from ledger import personal, registry
from ledger.database import Ledger
from ledger.errors import DatabaseUnreachableError

PATIENCE_SECONDS = 5  # for whoever is reading an older copy of the books


@dataclass(frozen=True)
class Erased:
    """What became of a name: whether it was still there, and whether its bytes are gone from the database's files."""

    contributor: str
    found: bool
    forgotten: bool


def erase(books: Ledger, contributor: str) -> Erased:
    """Erase what a contributor is called. What is booked of them stays, under their id.

    Copies made before, such as backups and exports, are not reached. Raises `UnknownContributorError`, and
    `DatabaseUnreachableError` where the file cannot be rewritten.
    """

    def work(session: Session) -> bool:
        return personal.erase(session, registry.contributor(session, contributor).id)

    found = books.transact(work)
    return Erased(contributor, found, _forget(books))


def _forget(books: Ledger) -> bool:
    """Rewrite what still holds deleted rows. False while somebody reads that, or where the table is not one's own."""
    if books.engine.dialect.name == "postgresql":
        with books.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            mine = "SELECT pg_has_role(relowner, 'MEMBER') FROM pg_class WHERE oid = 'personal_data'::regclass"
            if not connection.exec_driver_sql(mine).scalar_one():
                return False
            connection.exec_driver_sql("VACUUM personal_data")
        return True
    raw = books.engine.raw_connection()
    raw.detach()  # it is set up in another way than the others, so it is not given back to them
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA query_only = OFF")
        cursor.execute(f"PRAGMA busy_timeout = {PATIENCE_SECONDS * 1000}")
        cursor.execute("VACUUM")
        busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        cursor.close()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return False
        reason = f"the name is erased, but its bytes may still be in the file: {error}; erase again"
        raise DatabaseUnreachableError(books.place, reason) from error
    finally:
        raw.close()
    return not busy
