"""The meter: the one object that a training loop meets."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from attribution.errors import AttributionError, BatchError, NonFiniteError, OptionError
from attribution.ghost.capture import Capture
from attribution.ghost.gradients import DividedGradient
from attribution.manifest import checked_details, describe_optimizer, utc, versions
from attribution.objective import Evaluation, Evaluator, Loss
from attribution.parameters import ParameterSpace, fingerprint
from attribution.path import GapBudget, PathAverage, StraightPath
from attribution.record import Floats, Integers, RunRecord, Step, Steps
from attribution.step import StepDivider

METHODS = ("path", "first_order")


class InRunShapley:
    """Meters what each contributor's rows do to the objective, during the one run that trains the model.

    Args:
        model: the user's own; it is only observed.
        optimizer: SGD, Adam or AdamW of torch.optim, over parameters of `model`; metered through its step hooks.
        objective: ``callable(model) -> loss`` (a scalar; `Objective` for large validation sets), or
            ``{task: callable}``. Evaluated in evaluation mode, without disturbing the training.
        contributors: names of the players, in the order of the indices given to `batch`.
        method: ``"path"`` (Aumann-Shapley along each step's straight path) or ``"first_order"``.
        tolerance: of ``"path"``: |gap| / |improvement| of the run up to which steps need not be refined.
        task_weights: weight of each task, by name; they must sum to 1. Equal by default.
        nodes: of ``"path"``: a fixed number of Gauss-Lobatto nodes for every step (2: trapezoid, 3: Simpson),
            instead of refining to the tolerance.
        row_axes: axis of the batch's rows in a module's output, by the module's name, where it cannot be proved.
        details: what else the record's manifest is to say, e.g. ``{"data": {contributor: [fingerprint]},
            "objective": {task: fingerprint}, "configuration": {...}, "seeds": {...}}``; must be JSON.
        keep_displacements: keep each part's displacement in the last step, see `displacements`.

    Raises:
        OptionError, UnsupportedOptimizerError, UnsupportedLayerError, ObjectiveError: naming what does not fit.

    The values are those of Wang et al., "Data Shapley in One Training Run" (ICLR 2025), made exactly efficient by
    integrating along each step. ``finish()``, or leaving a ``with`` block, takes every hook off again.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        objective: Loss | Mapping[str, Loss],
        contributors: Sequence[str],
        *,
        method: str = "path",
        tolerance: float = 1e-3,
        task_weights: Mapping[str, float] | None = None,
        nodes: int | None = None,
        row_axes: Mapping[str, int] | None = None,
        details: Mapping[str, Any] | None = None,
        keep_displacements: bool = False,
    ) -> None:
        self.contributors = _names(contributors)
        if method not in METHODS:
            raise OptionError(f"method {method!r} is not one of {', '.join(METHODS)}")
        if not 0 < tolerance < float("inf"):
            raise OptionError(f"tolerance must be a positive number, not {tolerance}")
        if nodes is not None and (nodes < 2 or method != "path"):
            raise OptionError(f"nodes must be at least 2 and go with method 'path', not {nodes} with {method!r}")
        self._model, self._optimizer = model, optimizer
        self._space = ParameterSpace(model, optimizer)
        self._evaluator = Evaluator(model, self._space, objective)
        self.tasks = list(self._evaluator.tasks)
        self.weights = _weights(self.tasks, task_weights)
        self._gradient = DividedGradient(self._space, len(self.contributors))
        self._divider = StepDivider(optimizer, self._space, self._gradient)
        self._method, self._tolerance, self._nodes = method, float(tolerance), nodes
        self._budget = GapBudget(self._tolerance, len(self.tasks), self._gradient.epsilon)
        self._details = checked_details(details or {})
        self._began = datetime.now(UTC)
        self._initial = fingerprint(model)
        self._steps: list[Step] = []
        self._total: Floats = np.zeros((len(self.contributors), len(self.tasks)))
        self._rows: Integers = np.zeros(len(self.contributors), dtype=np.int64)
        self._here: Evaluation | None = None  # at the parameters as the last metered step left them
        self._start: Tensor | None = None  # the parameters before the step under way
        self._end: Tensor | None = None  # the parameters after the last step
        self._in_batch = False
        self._stopped: str | None = None
        self._record: RunRecord | None = None
        self._displacements: Tensor | None = (
            self._space.zeros(len(self.contributors) + 1) if keep_displacements else None
        )
        self._capture = Capture(model, self._gradient, row_axes or {})
        self._handles = [
            optimizer.register_step_pre_hook(lambda *_: self._before_step()),
            optimizer.register_step_post_hook(lambda *_: self._after_step()),
        ]

    @contextmanager
    def batch(self, who: Tensor | Sequence[int], *, axis: int | None = None) -> Iterator[None]:
        """Meter the forward and backward passes inside: row i of the model's inputs belongs to contributor ``who[i]``.

        `who` is a LongTensor ``[rows]`` of indices into `contributors`. The rows lie along the first axis of the
        inputs that is as long as `who` (others are tried if rows turn out to mix); `axis` states it. Several batches
        before one ``optimizer.step()`` accumulate.

        Raises `BatchError` for indices that do not fit, `RowAxisError` where a layer's row axis cannot be proved, and
        `UnaccountedGradientError` where contributors' gradients do not sum to autograd's.
        """
        if self._record is not None or self._stopped is not None:
            raise BatchError("the meter is finished: make a new one for another run")
        if self._in_batch:
            raise BatchError("meter.batch blocks must not be nested: leave one before the next")
        indices = _indices(who, self.contributors)
        self._in_batch = True
        try:
            with self._capture.batch(indices, axis, self._check_gradients):
                yield
        finally:
            self._in_batch = False
        self._rows += np.bincount(indices.numpy(), minlength=len(self.contributors))

    @property
    def values(self) -> Floats:
        """Values so far, float64 ``[contributors, tasks]``, nats, unweighted."""
        return self._total.copy()

    @property
    def losses(self) -> Floats:
        """The validation losses ``[tasks]`` after the last step, nats; NaN before the first."""
        return self._steps[-1].loss_after if self._steps else np.full(len(self.tasks), np.nan)

    @property
    def displacements(self) -> Tensor | None:
        """What each contributor, and last the house, did to the parameters in the last step, ``[parts, P]``.

        The parameters lie one after another in the model's order. None unless they are kept.
        """
        return None if self._displacements is None else self._displacements.clone()

    def finish(self, stopped: str | None = None) -> RunRecord:
        """End the run, take all hooks off and return its record.

        `stopped` says why, where the run ended early: the record is then a partial one.
        """
        if self._record is None:
            self._stopped = self._stopped or stopped
            self.close()
            self._record = self._make_record()
        return self._record

    def close(self) -> None:
        """Take every hook off the model and the optimizer."""
        self._capture.close()
        self._gradient.close()
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __enter__(self) -> InRunShapley:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._stopped = self._stopped or f"{type(error).__name__}: {error}"
        self.close()

    def _before_step(self) -> None:
        if self._stopped is not None:
            return
        if self._in_batch:
            raise BatchError("optimizer.step() inside meter.batch: leave the block before the step")
        self._check_gradients()
        self._start = self._space.snapshot()
        if self._end is None:
            self._here = self._evaluate()
        elif not torch.equal(self._start, self._end):
            self._edited()
        if not self._rows.any():
            self._gradient.synchronise()
        self._divider.before_step()

    def _check_gradients(self) -> None:
        for place in self._space.places:
            gradient = place.parameter.grad
            if gradient is not None and not bool(torch.isfinite(gradient).all()):
                self._stop(f"the gradient of {place.name!r}")

    def _after_step(self) -> None:
        if self._stopped is not None or self._start is None:
            return
        if not self._rows.any():
            warnings.warn(
                "optimizer.step() without meter.batch before it: all it does is booked to the house", stacklevel=4
            )
        before, start, end = self._here, self._start, self._space.snapshot()
        assert before is not None
        self._gradient.settle()
        after = self._evaluate()
        average = self._average(before, after, start, end)
        if self._displacements is not None:
            self._displacements.zero_()
        try:
            found = self._divider.divide(
                len(self._steps), start, end, gradients=average.gradients, displacements=self._displacements
            )
        except AttributionError as error:
            self._stopped = str(error)
            raise
        self._book(before, after, found[:-1], found[-1], average.nodes)
        self._here, self._end, self._start = after, end, None

    def _average(self, before: Evaluation, after: Evaluation, start: Tensor, end: Tensor) -> PathAverage:
        displacement = end - start

        def evaluate(s: float) -> Evaluation:
            with self._gradient.in_hand():
                return self._checked(self._evaluator.at(start + s * displacement))

        path = StraightPath(before, after, displacement, evaluate)
        if self._method == "first_order":
            return path.start_only()
        if self._nodes is not None:
            return path.fixed(self._nodes)
        return path.adaptive(self._budget.allowance(before.losses, after.losses))

    def _edited(self) -> None:
        """The parameters were changed by hand between two steps: what that did is the house's alone."""
        before, after = self._here, self._evaluate()
        assert before is not None
        rows, self._rows = self._rows, np.zeros_like(self._rows)
        nobody = np.zeros((len(self.contributors), len(self.tasks)))
        self._book(before, after, nobody, before.losses - after.losses, 2)
        self._here, self._rows = after, rows

    def _book(self, before: Evaluation, after: Evaluation, values: Floats, house: Floats, nodes: int) -> None:
        gap = (before.losses - after.losses) - values.sum(axis=0) - house
        if not (np.isfinite(values).all() and np.isfinite(house).all()):
            self._stop("a value")
        self._budget.spend(gap)
        self._total += values
        self._steps.append(
            Step(len(self._steps), before.losses, after.losses, values, house, gap, nodes, self._rows.copy())
        )
        self._rows[:] = 0

    def _evaluate(self) -> Evaluation:
        with self._gradient.in_hand():
            return self._checked(self._evaluator.here())

    def _checked(self, evaluation: Evaluation) -> Evaluation:
        for task, loss in zip(self.tasks, evaluation.losses, strict=True):
            if not np.isfinite(loss):
                self._stop(f"the loss of task {task!r}")
        if not bool(torch.isfinite(evaluation.gradients).all()):
            self._stop("a validation gradient")
        return evaluation

    def _stop(self, what: str) -> None:
        error = NonFiniteError(what, len(self._steps))
        self._stopped = f"{what} was not finite at step {len(self._steps)}"
        raise error

    def _make_record(self) -> RunRecord:
        shape = (0, len(self.tasks))
        columns = {
            name: np.array([getattr(step, name) for step in self._steps])
            for name in ("loss_before", "loss_after", "values", "house", "gap", "nodes", "rows")
        }
        if not self._steps:
            columns = {name: np.zeros(shape) for name in ("loss_before", "loss_after", "house", "gap")}
            columns |= {"values": np.zeros((0, len(self.contributors), len(self.tasks))), "nodes": np.zeros(0)}
            columns |= {"rows": np.zeros((0, len(self.contributors)))}
        details = {
            "began_at": utc(self._began),
            "ended_at": utc(datetime.now(UTC)),
            "method": {"name": self._method, "tolerance": self._tolerance, "nodes": self._nodes},
            "optimizer": describe_optimizer(self._optimizer),
            "parameters": {"count": self._space.size, "initial": self._initial, "final": fingerprint(self._model)},
            "versions": versions(),
            **self._details,
        }
        return RunRecord(
            contributors=self.contributors,
            tasks=self.tasks,
            weights=self.weights,
            steps=Steps(**columns),
            details=details,
            complete=self._stopped is None,
            stopped=self._stopped,
        )


def _names(contributors: Sequence[str]) -> list[str]:
    names = [contributors] if isinstance(contributors, str) else list(contributors)
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) != len(names):
        raise OptionError(f"contributors must be at least one name, each once and none empty, not {names}")
    return names


def _weights(tasks: list[str], given: Mapping[str, float] | None) -> Floats:
    if given is None:
        return np.full(len(tasks), 1 / len(tasks))
    if set(given) != set(tasks):
        raise OptionError(f"task_weights must name the tasks {tasks}, not {list(given)}")
    weights = np.array([float(given[task]) for task in tasks])
    if not np.isfinite(weights).all() or (weights < 0).any() or abs(weights.sum() - 1) > 1e-9:
        raise OptionError(f"task_weights must be none negative and sum to 1, not {dict(given)}")
    return weights


def _indices(who: Tensor | Sequence[int], contributors: list[str]) -> Tensor:
    indices = torch.as_tensor(who).detach().cpu()
    if indices.dim() != 1 or not len(indices) or indices.is_floating_point() or indices.dtype == torch.bool:
        raise BatchError(f"who must be a LongTensor [rows], not {indices.dtype} of shape {tuple(indices.shape)}")
    wrong = ((indices < 0) | (indices >= len(contributors))).nonzero().reshape(-1)
    if len(wrong):
        row = int(wrong[0])
        raise BatchError(f"row {row}: contributor index {int(indices[row])} is not in 0..{len(contributors) - 1}")
    return indices.long()
