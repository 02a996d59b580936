"""Exact division of whole numbers by largest remainder. Pure; integers of any size, parts in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from ledger.spool import ordered

K = TypeVar("K", bound="str | tuple[int, str]")


@dataclass(frozen=True)
class Cut(Generic[K]):
    """A division by largest remainder that has been decided: what each part gets can be asked one at a time."""

    denominator: int
    last: tuple[int, K] | None  # of the parts that get a unit more: the last one's remainder, negated, and its key

    def part(self, key: K, numerator: int) -> int:
        """What one part gets, of those that were divided."""
        floor, remainder = divmod(numerator, self.denominator)
        more = remainder and self.last is not None and (-remainder, key) <= self.last
        return floor + 1 if more else floor


def cut(numerators: Iterable[tuple[K, int]], denominator: int, total: int) -> Cut[K]:
    """Divide parts that are read once, in memory that does not grow with them; see `largest_remainder`."""
    if denominator <= 0:
        raise ValueError(f"the denominator {denominator} is not positive")
    floors = count = 0

    def remainders() -> Iterator[tuple[int, K]]:
        nonlocal floors, count
        for key, numerator in numerators:
            floor, remainder = divmod(numerator, denominator)
            floors += floor
            if remainder:
                count += 1
                yield -remainder, key

    largest_first = ordered(remainders())
    left = total - floors
    if not 0 <= left <= count:
        raise ValueError(f"{total} is not the sum of these parts: flooring leaves {left} units for {count} of them")
    return Cut(denominator, next(islice(largest_first, left - 1, None)) if left else None)


def largest_remainder(numerators: Mapping[K, int], denominator: int, total: int) -> dict[K, int]:
    """Whole numbers that sum to `total`, each the floor of ``numerator / denominator`` or one more.

    The units that flooring leaves over go, one each, to the largest remainders; ties go by key, smallest first. An
    exact quotient never changes, so a part of nothing gets nothing. Numerators may be negative (floors go down).
    Raises `ValueError` unless the floors leave between none and one unit for each part that has a remainder.
    """
    made = cut(numerators.items(), denominator, total)
    return {key: made.part(key, numerator) for key, numerator in numerators.items()}


def proportional(total: int, weights: Mapping[K, int]) -> dict[K, int]:
    """`total` divided in proportion to weights, none of them negative and not all of them zero."""
    if total < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("a proportional division has no negative total or weight")
    whole = sum(weights.values())
    return largest_remainder({key: total * weight for key, weight in weights.items()}, whole, total)
