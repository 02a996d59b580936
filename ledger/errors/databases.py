"""Errors of opening and reaching the database."""

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
    """The ledger's schema is older or newer than this program's."""

    def __init__(self, place: str, found: str, expected: str, newer: bool) -> None:
        self.place, self.found, self.expected, self.newer = place, found, expected, newer
        remedy = "install a newer ghostledger" if newer else "upgrade it with `ghostledger init --upgrade`"
        super().__init__(f"{place}: has schema {found}, this program reads {expected}: {remedy}")


class DatabaseUrlError(LedgerError):
    """The database's URL cannot be used: it is malformed, or its driver is not installed."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url}: {reason}")


class DatabaseUnreachableError(LedgerError):
    """The database refused the connection or the transaction (locked, no permission, not running)."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: cannot be used: {reason}")
