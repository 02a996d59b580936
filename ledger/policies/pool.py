"""A budget divided in proportion to the positive values.

The fee comes off the budget, rounded down; the rest is divided by largest remainder among the contributors whose value
is positive. That puts a price on a nat, rest / Σ positive values, and a negative value is a debt at that price, rounded
down, which the house would receive. With `floor` that debt is forgiven and the house receives nothing.
"""

from __future__ import annotations

from ledger.policies.terms import Division, Terms, Worth, fee_of
from ledger.split import proportional


def pool(worth: Worth, terms: Terms) -> Division:
    """Divide the budget. Raises `ValueError` where no value is positive."""
    budget = terms.amount.minor
    fee = fee_of(budget, terms.fee_basis_points)
    positive = {contributor: value for contributor, value in worth.values.items() if value > 0}
    whole = sum(positive.values())
    shares: dict[str, int] = dict(proportional(budget - fee, positive))
    for contributor, value in worth.values.items():
        if value <= 0:
            shares[contributor] = -(-value * (budget - fee) // whole)
    debts = -sum(share for share in shares.values() if share < 0)
    return Division(shares, house=debts, gap=0, fee=fee, funded=budget)
