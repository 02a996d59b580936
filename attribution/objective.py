"""The objective: named validation tasks, their losses and gradients at given parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attribution.errors import ObjectiveError
from attribution.parameters import ParameterSpace
from attribution.record import Floats
from attribution.undisturbed import undisturbed

Loss = Callable[[nn.Module], Tensor]


class Objective:
    """A validation loss over batches, evaluated one batch at a time so that it needs the memory of one.

    The loss is the mean of ``loss_function(model, batch)`` over `batches`, weighted by `weights`; by default a
    batch's weight is its number of rows (the length of its first tensor), so that a mean over rows in each batch is
    the mean over all rows, however they are cut. Calling the objective with a model gives the whole loss.

    Raises `ObjectiveError` if there is no batch, or the weights do not fit.
    """

    def __init__(
        self,
        loss_function: Callable[[nn.Module, Any], Tensor],
        batches: Sequence[Any],
        weights: Sequence[float] | None = None,
    ) -> None:
        self.loss_function = loss_function
        self.batches = list(batches)
        if not self.batches:
            raise ObjectiveError("an objective needs at least one batch")
        sizes = [_rows(batch) for batch in self.batches] if weights is None else [float(w) for w in weights]
        if len(sizes) != len(self.batches) or any(not math.isfinite(w) or w < 0 for w in sizes) or sum(sizes) <= 0:
            raise ObjectiveError(f"weights must be one a batch ({len(self.batches)}), none negative, not all zero")
        self.weights = [size / sum(sizes) for size in sizes]

    def chunks(self, model: nn.Module) -> Iterator[Tensor]:
        """The weighted loss of each batch in turn, scalars that sum to the objective."""
        for batch, weight in zip(self.batches, self.weights, strict=True):
            yield self.loss_function(model, batch) * weight

    def __call__(self, model: nn.Module) -> Tensor:
        """The whole loss, a scalar."""
        return torch.stack(list(self.chunks(model))).sum()


def _rows(batch: Any) -> float:
    if isinstance(batch, Tensor):
        return float(len(batch)) if batch.dim() else 1.0
    values = batch.values() if isinstance(batch, Mapping) else batch
    for value in values if isinstance(values, (list, tuple)) or isinstance(batch, Mapping) else ():
        if isinstance(value, Tensor) and value.dim():
            return float(len(value))
    raise ObjectiveError(f"a batch of type {type(batch).__name__} holds no tensor to count rows by: give weights=")


@dataclass(frozen=True)
class Evaluation:
    """Losses and gradients of all tasks at one place in parameter space."""

    losses: Floats  # [tasks], nats
    gradients: Tensor  # [tasks, P], nats per unit of parameter


class Evaluator:
    """Evaluates the tasks of an objective at a model's current parameters, without disturbing its training."""

    def __init__(self, model: nn.Module, space: ParameterSpace, objective: Loss | Mapping[str, Loss]) -> None:
        tasks = dict(objective) if isinstance(objective, Mapping) else {"objective": objective}
        if not tasks or not all(callable(task) for task in tasks.values()):
            raise ObjectiveError("the objective must be a callable(model) -> loss, or a dictionary {task: callable}")
        self.tasks = tasks
        self._model, self._space = model, space

    def here(self) -> Evaluation:
        """Losses ``[tasks]`` and gradients ``[tasks, P]`` at the model's current parameters."""
        gradients = self._space.zeros(len(self.tasks))
        losses = np.zeros(len(self.tasks))
        # A parameter frozen for a while does not move, so its gradient is not needed.
        places = [place for place in self._space.places if place.parameter.requires_grad]
        parameters = [place.parameter for place in places]
        with undisturbed(self._model), torch.enable_grad():
            for index, (name, task) in enumerate(self.tasks.items()):
                for loss in task.chunks(self._model) if isinstance(task, Objective) else (task(self._model),):
                    self._check(name, loss)
                    losses[index] += loss.item()
                    parts = torch.autograd.grad(loss, parameters, allow_unused=True)
                    self._space.write(parts, places, gradients[index])
        return Evaluation(losses, gradients)

    def at(self, flat: Tensor) -> Evaluation:
        """The same at the parameters `flat` ``[P]``; the model's own come back untouched."""
        with self._space.at(flat):
            return self.here()

    @staticmethod
    def _check(name: str, loss: Tensor) -> None:
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ObjectiveError(f"task {name!r} must return a scalar tensor, not {what}: reduce it, e.g. by a mean")
        if not loss.requires_grad:
            raise ObjectiveError(
                f"task {name!r} returned a loss without a gradient: compute it from the model, not under no_grad()"
            )
