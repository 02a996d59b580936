"""Whose samples, or which, are over-represented among a few drawn from all: exact tests, corrected for their number.

If the `k` drawn of `N` had nothing to do with a group of `K`, the number x of its members among them would be
hypergeometric, and P(X ≥ x) tells how surprising it is (Fisher's exact test, one-sided). Of m groups tested at once the
probabilities are corrected by Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979), which holds
however the groups depend on each other. Needs no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import comb
from typing import Any

from attribution.uses.errors import UseError


@dataclass(frozen=True)
class Hypothesis:
    """A group at one end of the ranking: `found` of its `size` members are among the `drawn` of `total` samples."""

    end: str  # "raised" or "lowered"
    grouping: str  # such as "contributor"
    group: str
    found: int
    drawn: int
    size: int
    total: int
    probability: float  # of so many or more by chance
    corrected: float  # for all groups and ends that were tested

    @property
    def times(self) -> float:
        """How many times as often as by chance."""
        return self.found * self.total / (self.drawn * self.size)

    def __str__(self) -> str:
        return (
            f"{self.found} of the {self.drawn} that {self.end} the loss most are of {self.grouping} {self.group}, "
            f"which has {self.size:,} of {self.total:,}: {self.times:.1f} times chance, p = {self.corrected:.2g}"
        )


def tail(found: int, drawn: int, size: int, total: int) -> Fraction:
    """P(X ≥ `found`), exactly, where `drawn` of `total` are drawn of whom `size` are members."""
    if not (0 <= found <= drawn <= total and found <= size <= total):
        raise UseError(f"{found} of {drawn} drawn, of a group of {size} in {total}, cannot be")
    ways = sum(comb(size, x) * comb(total - size, drawn - x) for x in range(found, min(drawn, size) + 1))
    return Fraction(ways, comb(total, drawn))


def hypotheses(
    ends: Mapping[str, Mapping[str, Sequence[Hashable]]], sizes: Mapping[str, Mapping[Any, int]]
) -> list[Hypothesis]:
    """A hypothesis for each group that has members at an end, the least probable by chance first.

    `ends` has for each end, by grouping, the groups of the samples drawn there; `sizes` by grouping how many of all
    samples each group has. Every group of `sizes` counts as tested at every end, found or not.
    """
    found: list[Hypothesis] = []
    for end, groupings in ends.items():
        for grouping, groups in groupings.items():
            total, counts = sum(sizes[grouping].values()), Counter(groups)
            for group, count in counts.items():
                size = sizes[grouping][group]
                chance = float(tail(count, len(groups), size, total))
                found.append(Hypothesis(end, grouping, str(group), count, len(groups), size, total, chance, 1.0))
    found.sort(key=lambda one: (one.probability, one.end, one.grouping, one.group))
    tests, least, corrected = sum(len(sizes[name]) for each in ends.values() for name in each), 0.0, []
    for rank, one in enumerate(found):
        least = max(least, min(1.0, (tests - rank) * one.probability))
        corrected.append(replace(one, corrected=least))
    return corrected
