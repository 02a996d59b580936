"""A negative share is taken from what the contributor staked, as far as it reaches; the house bears the rest.

A stake limits what can be lost: who deposited ten loses ten at most and owes nothing after, which is what tells
slashing from carrying.
"""

from __future__ import annotations

from ledger.policies.terms import Treated


def slash(debt: int, stake: int) -> Treated:
    """Take the stake, forgive the rest."""
    taken = min(debt, stake)
    return Treated(forgiven=debt - taken, owed=0, slashed=taken)
