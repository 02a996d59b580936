"""Values along one straight path after another: over a step each, over k steps, or over the whole run (DESIGN §3.6)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from attribution.exact import MOST_PLAYERS, enumerated_or_sampled, step_utility
from attribution.objective import Evaluation
from attribution.options import Every, Method
from attribution.path import DEEPEST_BISECTION, GapBudget, PathAverage, StraightPath
from attribution.points import Points
from attribution.record import Floats, Integers, Step
from attribution.valuation import Valuation

STRETCH = 1 << 16  # elements that are summed in the parameters' own precision before going on in float64


class Window:
    """The steps between two ends of a path, and what the paths before it came to.

    Args:
        every: how many optimizer steps a path covers.
        method: how it is valued.
        points: where the objective is evaluated.
        contributors: how many there are.
        epsilon: the rounding of the parameters' type.
    """

    def __init__(self, every: Every, method: Method, points: Points, contributors: int, epsilon: float) -> None:
        self.every = every
        self.direct = every == 1 and method.name != "exact"  # needs no displacements: one path for each step
        self.displacements: Tensor | None = None  # [parts, P], since the path began
        self.rows: list[Step] = []
        self.values: Floats = np.zeros((contributors, len(points.evaluator.tasks)))
        self._method, self._points = method, points
        self._budget = GapBudget(method.tolerance, len(points.evaluator.tasks), epsilon)
        self._epsilon = epsilon
        self._variance = np.zeros_like(self.values)
        self._sampled = False
        self._start: Tensor | None = None
        self._before: Evaluation | None = None
        self._steps = 0
        self._supplied: Integers = np.zeros(contributors, dtype=np.int64)

    @property
    def is_open(self) -> bool:
        """Whether a path is under way."""
        return self._start is not None

    @property
    def gradients_held(self) -> int:
        """How many gradients of each task are held at once at most."""
        adaptive = self._method.name == "path" and self._method.nodes is None
        return StraightPath.held(DEEPEST_BISECTION if adaptive else None)

    @property
    def ends(self) -> bool:
        """Whether the path under way ends with the next step."""
        return self._steps + 1 == self.every

    def abandon(self) -> None:
        """The path under way comes to nothing: how far it went is not known."""
        self._start = None

    def open(self, start: Tensor) -> None:
        """A path begins at the parameters `start` ``[P]``, where the model stands."""
        self._points.redraw()
        self._start, self._before, self._steps = start, self._points.here(), 0
        if self.displacements is not None:
            self.displacements.zero_()
        elif not self.direct:
            parts = len(self._supplied) + 1
            self.displacements = torch.zeros(parts, len(start), dtype=start.dtype, device=start.device)

    def edit(self, before: Tensor, after: Tensor) -> None:
        """The parameters were changed by hand between two steps, and the model stands at `after`: the house's doing."""
        if self._start is not None:
            assert self.displacements is not None
            self.displacements[-1].add_(after - before)
        elif self._before is not None and not self._points.evaluator.minibatched:
            here = self._points.here()
            if np.array_equal(here.losses, self._before.losses):
                return
            nobody, supplied = np.zeros_like(self.values), np.zeros_like(self._supplied)
            self._book(self._before, here, nobody, self._before.losses - here.losses, 2, 0, supplied)

    def average(self, end: Tensor) -> PathAverage:
        """The objective's gradient, averaged along the path that ends at `end` ``[P]``, where the model stands."""
        assert self._start is not None
        assert self._before is not None
        return self._average(self._start, self._before, end, self._points.here())

    def step(
        self,
        end: Tensor,
        supplied: Integers,
        parts: Floats | None = None,
        nodes: int = 0,
        whole: Floats | None = None,
    ) -> None:
        """A step has led to `end` ``[P]``, where the model stands, with `supplied` ``[contributors]`` rows.

        `parts` ``[parts, tasks]`` are its values where they are had at once, from an average over `nodes` nodes; the
        path itself gave `whole` ``[tasks]``, which is their sum unless parts were found in another way.
        """
        self._steps += 1
        self._supplied += supplied
        if parts is not None:
            self._close(self._points.here(), parts[:-1], parts[-1], nodes, whole)
        elif self._steps == self.every:
            self._finish(end, self._points.here())

    def finish(self, end: Tensor) -> None:
        """The run is over at `end` ``[P]``: what is still open is valued."""
        if self._start is not None and self._steps:
            self._finish(end, self._points.at(end))
        self._start = None

    @property
    def standard_errors(self) -> Floats | None:
        """Those of `values`, where coalitions were sampled."""
        return np.sqrt(self._variance) if self._sampled else None

    def valuation(self, improvement: Floats) -> Valuation:
        """What the paths came to, as a valuation beside others."""
        house = np.sum([row.house for row in self.rows], axis=0) if self.rows else np.zeros_like(improvement)
        gap = improvement - self.values.sum(axis=0) - house
        nodes = sum(row.nodes for row in self.rows)
        details = {"every": self.every, "method": self._method.name}
        return Valuation(self.values, house, gap, self.standard_errors, nodes, details)

    def _finish(self, end: Tensor, after: Evaluation) -> None:
        assert self._start is not None
        assert self._before is not None
        assert self.displacements is not None
        if self._method.name == "exact":
            parts, nodes = self._by_definition(self._start, end)
        else:
            average = self._average(self._start, self._before, end, after)
            parts, nodes = -_products(self.displacements, average.gradients), average.nodes
        self._close(after, parts[:-1], parts[-1], nodes)

    def _close(self, after: Evaluation, values: Floats, house: Floats, nodes: int, whole: Floats | None = None) -> None:
        assert self._before is not None
        self._book(self._before, after, values, house, nodes, self._steps, self._supplied, whole)
        self._supplied = np.zeros_like(self._supplied)
        self._start, self._before = None, after

    def _book(
        self,
        before: Evaluation,
        after: Evaluation,
        values: Floats,
        house: Floats,
        nodes: int,
        length: int,
        supplied: Integers,
        whole: Floats | None = None,
    ) -> None:
        self._points.check(values, house)
        gap = (before.losses - after.losses) - values.sum(axis=0) - house
        # More nodes mend only what the path itself misses.
        self._budget.spend(gap if whole is None else before.losses - after.losses - whole, nodes)
        self.values = self.values + values
        self.rows.append(
            Step(len(self.rows), before.losses, after.losses, values, house, gap, nodes, supplied.copy(), length)
        )

    def _average(self, start: Tensor, before: Evaluation, end: Tensor, after: Evaluation) -> PathAverage:
        if self._method.name == "second_order":
            curvature = self._points.curvature(start, end - start)
            return PathAverage(curvature.mul_(0.5).add_(before.gradients), 1)
        path = StraightPath(before, after, start, end, self._points.at)
        if self._method.name == "first_order":
            return path.start_only()
        if self._method.nodes is not None:
            return path.fixed(self._method.nodes)
        return path.adaptive(self._budget.allowance(before.losses, after.losses), self._budget.bisections)

    def _moved(self, displacements: Tensor) -> list[int]:
        """The parts that moved anything; the house not by rounding, which would cost twice the coalitions."""
        lengths = displacements.norm(dim=1)
        least = torch.zeros_like(lengths)
        least[-1] = 64 * self._epsilon * lengths[:-1].sum()
        return [int(part) for part in (lengths > least).nonzero()]

    def _by_definition(self, start: Tensor, end: Tensor) -> tuple[Floats, int]:
        """The Shapley values of the path's game by enumeration or sampling; who did not move anything is not asked."""
        assert self.displacements is not None
        moved = self._moved(self.displacements)
        parts = np.zeros((len(self.displacements), len(self._points.evaluator.tasks)))
        if not moved:
            return parts, 0
        utility = step_utility(self._points.losses_at, start, self.displacements[moved])
        seed = self._method.seed + len(self.rows)
        found = enumerated_or_sampled(utility, len(moved), permutations=self._method.permutations, seed=seed)
        parts[moved] = found.values
        self._sampled = self._sampled or len(moved) > MOST_PLAYERS
        contributors = [part for part in moved if part < len(parts) - 1]
        self._variance[contributors] += found.standard_errors[: len(contributors)] ** 2
        return parts, found.coalitions


def _products(displacements: Tensor, gradients: Tensor) -> Floats:
    """``"part p, task p -> part task"``, float64."""
    found = torch.zeros(len(displacements), len(gradients), dtype=torch.float64)
    for low in range(0, displacements.shape[1], STRETCH):
        found += (displacements[:, low : low + STRETCH] @ gradients[:, low : low + STRETCH].t()).double().cpu()
    products: Floats = found.numpy()
    return products
