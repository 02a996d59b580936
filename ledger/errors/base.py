"""The one root of everything this package raises on purpose."""

from __future__ import annotations


class LedgerError(Exception):
    """Root of the errors of the ledger package; the message is one sentence that says what to do."""
