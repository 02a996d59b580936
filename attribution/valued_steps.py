"""From an optimizer step to values: divide the displacement, and let each path that is under way have its part."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from attribution.counterfactual.one_run import CarriedTangents
from attribution.errors import BatchError, NonFiniteError, OptionError
from attribution.ghost.gradients import DividedGradient
from attribution.objective import Evaluator
from attribution.options import Every, Method
from attribution.parameters import Bystanders, ParameterSpace
from attribution.path import PathAverage
from attribution.points import Points
from attribution.record import Floats, Integers
from attribution.row_scores import RowScores
from attribution.step import Credited, StepDivider
from attribution.window import Window


class ValuedSteps:
    """The run so far: what was metered since the last step, the paths under way, and why it stopped if it has.

    `lengths` are those of the paths in steps; `ghost` says that values are sums of rows' scores.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        space: ParameterSpace,
        evaluator: Evaluator,
        gradient: DividedGradient,
        scores: RowScores,
        contributors: int,
        method: Method,
        lengths: Sequence[Every],
        *,
        ghost: bool,
        keep_displacements: bool | Literal["run"],
        carried: CarriedTangents | None = None,
    ) -> None:
        self._space, self._gradient, self._scores, self._ghost = space, gradient, scores, ghost
        self.divider = StepDivider(optimizer, space, gradient)
        self._points = Points(evaluator, gradient, self._stop)
        self.windows = [Window(length, method, self._points, contributors, gradient.epsilon) for length in lengths]
        self._bystanders = Bystanders(model, space)
        self.carried = carried  # tangents of weights, where counterfactual values are asked for
        self.displacements = space.zeros(gradient.parts.count) if keep_displacements else None
        self._of_the_run = keep_displacements == "run"
        self.origin: Tensor | None = None  # the parameters before the first step, where displacements are the run's
        self.rows: Integers = np.zeros(contributors, dtype=np.int64)  # metered since the last step
        self.count = self.skipped = 0
        self.stopped: str | None = None
        self.in_batch = False
        self._start: Tensor | None = None  # the parameters before the step under way
        self._end: Tensor | None = None  # the parameters after the last step

    def metered(self, indices: Tensor) -> None:
        """Rows of these contributors were metered."""
        self.rows += np.bincount(indices.numpy(), minlength=len(self.rows))

    def skip(self) -> None:
        """The gradients since the last step were thrown away, as a loss scaler does with infinite ones."""
        self.skipped += 1
        self.rows[:] = 0
        if self.carried is not None:
            self.carried.curvature.forget()
        self._scores.forget()

    def ready(self) -> bool:
        """Whether the run goes on. Raises `BatchError` inside a batch."""
        self._start = None
        if self.stopped is None and self.in_batch:
            raise BatchError("optimizer.step() inside meter.batch: leave the block before the step")
        return self.stopped is None

    def settle(self) -> None:
        """Close the gradients of the step. Raises `NonFiniteError`, `UnaccountedGradientError`."""
        if not self.rows.any():
            warnings.warn(
                "optimizer.step() without meter.batch before it: all it does is booked to the house", stacklevel=6
            )
            self._gradient.synchronise()
        name = self._gradient.settle()
        if name is not None:
            self._stop(f"the gradient of {name!r}")

    def begin(self) -> None:
        """Remember where the step begins; what changed since the last one is the house's."""
        unchanged = self._end is not None and self._space.equals(self._end)
        start = self._end if self._end is not None and unchanged else self._space.snapshot()
        if self._end is not None:
            self._check_edits(self._end, start)
        elif self._of_the_run:
            self.origin = start
        for window in self.windows:
            if not window.is_open:
                window.open(start)
        self.divider.before_step()
        if self.carried is not None:
            self.carried.before_step()
        self._start = start

    def end(self) -> None:
        """Value the step that was taken, as far as its paths end with it."""
        assert self._start is not None
        try:
            self._value(self._start, self._space.snapshot())
        except BaseException as error:
            self.stopped = self.stopped or str(error) or type(error).__name__
            raise

    def finish(self) -> None:
        """End the paths under way where the last step ended."""
        if self.rows.any() and (self._gradient.cleared() or self._gradient.not_finite() is not None):
            self.skip()
        if self._end is not None:
            for window in self.windows:
                with suppress(NonFiniteError):  # the run has stopped, and says why
                    window.finish(self._end)

    @property
    def telescopes(self) -> bool:
        """Whether each step's losses go on from those of the step before."""
        return not self._points.evaluator.minibatched

    def _check_edits(self, end: Tensor, start: Tensor) -> None:
        """What changed between two steps, by hand or by the training pass itself, is the house's doing."""
        other = self._bystanders.changed_parameter()
        if other is not None and (self._of_the_run or any(window.is_open for window in self.windows)):
            self.stopped = f"parameter {other!r} was changed by something else than the metered optimizer"
            raise OptionError(
                f"step {self.count}: {self.stopped}, in the middle of a path over several steps, or of a run whose "
                "displacements are kept: meter with every=1, or train all parameters with one optimizer"
            )
        if other is None and self._bystanders.changed_buffer() is None and start is end:
            return
        self._points.moved()
        if self.displacements is not None and self._of_the_run:
            self.displacements[-1].add_(start - end)
        for window in self.windows:
            window.edit(end, start)

    def _value(self, start: Tensor, end: Tensor) -> None:
        """Value the step from `start` to `end` ``[P]``."""
        self._points.moved()
        if any(window.ends for window in self.windows):
            self._points.here()  # if that is not finite, the paths under way still end where the step began
        direct = next((window for window in self.windows if window.direct), None)
        average = direct.average(end) if direct is not None else None
        try:
            parts, whole = self._divide(start, end, average)
            for window in self.windows:
                if window is direct and average is not None:
                    window.step(end, self.rows, parts, average.nodes, whole)
                else:
                    window.step(end, self.rows)
        except BaseException:
            for window in self.windows:
                window.abandon()
            raise
        self.rows[:] = 0
        self._scores.forget()
        self.count += 1
        self._end, self._start = end, None
        self._bystanders.note()

    def _divide(self, start: Tensor, end: Tensor, average: PathAverage | None) -> tuple[Floats, Floats]:
        """Divide the step; where there is an average to multiply by, each part's value ``[contributors + 1, tasks]``
        and what the whole displacement comes to ``[tasks]``.
        """
        if self.displacements is not None and not self._of_the_run:
            self.displacements.zero_()
        summed = [d for d in (self.displacements, *(window.displacements for window in self.windows)) if d is not None]
        gradients = None if average is None else average.gradients
        credited = None
        if gradients is not None and self._scores.pending:
            spared = not self._ghost and self._scores.may_spare(self.count)
            by_part = torch.zeros(self._gradient.parts.count, len(gradients), dtype=torch.float64) if spared else None
            credited = Credited(torch.empty_like(gradients), by_part)
        carried = self.carried if self.carried is not None and self.carried.stopped is None else None
        if carried is not None:
            carried.begin(start, int(self.rows.sum()), self._gradient.rounding.unit, self._gradient.factor)
        parts = self.divider.divide(
            self.count,
            start,
            end,
            gradients=gradients,
            displacements=summed,
            credited=credited,
            carried=carried,
        )
        if carried is not None and gradients is not None:
            carried.value(self.count, gradients, parts[:-1])
        whole: Floats = parts.sum(axis=0)
        if credited is not None:
            with self._space.at(start):  # where the rows' gradients were computed
                scored = self._scores.score(self.count, credited, None if self._ghost else parts[:-1])
            parts = np.concatenate([scored, parts[-1:]]) if self._ghost else parts
        return parts, whole

    def _stop(self, what: str) -> None:
        error = NonFiniteError(what, self.count)
        self.stopped = f"{what} was not finite at step {self.count}"
        raise error
