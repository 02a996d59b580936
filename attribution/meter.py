"""The meter: the one object that a training loop meets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn
from torch.optim import Optimizer

from attribution.counterfactual.absence import Absence
from attribution.counterfactual.game import Losses
from attribution.counterfactual.options import Counterfactual, refuse_float16
from attribution.displacements import Displacements
from attribution.errors import BatchError, OptionError
from attribution.footprint import Footprint
from attribution.ghost.capture import Capture
from attribution.ghost.gradients import DividedGradient
from attribution.manifest import checked_details, describe_optimizer, utc
from attribution.metered_record import record_of
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
from attribution.parameters import ParameterSpace, fingerprint
from attribution.record import Floats, RunRecord
from attribution.row_scores import RowScores
from attribution.valued_steps import ValuedSteps
from attribution.watched import WatchedOptimizer


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
        keep_displacements: keep each part's displacement in the last step, or with ``"run"`` summed over the run, see
            `displacements`.
        counterfactual: True or `Counterfactual`: value beside it what absence would change, see docs/counterfactual.md;
            under SGD, Adam and AdamW, with a path for each step.

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
        keep_displacements: bool | Literal["run"] = False,
        counterfactual: bool | Counterfactual = False,
    ) -> None:
        self.contributors = checked_names(contributors)
        self._method = Method(method, float(tolerance), nodes, permutations, seed)
        if keep_displacements not in (False, True, "run"):
            raise OptionError(
                f"keep_displacements is True (of the last step), 'run' or False, not {keep_displacements!r}"
            )
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
        if counterfactual and (self._ghost or 1 not in lengths or method == "exact"):
            raise OptionError(
                "counterfactual values need memory='buffered', and a path for each step: every=1, alone or among "
                "several, and not method 'exact'"
            )
        self._absence = Absence.of(
            counterfactual, model, optimizer, self._space, len(self.contributors), len(self.tasks)
        )
        self._scores = RowScores(self._gradient, self.contributors, self.tasks, scores)
        self._steps = ValuedSteps(
            model,
            optimizer,
            self._space,
            evaluator,
            self._gradient,
            self._scores,
            len(self.contributors),
            self._method,
            lengths,
            ghost=self._ghost,
            keep_displacements=keep_displacements,
            carried=None if self._absence is None else self._absence.tangents,
        )
        self._details = checked_details(details or {})
        self._began = datetime.now(UTC)
        self._initial = fingerprint(model)
        self._record: RunRecord | None = None
        held = sum(not window.direct for window in self._steps.windows) + bool(keep_displacements)
        held += 0 if self._absence is None else self._absence.buffers
        self.footprint = Footprint.of(
            self._space,
            self._gradient.parts.count,
            self._steps.divider.buffers,
            held,
            self.tasks,
            self._steps.windows[0].gradients_held,
        )
        self.footprint.announce()
        self._capture = Capture(
            model,
            self._gradient,
            row_axes or {},
            divides=not self._ghost,
            signed=None if self._absence is None else self._absence.signed,
        )
        self._watched = WatchedOptimizer(optimizer, self._steps)

    @contextmanager
    def batch(
        self,
        who: Tensor | Sequence[int],
        *,
        samples: Sequence[Any] | Tensor | None = None,
        axis: int | None = None,
        losses: Losses | None = None,
    ) -> Iterator[None]:
        """Meter the forward and backward passes inside: row i of the model's inputs belongs to contributor ``who[i]``.

        `who` is a LongTensor ``[rows]`` of indices into `contributors`. The rows lie along the first axis of the
        inputs that is as long as `who` (others are tried if rows turn out to mix); `axis` states it. Several batches
        before one ``optimizer.step()`` accumulate. With `samples`, an identifier for each row (all whole numbers, or
        all text), each row's score on each task is written to the record's file of scores. `losses` maps the model to
        what each row adds to the loss, ``[rows]``: some counterfactual curvatures compute it again.

        Raises `BatchError` for indices that do not fit, `RowAxisError` where a layer's row axis cannot be proved, and
        `UnaccountedGradientError` where contributors' gradients do not sum to autograd's.
        """
        if self._record is not None or self._steps.stopped is not None:
            raise BatchError("the meter is finished: make a new one for another run")
        if self._steps.in_batch:
            raise BatchError("meter.batch blocks must not be nested: leave one before the next")
        indices = checked_indices(who, self.contributors)
        named = checked_samples(samples, len(indices))
        if named is not None and not self._steps.windows[0].direct:
            raise OptionError(
                "scores of samples need a path for each step: every=1, or first of several, and not 'exact'"
            )
        if self._steps.rows.any() and self._gradient.cleared():
            self._steps.skip()
        kept = self._scores.keep(indices, named, unnamed_too=self._ghost)
        factors = kept if self._absence is None else self._absence.begin(indices, kept)
        self._steps.in_batch = True
        try:
            with self._capture.batch(indices, axis, factors):
                yield
        finally:
            self._steps.in_batch = False
        if self._steps.rows.any() and self._gradient.began_anew:
            self._steps.skip()
        self._scores.add(kept)
        self.footprint = self.footprint.with_rows(self._scores.held)
        if self._absence is not None:
            refuse_float16(self._gradient.rounding.unit)
            self._absence.batch(indices, factors, losses)
        self._steps.metered(indices)

    @property
    def values(self) -> Floats:
        """Values so far, float64 ``[contributors, tasks]``, nats, unweighted; of the paths that have ended."""
        return self._steps.windows[0].values.copy()

    @property
    def losses(self) -> Floats:
        """The validation losses ``[tasks]`` at the end of the last path, nats; NaN before the first."""
        rows = self._steps.windows[0].rows
        return rows[-1].loss_after if rows else np.full(len(self.tasks), np.nan)

    @property
    def displacements(self) -> Tensor | None:
        """What each contributor, and last the house, did to the parameters in the last step, or so far: ``[parts, P]``.

        The parameters lie one after another in the model's order. None unless they are kept.
        """
        kept = self._steps.displacements
        return None if kept is None else kept.clone()

    @property
    def run_displacements(self) -> Displacements:
        """The run's displacements so far, with names and shapes, to save. Raises `OptionError` unless they are kept.

        Raises `RecordError` where they do not lead from the first parameters to those of now: after a step that failed.
        """
        kept, start = self._steps.displacements, self._steps.origin
        if kept is None or start is None:
            raise OptionError("the meter keeps no displacements of the run: make it with keep_displacements='run'")
        places = {place.name: tuple(place.parameter.shape) for place in self._space.places}
        found = Displacements(self.contributors, places, start.cpu(), kept[:-1].cpu(), kept[-1].cpu())
        found.check_end(self._space.snapshot().cpu())
        return found

    def finish(self, stopped: str | None = None) -> RunRecord:
        """End the run, take all hooks off and return its record.

        `stopped` says why, where the run ended early: the record is then a partial one.
        """
        if self._record is None:
            self.close()
            self._steps.finish()
            self._steps.stopped = self._steps.stopped or stopped
            run = {"began_at": utc(self._began), "ended_at": utc(datetime.now(UTC)), **self._details}
            parameters = {"count": self._space.size, "initial": self._initial, "final": fingerprint(self._model)}
            self._record = record_of(
                self._steps,
                self._scores,
                self._absence,
                self._method,
                contributors=self.contributors,
                tasks=self.tasks,
                weights=self.weights,
                memory="ghost" if self._ghost else "buffered",
                details={
                    "optimizer": describe_optimizer(self._optimizer),
                    "parameters": parameters,
                    **run,
                },
            )
        return self._record

    def close(self) -> None:
        """Take every hook off the model and the optimizer."""
        self._capture.close()
        self._gradient.close()
        self._watched.close()

    def __enter__(self) -> InRunShapley:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._steps.stopped = self._steps.stopped or f"{type(error).__name__}: {error}"
        self.close()
