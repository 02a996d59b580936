"""Errors of amounts and assets."""

from __future__ import annotations

from ledger.errors.base import LedgerError


class AmountError(LedgerError):
    """A text is not an exact amount of its asset."""

    def __init__(self, text: str, reason: str) -> None:
        self.text, self.reason = text, reason
        super().__init__(f"amount {text!r}: {reason}")


class AssetError(LedgerError):
    """An asset's code or exponent is not usable."""

    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(f"asset {code!r}: {reason}")


class StoredAmountError(LedgerError):
    """The database holds something that is not an amount where an amount belongs."""

    def __init__(self, stored: str) -> None:
        self.stored = stored
        super().__init__(f"the database holds {stored!r} where an amount belongs; run `ghostledger audit`")
