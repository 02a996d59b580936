"""A price per nat: payouts plus house plus gap are rate × improvement, to the last minor unit.

Every part of the valuation is priced, whatever its sign: contributors, house and gap. The total is the floor of
rate × improvement, so the buyer never pays a fraction more; the parts are divided by largest remainder, ties going to
contributors by id, then the house, then the gap. The fee is charged to the buyer on top, since the price is what
contributors get. A run that made the model worse has a negative total: the buyer is credited.
"""

from __future__ import annotations

from ledger.money import NAT_EXPONENT
from ledger.policies.terms import Division, Terms, Worth, fee_of
from ledger.split import largest_remainder

_CONTRIBUTOR, _HOUSE, _GAP = 0, (1, "house"), (2, "gap")


def rate(worth: Worth, terms: Terms) -> Division:
    """Price every part."""
    price, nat = terms.amount.minor, 10**NAT_EXPONENT
    total = price * worth.improvement // nat
    numerators = {(_CONTRIBUTOR, contributor): price * value for contributor, value in worth.values.items()}
    numerators |= {_HOUSE: price * worth.house, _GAP: price * worth.gap}
    parts = largest_remainder(numerators, nat, total)
    shares = {contributor: parts[_CONTRIBUTOR, contributor] for contributor in worth.values}
    fee = fee_of(max(total, 0), terms.fee_basis_points)
    return Division(shares, house=parts[_HOUSE], gap=parts[_GAP], fee=fee, funded=total + fee)
