"""The value of a step along its straight path: Gauss-Lobatto quadrature with refinement (DESIGN §3.2).

With g the validation gradient and Δ the displacement, the path-averaged gradient ∫₀¹ g(θ + sΔ) ds, multiplied by any
part of −Δ, gives that part's value. Both ends of the path are nodes, so neighbouring steps share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from attribution.objective import Evaluation
from attribution.record import Floats

DEEPEST_BISECTION = 5
RESERVE = 512  # evaluations that a run may spend on refining, besides `USUAL` a path
USUAL = 4


@cache
def lobatto(nodes: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Places in [0, 1] and weights (summing to 1) of the Gauss-Lobatto rule with `nodes` ≥ 2 nodes.

    Exact for polynomials up to degree ``2 * nodes - 3`` (Abramowitz & Stegun 25.4.32).
    """
    if nodes < 2:
        raise ValueError("a Gauss-Lobatto rule has at least 2 nodes")
    legendre = np.polynomial.legendre.Legendre.basis(nodes - 1)
    x = np.concatenate(([-1.0], np.sort(legendre.deriv().roots().real), [1.0]))
    x = (x - x[::-1]) / 2  # the rule is symmetric; the roots are so only to rounding
    weights = 2 / (nodes * (nodes - 1) * legendre(x) ** 2)
    weights /= weights.sum()
    return tuple(float(v) for v in (x + 1) / 2), tuple(float(w) for w in weights)


@dataclass(frozen=True)
class Allowance:
    """The gap that a step may leave, ``[tasks]`` in nats: from `least`, not above 0, to `most`, not below."""

    least: Floats
    most: Floats

    def holds(self, gap: Floats) -> bool:
        """Whether `gap` ``[tasks]`` is allowed for every task."""
        return bool(np.all((self.least <= gap) & (gap <= self.most)))

    def half(self) -> Allowance:
        """The part of half the path."""
        return Allowance(self.least / 2, self.most / 2)


@dataclass(frozen=True)
class PathAverage:
    """The path-averaged gradients ``[tasks, P]``, and the number of nodes that went into them."""

    gradients: Tensor
    nodes: int


class StraightPath:
    """The straight path of one step, from `start` to `end` ``[P]``, along which gradients are averaged.

    `before` and `after` are the evaluations there; `evaluate` gives those at parameters ``[P]`` between. However many
    there are, no more than `held` gradients are held at once.
    """

    def __init__(
        self,
        before: Evaluation,
        after: Evaluation,
        start: Tensor,
        end: Tensor,
        evaluate: Callable[[Tensor], Evaluation],
    ) -> None:
        self._before, self._after = before, after
        self._start, self._end, self._evaluate = start, end, evaluate
        self._nodes = 2

    @staticmethod
    def held(bisections: int | None) -> int:
        """How many gradients are held at once at most, if a path is halved so often; None: the nodes are fixed.

        Both ends, three places between, the right ends of what was halved, and averages of a part by two rules and
        of all; where the nodes are fixed, both ends, the average and the place under way.
        """
        return 4 if bisections is None else 8 + bisections

    def start_only(self) -> PathAverage:
        """The gradient at the start alone: the first-order method."""
        return PathAverage(self._before.gradients, 1)

    def fixed(self, nodes: int) -> PathAverage:
        """The average by the rule with exactly `nodes` nodes."""
        return PathAverage(self._weighted(nodes, 0.0, 1.0, {0.0: self._before, 1.0: self._after}, keep=False), nodes)

    def adaptive(self, allowance: Allowance, bisections: int = DEEPEST_BISECTION) -> PathAverage:
        """The average by the cheapest rule of 2, 3 or 5 nodes whose gap is within `allowance`.

        Where five nodes are not enough the path is halved, at most `bisections` times, each half with its
        part of the allowance. What is still missed then stays in the step's gap.
        """
        total: Tensor | None = None
        way = self._end - self._start
        ahead = [(0.0, 1.0, self._before, self._after, allowance, bisections)]
        while ahead:
            low, high, first, last, allowed, deeper = ahead.pop()
            known = {low: first, high: last}
            for nodes in (2, 3, 5):
                average = self._weighted(nodes, low, high, known)
                gap = first.losses - last.losses + torch.mv(average, way).double().cpu().numpy()
                if allowed.holds(gap) or (nodes == 5 and deeper == 0):
                    total = average if total is None else total.add_(average)
                    break
            else:
                middle = (low + high) / 2
                ahead.append((middle, high, known[middle], last, allowed.half(), deeper - 1))
                ahead.append((low, middle, first, known[middle], allowed.half(), deeper - 1))
        assert total is not None
        return PathAverage(total, self._nodes)

    def _weighted(
        self, nodes: int, low: float, high: float, known: dict[float, Evaluation], *, keep: bool = True
    ) -> Tensor:
        """The integral of the gradients from `low` to `high`, ``[tasks, P]``.

        What it evaluates goes into `known`, if it is to `keep` that.
        """
        if nodes == 2 and (low, high) == (0.0, 1.0):
            return torch.lerp(known[low].gradients, known[high].gradients, 0.5)
        total: Tensor | None = None
        for x, weight in zip(*lobatto(nodes), strict=True):
            s = low + (high - low) * x
            if (here := known.get(s)) is None:
                here = self._evaluate(torch.lerp(self._start, self._end, s))
                self._nodes += 1
                if keep:
                    known[s] = here
            weight *= high - low
            total = here.gradients * weight if total is None else total.add_(here.gradients, alpha=weight)
        assert total is not None
        return total


class GapBudget:
    """How much gap a step may leave, so that the run's total stays within `tolerance` of its improvement.

    Three quarters of the tolerance are spent: half of what is left of them at a time, or a quarter of the tolerance of
    the step's own change where that is more. A step may always leave a fiftieth of the tolerance of its own change,
    what the rounding of the loss alone can explain, and what makes good for the gaps of steps before it.

    Evaluations have a budget too: a run that does not improve, along which no gap is small enough, must not cost a
    hundred times the training. Once it is spent, paths are not halved any more, and the gap says what that left.
    """

    def __init__(self, tolerance: float, tasks: int, epsilon: float) -> None:
        self._tolerance, self._epsilon = tolerance, epsilon
        self._spent = np.zeros(tasks)
        self._first: Floats | None = None
        self._evaluations = 0
        self._paths = 0

    def allowance(self, before: Floats, after: Floats) -> Allowance:
        """The gap that the step from losses `before` to `after` ``[tasks]`` may leave."""
        if self._first is None:
            self._first = before.copy()
        # While the loss is above where it began there is nothing to spend: the run may yet end with little.
        improvement = np.maximum(self._first - after, 0.0)
        # A task that hardly moved must not ask for digits that its loss does not have.
        improvement = np.maximum(improvement, 0.01 * improvement.max(initial=0.0))
        left = np.maximum(0.75 * self._tolerance * improvement - np.abs(self._spent), 0.0)
        own = self._tolerance * np.abs(before - after)
        share = np.maximum(left / 2, np.minimum(left, own / 4))
        rounding = 8 * self._epsilon * np.maximum(np.abs(before), np.abs(after))
        either_way = np.maximum(np.maximum(share, own / 50), rounding)
        return Allowance(-either_way - np.maximum(self._spent, 0.0), either_way + np.maximum(-self._spent, 0.0))

    @property
    def bisections(self) -> int:
        """How many times the next path may be halved."""
        return DEEPEST_BISECTION if self._evaluations <= RESERVE + USUAL * self._paths else 0

    def spend(self, gap: Floats, nodes: int) -> None:
        """Book the `gap` ``[tasks]`` that a step left, and the `nodes` that were evaluated for it."""
        self._spent = self._spent + gap
        self._evaluations += nodes - 1  # neighbouring paths share their ends
        self._paths += 1
