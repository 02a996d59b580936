"""Errors of disputes."""

from __future__ import annotations

from ledger.errors.base import LedgerError


class DisputeError(LedgerError):
    """A dispute cannot be opened or resolved in the way that was asked for."""


class UnknownDisputeError(DisputeError):
    """No dispute was opened by this entry."""

    def __init__(self, entry: int) -> None:
        self.entry = entry
        super().__init__(f"entry {entry} is no dispute; see `ghostledger dispute list`")


class DisputedAmountError(DisputeError):
    """More is claimed than a settlement gave the respondent, or than is still there. Amounts are decimal text."""

    def __init__(self, respondent: str, settlement: int, asked: str, left: str, reason: str) -> None:
        self.respondent, self.settlement, self.reason = respondent, settlement, reason
        self.asked, self.left = asked, left
        super().__init__(
            f"{asked} of what settlement {settlement} gave to {respondent} cannot be disputed: {reason}; "
            f"{left} can be disputed"
        )
