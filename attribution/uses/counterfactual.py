"""The check of an explanation: train again without some samples, and beside it without as many drawn at random.

Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from attribution.uses.errors import UseError


@dataclass(frozen=True)
class Counterfactual:
    """The prediction's loss in nats: with all samples, without the `removed`, and without as many at random."""

    removed: int
    total: int
    before: float
    without: float
    at_random: list[float]
    raises: bool = False  # whether the removal was expected to raise the loss, not to lower it

    @property
    def chance(self) -> float:
        """The probability that a random removal goes as far the expected way, by the draws made: at least 1 in n + 1.

        A permutation test of n = the draws.
        """
        sign = -1 if self.raises else 1
        as_far = sum(sign * loss <= sign * self.without for loss in self.at_random)
        return (1 + as_far) / (1 + len(self.at_random))


def counterfactual(
    loss_without: Callable[[frozenset[int]], float],
    total: int,
    removed: Collection[int],
    *,
    before: float | None = None,
    raises: bool = False,
    draws: int = 3,
    seed: int = 0,
    advance: Callable[[int], None] = lambda trainings: None,
) -> Counterfactual:
    """Train without the samples of the numbers `removed`, of `total`, and without as many drawn at random, in turn.

    `loss_without(numbers)` trains on all others, with one configuration and seed, and gives the prediction's loss;
    `before` is the loss with all, trained for where it is not given; `raises` says that it is expected to rise.
    `advance` is told of each training. Raises `UseError` where nothing is left to remove or to train on.
    """
    chosen = frozenset(removed)
    if not chosen or len(chosen) >= total or not all(0 <= number < total for number in chosen):
        raise UseError(f"from 1 to {total - 1} of {total} samples can be removed, not {len(chosen)}")
    if draws < 1:
        raise UseError("at least one random removal is needed to compare with")

    def trained(numbers: frozenset[int]) -> float:
        loss = float(loss_without(numbers))
        advance(1)
        return loss

    whole = trained(frozenset()) if before is None else before
    without, draw = trained(chosen), np.random.default_rng(seed)
    others = [trained(frozenset(_drawn(draw, total, len(chosen)))) for _ in range(draws)]
    return Counterfactual(len(chosen), total, whole, without, others, raises)


def _drawn(draw: np.random.Generator, total: int, count: int) -> Sequence[int]:
    return [int(number) for number in draw.choice(total, count, replace=False)]
