"""Where the objective is evaluated during a run: at the parameters as they are, and at places on the path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from attribution.ghost.gradients import DividedGradient
from attribution.objective import Evaluation, Evaluator
from attribution.parameters import finite
from attribution.record import Floats


class Points:
    """Evaluations at the model's parameters, shared by all that ask for them until the parameters have `moved`.

    `stop(what)` is called for what is not finite, and must raise.
    """

    def __init__(self, evaluator: Evaluator, gradient: DividedGradient, stop: Callable[[str], None]) -> None:
        self.evaluator = evaluator
        self._gradient, self._stop = gradient, stop
        self._here: Evaluation | None = None

    def moved(self) -> None:
        """The parameters are not what they were."""
        self._here = None

    def redraw(self) -> None:
        """Take fresh validation batches, for an objective that has them."""
        if self.evaluator.minibatched:
            self.evaluator.redraw()
            self._here = None

    def here(self) -> Evaluation:
        """At the model's parameters."""
        if self._here is None:
            with self._gradient.in_hand():
                self._here = self._checked(self.evaluator.here())
        return self._here

    def at(self, flat: Tensor) -> Evaluation:
        """At the parameters `flat` ``[P]``."""
        with self._gradient.in_hand():
            return self._checked(self.evaluator.at(flat))

    def losses_at(self, flat: Tensor) -> Floats:
        """The losses ``[tasks]`` alone, at the parameters `flat` ``[P]``."""
        with self._gradient.in_hand():
            return self.evaluator.losses_at(flat)

    def curvature(self, flat: Tensor, direction: Tensor) -> Tensor:
        """The Hessian of each task at `flat` ``[P]`` times `direction` ``[P]``: ``[tasks, P]``."""
        with self._gradient.in_hand():
            found = self.evaluator.curvature(flat, direction)
        if not bool(torch.isfinite(found).all()):
            self._stop("a Hessian-vector product")
        return found

    def check(self, *values: Floats) -> None:
        """Stop the run unless all `values` are finite."""
        if not all(np.isfinite(figures).all() for figures in values):
            self._stop("a value")

    def _checked(self, evaluation: Evaluation) -> Evaluation:
        for task, loss in zip(self.evaluator.tasks, evaluation.losses, strict=True):
            if not np.isfinite(loss):
                self._stop(f"the loss of task {task!r}")
        for gradient in evaluation.gradients:
            if not finite(gradient):
                self._stop("a validation gradient")
        return evaluation
