"""What a database says when it refuses, told apart: each kind is one error with its remedy."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import DBAPIError, OperationalError

from ledger.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseFullError,
    DatabasePermissionError,
    DatabaseReadOnlyError,
    DatabaseUnreachableError,
    LedgerError,
    NotALedgerError,
    WriteConflictError,
)

# https://www.sqlite.org/rescode.html
_SQLITE: dict[int, Callable[[str, str], LedgerError]] = {
    sqlite3.SQLITE_PERM: DatabasePermissionError,
    sqlite3.SQLITE_BUSY: DatabaseBusyError,
    sqlite3.SQLITE_LOCKED: DatabaseBusyError,
    sqlite3.SQLITE_READONLY: DatabaseReadOnlyError,
    sqlite3.SQLITE_FULL: DatabaseFullError,
    sqlite3.SQLITE_CORRUPT: DatabaseDamagedError,
    sqlite3.SQLITE_NOTADB: NotALedgerError,
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRESQL: dict[str, Callable[[str, str], LedgerError]] = {
    "25006": DatabaseReadOnlyError,
    "40001": WriteConflictError,  # serialization failure
    "40P01": WriteConflictError,  # deadlock
    "42501": DatabasePermissionError,
    "53100": DatabaseFullError,
    "55P03": DatabaseBusyError,  # lock_timeout
    "57014": DatabaseBusyError,  # statement_timeout
    "XX001": DatabaseDamagedError,
    "XX002": DatabaseDamagedError,
}


def explained(place: str, error: DBAPIError) -> LedgerError | None:
    """The ledger's own error for what a driver raised; None for a broken rule, which only a mistake here can break."""
    cause = error.orig
    words = " ".join(str(cause).split())
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # an extended code's low byte is its kind
        kind = _SQLITE.get(code)
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) and not _writable(Path(place).parent):
            # Reading needs files beside it too, by which readers and the writer know of one another.
            return DatabaseReadOnlyError(place, "its folder cannot be written")
        if words.startswith("Could not decode to UTF-8"):  # the driver's own words, without a code
            return DatabaseDamagedError(place, words)
    else:
        kind = _POSTGRESQL.get(getattr(cause, "sqlstate", None) or "")
    if kind is not None:
        return kind(place, words)
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return DatabaseUnreachableError(place, words)
    return None


def of_system(place: str, error: OSError) -> LedgerError:
    """The ledger's own error for what the operating system said of a file or a folder."""
    words = error.strerror or str(error)
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return DatabasePermissionError(place, words)
        case errno.EROFS:
            return DatabaseReadOnlyError(place, words)
        case errno.ENOSPC | errno.EDQUOT:
            return DatabaseFullError(place, words)
    return DatabaseUnreachableError(place, words)


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
