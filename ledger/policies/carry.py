"""A negative share is owed: a receivable, netted from what the contributor earns later in the same asset."""

from __future__ import annotations

from ledger.policies.terms import Treated


def carry(debt: int, stake: int = 0) -> Treated:
    """Keep the debt, and leave the stake alone."""
    return Treated(forgiven=0, owed=debt)
