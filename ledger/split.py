"""Exact division of whole numbers by largest remainder. Pure; integers of any size, parts in any order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K", bound="str | tuple[int, str]")


def largest_remainder(numerators: Mapping[K, int], denominator: int, total: int) -> dict[K, int]:
    """Whole numbers that sum to `total`, each the floor of ``numerator / denominator`` or one more.

    The units that flooring leaves over go, one each, to the largest remainders; ties go by key, smallest first. An
    exact quotient never changes, so a part of nothing gets nothing. Numerators may be negative (floors go down).
    Raises `ValueError` unless the floors leave between none and one unit for each part that has a remainder.
    """
    if denominator <= 0:
        raise ValueError(f"the denominator {denominator} is not positive")
    parts: dict[K, int] = {}
    remainders: dict[K, int] = {}
    for key, numerator in numerators.items():
        parts[key], remainder = divmod(numerator, denominator)
        if remainder:
            remainders[key] = remainder
    left = total - sum(parts.values())
    if not 0 <= left <= len(remainders):
        raise ValueError(
            f"{total} is not the sum of these parts: flooring leaves {left} units for {len(remainders)} of them"
        )
    for key in sorted(remainders, key=lambda key: (-remainders[key], key))[:left]:
        parts[key] += 1
    return parts


def proportional(total: int, weights: Mapping[K, int]) -> dict[K, int]:
    """`total` divided in proportion to weights, none of them negative and not all of them zero."""
    if total < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("a proportional division has no negative total or weight")
    whole = sum(weights.values())
    return largest_remainder({key: total * weight for key, weight in weights.items()}, whole, total)
