"""Errors of writing the books out for other programs."""

from __future__ import annotations

from ledger.errors.base import LedgerError


class ExportDigitsError(LedgerError):
    """A number is longer than the program that an export is for can add up."""

    def __init__(self, where: str, commodity: str, needed: int, digits: int) -> None:
        self.where, self.commodity, self.needed, self.digits = where, commodity, needed, digits
        super().__init__(
            f"{where} needs {needed} digits in {commodity}, and beancount rounds beyond {digits}: "
            f"export for hledger, or with --digits {max(needed, 100)} for a beancount that is told to count so far"
        )


class ExportFileError(LedgerError):
    """An export cannot be written where it was meant to go."""

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place}: the export cannot be written: {reason}")
