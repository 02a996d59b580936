"""A price per nat: payouts plus house plus gap are rate × improvement, to the last minor unit.

Every part of the valuation is priced, whatever its sign: contributors, house and gap. The total is the floor of
rate × improvement, so the buyer never pays a fraction more; the parts are divided by largest remainder, ties going to
contributors by id, then the house, then the gap. The fee is charged to the buyer on top, since the price is what
contributors get. A run that made the model worse has a negative total: the buyer is credited.
"""

from __future__ import annotations

from itertools import chain

from ledger.money import NAT_EXPONENT
from ledger.policies.terms import Division, Shares, Terms, Worth, fee_of
from ledger.split import cut

_CONTRIBUTOR = 0
_HOUSE, _GAP = (1, "house"), (2, "gap")


def rate(worth: Worth, terms: Terms) -> Division:
    """Price every part."""
    price, nat = terms.amount.minor, 10**NAT_EXPONENT
    total = price * worth.improvement // nat
    contributors = (((_CONTRIBUTOR, name), price * value) for name, value in worth.values.items())
    others = ((_HOUSE, price * worth.house), (_GAP, price * worth.gap))
    divided = cut(chain(contributors, others), nat, total)

    def share(contributor: str, value: int) -> int:
        return divided.part((_CONTRIBUTOR, contributor), price * value)

    house, gap = (divided.part(key, numerator) for key, numerator in others)
    fee = fee_of(max(total, 0), terms.fee_basis_points)
    return Division(Shares(worth.values, share), house=house, gap=gap, fee=fee, funded=total + fee)
