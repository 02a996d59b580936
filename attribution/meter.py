"""The meter: the one object that a training loop meets."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from attribution.errors import BatchError, NonFiniteError, OptionError
from attribution.footprint import Footprint
from attribution.ghost.capture import Capture
from attribution.ghost.gradients import DividedGradient
from attribution.manifest import checked_details, describe_optimizer, utc, versions
from attribution.objective import Evaluator, Loss
from attribution.options import (
    MEMORY_MODES,
    Every,
    Method,
    checked_every,
    checked_indices,
    checked_names,
    checked_samples,
    checked_weights,
)
from attribution.parameters import Bystanders, ParameterSpace, fingerprint
from attribution.path import PathAverage
from attribution.points import Points
from attribution.record import Floats, Integers, RunRecord, Steps
from attribution.row_scores import RowScores
from attribution.step import StepDivider
from attribution.window import Window


class InRunShapley:
    """Meters what each contributor's rows do to the objective, during the one run that trains the model.

    Args:
        model: the user's own; it is only observed.
        optimizer: one of torch.optim's that takes gradient steps, over parameters of `model`; metered through its
            step hooks. A rule for another is one file: docs/extending.md.
        objective: ``callable(model) -> loss`` (a scalar; `Objective` for large validation sets, `Minibatches` for a
            fresh batch each path), or ``{task: callable}``. Evaluated in evaluation mode, without disturbing training.
        contributors: names of the players, in the order of the indices given to `batch`.
        method: ``"path"`` (Aumann-Shapley along straight paths), ``"first_order"``, ``"second_order"`` or ``"exact"``
            (the Shapley value of each path's game: enumerated up to 12 who moved the model, sampled beyond).
        every: how many optimizer steps a path covers: 1, k, or ``"run"``; several, such as ``(1, "run")``, are valued
            side by side, the first being the record's own.
        memory: ``"buffered"`` (a gradient buffer a contributor, exact for every optimizer) or ``"ghost"`` (none: values
            are sums of rows' scores, exact for SGD, else with a gap).
        tolerance: of ``"path"``: |gap| / |improvement| of the run up to which steps need not be refined.
        task_weights: weight of each task, by name; they must sum to 1. Equal by default.
        nodes: of ``"path"``: a fixed number of Gauss-Lobatto nodes for every path (2: trapezoid, 3: Simpson),
            instead of refining to the tolerance.
        permutations, seed: of ``"exact"`` beyond 12: how many sampled, reverses included, and from which draw.
        scores: the Parquet file that samples' scores go to; by default a temporary one, kept by ``record.save``.
        row_axes: axis of the batch's rows in a module's output, by the module's name, where it cannot be proved.
        details: what else the record's manifest is to say, e.g. ``{"data": {contributor: [fingerprint]},
            "objective": {task: fingerprint}, "configuration": {...}, "seeds": {...}}``; must be JSON.
        keep_displacements: keep each part's displacement in the last step, see `displacements`.

    Raises:
        OptionError, UnsupportedOptimizerError, UnsupportedLayerError, ObjectiveError: naming what does not fit.

    The values are those of Wang et al., "Data Shapley in One Training Run" (ICLR 2025), made exactly efficient by
    integrating along each path. ``finish()``, or leaving a ``with`` block, takes every hook off again.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        objective: Loss | Mapping[str, Loss],
        contributors: Sequence[str],
        *,
        method: str = "path",
        every: Every | Sequence[Every] = 1,
        memory: str = "buffered",
        tolerance: float = 1e-3,
        task_weights: Mapping[str, float] | None = None,
        nodes: int | None = None,
        permutations: int = 64,
        seed: int = 0,
        scores: str | os.PathLike[str] | None = None,
        row_axes: Mapping[str, int] | None = None,
        details: Mapping[str, Any] | None = None,
        keep_displacements: bool = False,
    ) -> None:
        self.contributors = checked_names(contributors)
        self._method = Method(method, float(tolerance), nodes, permutations, seed)
        if memory not in MEMORY_MODES:
            raise OptionError(f"memory {memory!r} is not one of {', '.join(MEMORY_MODES)}")
        self._ghost, lengths = memory == "ghost", checked_every(every)
        if self._ghost and (method == "exact" or lengths != [1] or keep_displacements):
            raise OptionError(
                "memory='ghost' keeps no displacements: it goes with every=1, and not with method 'exact' or "
                "keep_displacements"
            )
        self._model, self._optimizer = model, optimizer
        self._space = ParameterSpace(model, optimizer)
        evaluator = Evaluator(model, self._space, objective)
        self.tasks = list(evaluator.tasks)
        self.weights = checked_weights(self.tasks, task_weights)
        if evaluator.minibatched and len(lengths) > 1:
            raise OptionError("paths of several lengths need one objective: use Objective instead of Minibatches")
        evaluator.frozen_too = lengths != [1]
        self._gradient = DividedGradient(self._space, 1 if self._ghost else len(self.contributors))
        self._divider = StepDivider(optimizer, self._space, self._gradient)
        self._points = Points(evaluator, self._gradient, self._stop)
        self._windows = [
            Window(length, self._method, self._points, len(self.contributors), self._gradient.epsilon)
            for length in lengths
        ]
        self._scores = RowScores(self._gradient, self.contributors, self.tasks, scores)
        self._details = checked_details(details or {})
        self._began = datetime.now(UTC)
        self._initial = fingerprint(model)
        self._rows: Integers = np.zeros(len(self.contributors), dtype=np.int64)
        self._steps = self._skipped = 0
        self._start: Tensor | None = None  # the parameters before the step under way
        self._end: Tensor | None = None  # the parameters after the last step
        self._in_batch = self._settled = False
        self._stopped: str | None = None
        self._record: RunRecord | None = None
        self._displacements = self._space.zeros(self._gradient.parts.count) if keep_displacements else None
        held = sum(not window.direct for window in self._windows) + keep_displacements
        self.footprint = Footprint.of(self._space, self._gradient.parts.count, self._divider.buffers, held, self.tasks)
        self.footprint.announce()
        self._bystanders = Bystanders(model, self._space)
        self._capture = Capture(model, self._gradient, row_axes or {}, divides=not self._ghost)
        self._handles = [
            optimizer.register_step_pre_hook(lambda *call: self._before_step(*call)),
            optimizer.register_step_post_hook(lambda *_: self._after_step()),
        ]

    @contextmanager
    def batch(
        self, who: Tensor | Sequence[int], *, samples: Sequence[Any] | Tensor | None = None, axis: int | None = None
    ) -> Iterator[None]:
        """Meter the forward and backward passes inside: row i of the model's inputs belongs to contributor ``who[i]``.

        `who` is a LongTensor ``[rows]`` of indices into `contributors`. The rows lie along the first axis of the
        inputs that is as long as `who` (others are tried if rows turn out to mix); `axis` states it. Several batches
        before one ``optimizer.step()`` accumulate. With `samples`, an identifier for each row (all whole numbers, or
        all text), each row's score on each task is written to the record's file of scores.

        Raises `BatchError` for indices that do not fit, `RowAxisError` where a layer's row axis cannot be proved, and
        `UnaccountedGradientError` where contributors' gradients do not sum to autograd's.
        """
        if self._record is not None or self._stopped is not None:
            raise BatchError("the meter is finished: make a new one for another run")
        if self._in_batch:
            raise BatchError("meter.batch blocks must not be nested: leave one before the next")
        indices = checked_indices(who, self.contributors)
        named = checked_samples(samples, len(indices))
        if named is not None and not self._windows[0].direct:
            raise OptionError(
                "scores of samples need a path for each step: every=1, or first of several, and not 'exact'"
            )
        if self._rows.any() and self._gradient.cleared():
            self._skip()
        kept = self._scores.keep(indices, named, unnamed_too=self._ghost)
        self._in_batch = True
        try:
            with self._capture.batch(indices, axis, kept):
                yield
        finally:
            self._in_batch = False
        if self._rows.any() and self._gradient.began_anew:
            self._skip()
        self._scores.add(kept)
        self._rows += np.bincount(indices.numpy(), minlength=len(self.contributors))

    @property
    def values(self) -> Floats:
        """Values so far, float64 ``[contributors, tasks]``, nats, unweighted; of the paths that have ended."""
        return self._windows[0].values.copy()

    @property
    def losses(self) -> Floats:
        """The validation losses ``[tasks]`` at the end of the last path, nats; NaN before the first."""
        rows = self._windows[0].rows
        return rows[-1].loss_after if rows else np.full(len(self.tasks), np.nan)

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
            self.close()
            if self._rows.any() and (self._gradient.cleared() or self._gradient.not_finite() is not None):
                self._skip()
            if self._end is not None:
                self._finish_windows(self._end)
            self._stopped = self._stopped or stopped
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

    def _before_step(
        self, optimizer: Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """What `optimizer.step` is to be called with instead, where that is something else."""
        self._start = None
        if self._stopped is not None or _found_infinite(optimizer):
            return None
        if self._in_batch:
            raise BatchError("optimizer.step() inside meter.batch: leave the block before the step")
        closures = any(callable(argument) for argument in (*arguments, *keywords.values()))
        # Before the update, since an optimizer may write over the gradient; but a closure has yet to compute it, and a
        # fused optimizer to take a loss scaler's scale off it.
        self._settled = False
        if not closures and getattr(optimizer, "grad_scale", None) is None:
            self._settle()
        unchanged = self._end is not None and self._space.equals(self._end)
        start = self._end if self._end is not None and unchanged else self._space.snapshot()
        if self._end is not None:
            self._check_edits(self._end, start)
        for window in self._windows:
            if not window.is_open:
                window.open(start)
        self._divider.before_step()
        self._start = start
        if not closures:
            return None
        return tuple(map(self._settling, arguments)), {k: self._settling(v) for k, v in keywords.items()}

    def _settling(self, argument: Any) -> Any:
        """A closure that settles the gradients that it has computed; anything else as it is."""

        def run() -> Any:
            loss = argument()
            self._settle()
            return loss

        return run if callable(argument) else argument

    def _check_edits(self, end: Tensor, start: Tensor) -> None:
        """What changed between two steps, by hand or by the training pass itself, is the house's doing."""
        other = self._bystanders.changed_parameter()
        if other is not None and any(window.is_open for window in self._windows):
            self._stopped = f"parameter {other!r} was changed by something else than the metered optimizer"
            raise OptionError(
                f"step {self._steps}: {self._stopped}, in the middle of a path over several steps: meter with every=1, "
                "or train all parameters with one optimizer"
            )
        if other is None and self._bystanders.changed_buffer() is None and start is end:
            return
        self._points.moved()
        for window in self._windows:
            window.edit(end, start)

    def _settle(self) -> None:
        name = self._gradient.not_finite() or self._gradient.spoilt
        if name is not None:
            self._stop(f"the gradient of {name!r}")
        if not self._rows.any():
            warnings.warn(
                "optimizer.step() without meter.batch before it: all it does is booked to the house", stacklevel=5
            )
            self._gradient.synchronise()
        self._gradient.settle()
        self._settled = True

    def _after_step(self) -> None:
        if self._stopped is not None or self._start is None:
            return
        if not self._settled:
            self._settle()
        try:
            self._value(self._start, self._space.snapshot())
        except BaseException as error:
            self._stopped = self._stopped or str(error) or type(error).__name__
            raise

    def _value(self, start: Tensor, end: Tensor) -> None:
        """Value the step from `start` to `end` ``[P]``, as far as its paths end with it."""
        self._points.moved()
        if any(window.ends for window in self._windows):
            self._points.here()  # if that is not finite, the paths under way still end where the step began
        direct = next((window for window in self._windows if window.direct), None)
        average = direct.average(end) if direct is not None else None
        try:
            parts, whole = self._divide(start, end, average)
            for window in self._windows:
                if window is direct and average is not None:
                    window.step(end, self._rows, parts, average.nodes, whole)
                else:
                    window.step(end, self._rows)
        except BaseException:
            for window in self._windows:
                window.abandon()
            raise
        self._rows[:] = 0
        self._scores.forget()
        self._steps += 1
        self._end, self._start = end, None
        self._bystanders.note()

    def _divide(self, start: Tensor, end: Tensor, average: PathAverage | None) -> tuple[Floats, Floats]:
        """Divide the step; where there is an average to multiply by, each part's value ``[contributors + 1, tasks]``
        and what the whole displacement comes to ``[tasks]``.
        """
        if self._displacements is not None:
            self._displacements.zero_()
        summed = [
            d for d in (self._displacements, *(window.displacements for window in self._windows)) if d is not None
        ]
        gradients = None if average is None else average.gradients
        credited = torch.empty_like(gradients) if gradients is not None and self._scores.pending else None
        parts = self._divider.divide(
            self._steps, start, end, gradients=gradients, displacements=summed, credited=credited
        )
        whole: Floats = parts.sum(axis=0)
        if credited is not None:
            with self._space.at(start):  # where the rows' gradients were computed
                scored = self._scores.score(self._steps, credited, None if self._ghost else parts[:-1])
            parts = np.concatenate([scored, parts[-1:]]) if self._ghost else parts
        return parts, whole

    def _skip(self) -> None:
        """The gradients since the last step were thrown away, as a loss scaler does with infinite ones."""
        self._skipped += 1
        self._rows[:] = 0
        self._scores.forget()

    def _finish_windows(self, end: Tensor) -> None:
        for window in self._windows:
            with suppress(NonFiniteError):  # the run has stopped, and says why
                window.finish(end)

    def _stop(self, what: str) -> None:
        error = NonFiniteError(what, self._steps)
        self._stopped = f"{what} was not finite at step {self._steps}"
        raise error

    def _make_record(self) -> RunRecord:
        main, *beside = self._windows
        method = self._method
        details = {
            "began_at": utc(self._began),
            "ended_at": utc(datetime.now(UTC)),
            "method": {
                "name": method.name,
                "tolerance": method.tolerance,
                "nodes": method.nodes,
                "every": main.every,
                "memory": "ghost" if self._ghost else "buffered",
            },
            "optimizer": describe_optimizer(self._optimizer),
            "optimizer_steps": self._steps,
            "skipped_steps": self._skipped,
            "parameters": {"count": self._space.size, "initial": self._initial, "final": fingerprint(self._model)},
            "versions": versions(),
            **self._details,
        }
        if method.name == "exact":
            details["method"] |= {"permutations": method.permutations, "seed": method.seed}
        path = self._scores.close()
        if path is not None:
            details["samples"] = {
                "scores": self._scores.samples,
                "values_less_scores": self._scores.difference.tolist(),
            }
        rows = Steps.of(main.rows, len(self.contributors), len(self.tasks))
        telescopes = not self._points.evaluator.minibatched
        improvement = rows.improvement(telescopes)
        return RunRecord(
            contributors=self.contributors,
            tasks=self.tasks,
            weights=self.weights,
            steps=rows,
            details=details,
            complete=self._stopped is None,
            stopped=self._stopped,
            beside={_name(window.every): window.valuation(improvement) for window in beside},
            standard_errors=main.standard_errors,
            telescopes=telescopes,
            scores=path,
        )


def _name(every: Every) -> str:
    """What a valuation by paths of this length is called."""
    return "run" if every == "run" else "step" if every == 1 else f"{every} steps"


def _found_infinite(optimizer: Optimizer) -> bool:
    """Whether a loss scaler tells a fused optimizer to leave the parameters alone."""
    found: Any = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
