"""What to buy for a budget: exactly for a few things, by density for many. Whole numbers; needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from attribution.uses.errors import UseError

STATES = 1 << 18  # partial choices that the exact search holds at a time

Id = TypeVar("Id")
Chain = tuple[()] | tuple[int, "Chain"]  # the things of a choice, the newest first: choices share what they share
Choice = tuple[int, int, Chain]  # its cost and value


@dataclass
class Filled:
    """What a greedy choice spent, what it is worth, and what no choice within the budget can exceed."""

    spent: int = 0
    worth: float = 0.0
    bound: float = 0.0
    bounded: bool = field(default=False, repr=False)  # the first thing that did not fit has been met


def best_choice(values: Sequence[int], costs: Sequence[int], budget: int) -> list[int]:
    """The choice of things, by their places, that is worth most of all that cost no more than `budget`.

    Exact: the 0/1 knapsack problem by dynamic programming over the choices that no other one beats in both cost and
    value (Nemhauser and Ullmann, "Discrete dynamic programming and capital allocation", Management Science 1969). Of
    equally good choices the cheaper is taken, then the one of earlier things. Things of no value are never bought.
    Raises `UseError` for costs below 0, and where more than `STATES` choices would have to be held.
    """
    if any(cost < 0 for cost in costs):
        raise UseError("a cost cannot be below 0")
    front: list[Choice] = [(0, 0, ())]  # costs and values both rising
    for place, (value, cost) in enumerate(zip(values, costs, strict=True)):
        if value <= 0 or cost > budget:
            continue
        bought: list[Choice] = [(c + cost, v + value, (place, chain)) for c, v, chain in front if c + cost <= budget]
        front = _undominated(front, bought)
        if len(front) > STATES:
            raise UseError(
                f"more than {STATES:,} choices are worth comparing: give prices in coarser units, or fewer contributors"
            )
    chain, chosen = front[-1][2], []
    while chain:
        place, chain = chain
        chosen.append(place)
    return sorted(chosen)


def fill(offers: Iterable[tuple[Id, int, float]], budget: int, filled: Filled) -> Iterable[Id]:
    """Take what fits, in the order of the offers: each an id, a whole cost, and a score; what it comes to in `filled`.

    With offers in falling order of score for their cost and scores above 0, the greedy rule for the knapsack problem:
    it misses the best choice by no more than the score of the first thing that did not fit, in part, as the bound says
    (Dantzig, "Discrete-variable extremum problems", Operations Research 1957).
    """
    for one, cost, score in offers:
        room = budget - filled.spent
        if cost > room:
            if not filled.bounded and score > 0:
                filled.bound, filled.bounded = filled.bound + score * room / cost, True
            continue
        filled.spent += cost
        filled.worth += score
        if not filled.bounded:
            filled.bound += max(score, 0.0)
        yield one


def _undominated(one: list[Choice], other: list[Choice]) -> list[Choice]:
    """Both lists in order of cost, without what costs no less and is worth no more than another."""
    merged: list[Choice] = []
    i = j = 0
    while i < len(one) or j < len(other):
        # Of equal cost the more valuable first, then the one without the newest thing.
        if j == len(other) or (i < len(one) and (one[i][0], -one[i][1]) <= (other[j][0], -other[j][1])):
            found, i = one[i], i + 1
        else:
            found, j = other[j], j + 1
        if not merged or found[1] > merged[-1][1]:
            merged.append(found)
    return merged
