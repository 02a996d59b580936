"""A negative share is paid nothing and owes nothing: the house bears it."""

from __future__ import annotations

from ledger.policies.terms import Treated


def floor(debt: int) -> Treated:
    """Forgive the debt."""
    return Treated(forgiven=debt, owed=0)
