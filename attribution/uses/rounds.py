"""Selection in rounds: a part of the budget at a time, what is chosen metered anew before the next part is spent.

The scores of one run add up, what data teaches does not: of two records that teach the same each is worth as much as
the other, and a choice by scores takes both. So the budget is spent in rounds. Before each, the caller trains on what
is chosen so far and meters the rest beside it; what a candidate then scores is what it adds to that. It is the greedy
rule for functions with diminishing returns (Nemhauser, Wolsey and Fisher, "An analysis of approximations for maximizing
submodular set functions", Mathematical Programming 1978), with estimates for marginal values and several taken at once:
its guarantee of 1 − 1/e is not ours. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attribution.steps import Floats, Integers
from attribution.uses.errors import UseError
from attribution.uses.knapsack import Filled, fill

Rescore = Callable[[Integers], npt.ArrayLike]


@dataclass(frozen=True)
class Rounds:
    """What was chosen, in the order in which it was."""

    chosen: Integers  # [m], places of candidates
    round: Integers  # [m], the round that took each, from 0
    scores: Floats  # [m], nats: what each scored in the round that took it
    spent: int


def select_in_rounds(
    rescore: Rescore, costs: Sequence[int] | Integers, budget: int, *, rounds: int = 4, fill_up: bool = False
) -> Rounds:
    """Choose from candidates for a budget, in `rounds` equal parts of it.

    `rescore(chosen)` is given the places of what is chosen so far ``[m]`` and answers with the scores ``[n]`` of all
    candidates beside it, in nats, positive = would lower the loss; those of the chosen are not looked at. `costs`
    ``[n]`` and `budget` are whole numbers in one unit. In each round the candidates that score most for their cost are
    taken as long as the part of the budget up to then lasts; what scores 0 or less only with `fill_up`. It ends early
    where a round finds nothing to take and there is no more to spend. Raises `UseError` for costs, budgets or scores
    that make no sense.
    """
    prices = [_whole(cost, "a cost") for cost in np.asarray(costs).tolist()]
    whole, count = _whole(budget, "the budget"), _whole(rounds, "the number of rounds")
    if count < 1:
        raise UseError("a selection takes at least one round")
    chosen: list[int] = []
    taken_in: list[int] = []
    worth: list[float] = []
    spent = 0
    for number in range(count):
        scores = _scores(rescore(np.array(chosen, dtype=np.int64)), len(prices))
        room = whole * (number + 1) // count - spent
        taken = set(chosen)
        offers = [
            (place, cost, score)
            for place, (cost, score) in enumerate(zip(prices, scores.tolist(), strict=True))
            if place not in taken and (fill_up or score > 0)
        ]
        # Of equals the earlier candidate first: the sort is stable.
        offers.sort(key=lambda offer: -_density(offer[1], offer[2]))
        filled = Filled()
        for place in fill(offers, room, filled):
            chosen.append(place)
            taken_in.append(number)
            worth.append(float(scores[place]))
        spent += filled.spent
        if len(chosen) == len(prices):
            break
    return Rounds(
        np.array(chosen, dtype=np.int64), np.array(taken_in, dtype=np.int64), np.array(worth, dtype=np.float64), spent
    )


def _density(cost: int, score: float) -> float:
    return score / cost if cost else np.copysign(np.inf, score) if score else 0.0


def _whole(given: object, what: str) -> int:
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < 0:
        raise UseError(f"{what} is a whole number from 0 on, not {given!r}: choose a smaller unit")
    return int(given)


def _scores(given: npt.ArrayLike, count: int) -> Floats:
    scores: Floats = np.asarray(given, dtype=np.float64)
    if scores.shape != (count,) or not np.isfinite(scores).all():
        raise UseError(f"metering again must give a finite score for each of {count} candidates, not {scores.shape}")
    return scores
