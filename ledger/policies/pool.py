"""A budget divided in proportion to the positive values.

The fee comes off the budget, rounded down; the rest is divided by largest remainder among the contributors whose value
is positive. That puts a price on a nat, rest / Σ positive values, and a negative value is a debt at that price, rounded
down, which the house would receive. With `floor` that debt is forgiven and the house receives nothing.
"""

from __future__ import annotations

from ledger.policies.terms import Division, Shares, Terms, Worth, fee_of
from ledger.split import cut


def pool(worth: Worth, terms: Terms) -> Division:
    """Divide the budget. Raises `ValueError` where no value is positive."""
    budget = terms.amount.minor
    fee = fee_of(budget, terms.fee_basis_points)
    rest = budget - fee
    whole = sum(value for value in worth.values.values() if value > 0)
    divided = cut(((name, rest * value) for name, value in worth.values.items() if value > 0), whole, rest)

    def share(contributor: str, value: int) -> int:
        return divided.part(contributor, rest * value) if value > 0 else -(-value * rest // whole)

    debts = sum(-value * rest // whole for value in worth.values.values() if value < 0)
    return Division(Shares(worth.values, share), house=debts, gap=0, fee=fee, funded=budget)
