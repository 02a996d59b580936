"""A negative share is paid nothing and owes nothing: the house bears it."""

from __future__ import annotations

from ledger.policies.terms import Treated


def floor(debt: int, stake: int = 0) -> Treated:
    """Forgive the debt, and leave the stake alone."""
    return Treated(forgiven=debt, owed=0)
