"""Fees of EIP-1559 transactions, in wei per gas: integers, and never more than a cap.

A node replaces a pending transaction by another of the same nonce only where both fees rise, by 10 % (geth, besu) or
12.5 % (others): here by at least an eighth, rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.errors.chain import FeeCapError


@dataclass(frozen=True)
class Fees:
    """The most that is paid per gas in all, and what of it goes to the block's proposer, in wei."""

    max_fee: int
    priority_fee: int

    def __post_init__(self) -> None:
        if not 0 <= self.priority_fee <= self.max_fee:
            raise ValueError(f"a priority fee of {self.priority_fee} is not between 0 and {self.max_fee}")


def first(base_fee: int, priority: int, cap: int) -> Fees:
    """Fees that last while the base fee doubles, or as far as the cap allows.

    Raises FeeCapError where the cap does not pay for the next block.
    """
    if cap < base_fee + priority:
        raise FeeCapError(cap, base_fee + priority)
    return Fees(min(2 * base_fee + priority, cap), priority)


def replacement(before: Fees, base_fee: int, priority: int, cap: int) -> Fees:
    """Fees of a transaction that takes the place of a pending one: both higher by an eighth or more.

    What the proposers ask now is followed as far as the cap allows. Raises FeeCapError where it does not allow the
    rise, or not the next block.
    """
    least_fee, least_priority = _raised(before.max_fee), _raised(before.priority_fee)
    needed = max(least_fee, base_fee + least_priority)
    if cap < needed:
        raise FeeCapError(cap, needed)
    raised = max(least_priority, min(priority, cap - base_fee))
    return Fees(max(least_fee, min(2 * base_fee + raised, cap)), raised)


def _raised(fee: int) -> int:
    return max(-(-fee * 9 // 8), fee + 1)
