"""Errors of opening, reaching and writing the database."""

from __future__ import annotations

from ledger.errors.base import LedgerError


class DatabaseMissingError(LedgerError):
    """There is no ledger at the place that was named."""

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(f"{place}: there is no ledger here; make one with `ghostledger init`")


class DatabaseExistsError(LedgerError):
    """A new ledger was asked for where something already is."""

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(f"{place}: exists already; a ledger is never overwritten, choose another place")


class NotALedgerError(LedgerError):
    """The file or database is something other than a ledger."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: is not a ledger: {reason}")


class SchemaVersionError(LedgerError):
    """The ledger's schema is older or newer than this program's, or from before the first release."""

    def __init__(self, place: str, found: str, expected: str, *, newer: bool, unreleased: bool = False) -> None:
        self.place, self.found, self.expected = place, found, expected
        self.newer, self.unreleased = newer, unreleased
        if unreleased:
            remedy = (
                "it was made before the first release and has to be made anew with `ghostledger init`; "
                "its runs can be imported again with `ghostledger import-run`"
            )
        else:
            remedy = "install a newer ghostledger" if newer else "upgrade it with `ghostledger init --upgrade`"
        super().__init__(f"{place}: has schema {found}, this program reads {expected}: {remedy}")


class SchemaInUseError(LedgerError):
    """Going back to an earlier schema would drop rows."""

    def __init__(self, revision: str, table: str, rows: int) -> None:
        self.revision, self.table, self.rows = revision, table, rows
        super().__init__(
            f"the schema before {revision} has no place for the {rows} rows of {table}, and a ledger keeps what it "
            "holds; go on with the program that this schema belongs to"
        )


class DatabaseUrlError(LedgerError):
    """The database's URL cannot be used: it is malformed, or its driver is not installed."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url}: {reason}")


class DatabaseUnreachableError(LedgerError):
    """The database cannot be reached: not running, no such database, not let in, or the connection was lost."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(
            f"{place}: cannot be reached: {reason}; when it can be again, repeat the request: nothing is done twice"
        )


class DatabaseBusyError(LedgerError):
    """Others have been writing for longer than a writer waits."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: is busy with others: {reason}; nothing was stored, try again later")


class DatabaseReadOnlyError(LedgerError):
    """The database, its file or its folder, or the session takes no change."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(
            f"{place}: is read-only: {reason}; nothing was stored, make it writable or copy it to where it is"
        )


class DatabaseFullError(LedgerError):
    """There is no room for more."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: is out of room: {reason}; nothing was stored, free some space and try again")


class DatabasePermissionError(LedgerError):
    """The account or the role that asks may not do this."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(
            f"{place}: {reason}; nothing was stored, use an account or a role that may: the ledger's owner, or the "
            "application role that it was given to"
        )


class DatabaseDamagedError(LedgerError):
    """The database finds its own structure broken."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: is damaged: {reason}; restore it from a backup")


class WriteConflictError(LedgerError):
    """The database undid a transaction in favour of another: a deadlock, or reads that no longer hold."""

    def __init__(self, place: str, reason: str, attempts: int = 1) -> None:
        self.place, self.reason, self.attempts = place, reason, attempts
        times = "once" if attempts == 1 else f"{attempts} times"
        super().__init__(f"{place}: gave way to others {times}: {reason}; nothing was stored, try again")


class ApplicationRoleError(LedgerError):
    """A ledger cannot be given to a role in the way that was asked for."""

    def __init__(self, role: str, reason: str) -> None:
        self.role, self.reason = role, reason
        super().__init__(f"role {role!r} {reason}")
