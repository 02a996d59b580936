"""Who is paid in a contributor's stead: payees, each with a whole number of parts of whatever becomes payable."""

from __future__ import annotations

from collections.abc import Mapping

from ledger.split import proportional


def split(amount: int, contributor: str, payees: Mapping[str, int]) -> dict[str, int]:
    """What each payee gets, by largest remainder, ties by id; everything to the contributor where there is none."""
    if not payees:
        return {contributor: amount}
    return proportional(amount, payees)
