"""The objective: named validation tasks, their losses and gradients at given parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from attribution.errors import ObjectiveError
from attribution.parameters import ParameterSpace, Place
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


class Minibatches:
    """A validation loss over a fresh batch for each path: one of `batches`, in a shuffled order, again and again.

    The same batch serves at both ends of a path and between, so a path's values sum to what *that batch's* loss fell
    by; over the run they sum to the sum of those, not to the difference of one loss before and after. A full
    `Objective` needs one validation gradient a step, this one two, of fewer rows each.

    Raises `ObjectiveError` if there is no batch.
    """

    def __init__(
        self, loss_function: Callable[[nn.Module, Any], Tensor], batches: Sequence[Any], seed: int = 0
    ) -> None:
        self.loss_function, self.batches, self.seed = loss_function, batches, seed
        if not len(batches):
            raise ObjectiveError("an objective needs at least one batch")
        self._draw = np.random.default_rng(seed)
        self._order: list[int] = []
        self._at = 0
        self.redraw()

    def redraw(self) -> None:
        """Take the next batch."""
        if not self._order:
            self._order = self._draw.permutation(len(self.batches)).tolist()
        self._at = self._order.pop()

    def __call__(self, model: nn.Module) -> Tensor:
        """The loss on the present batch, a scalar."""
        return self.loss_function(model, self.batches[self._at])


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
        self.frozen_too = False  # a parameter frozen for a while does not move, but may have since a path began
        self._model, self._space = model, space

    @property
    def minibatched(self) -> bool:
        """Whether any task has fresh batches for each path."""
        return any(isinstance(task, Minibatches) for task in self.tasks.values())

    def redraw(self) -> None:
        """Take fresh batches, where tasks have them."""
        for task in self.tasks.values():
            if isinstance(task, Minibatches):
                task.redraw()

    def here(self) -> Evaluation:
        """Losses ``[tasks]`` and gradients ``[tasks, P]`` at the model's current parameters."""
        gradients = torch.empty(len(self.tasks), self._space.size, dtype=self._space.dtype, device=self._space.device)
        losses = np.zeros(len(self.tasks))
        with undisturbed(self._model), torch.enable_grad(), self._differentiable() as places:
            parameters = [place.parameter for place in places]
            for index, (name, task) in enumerate(self.tasks.items()):
                if len(places) < len(self._space.places):
                    gradients[index].zero_()
                for number, loss in enumerate(self._chunks(task)):
                    self._check(name, loss)
                    losses[index] += loss.item()
                    parts = torch.autograd.grad(loss, parameters, allow_unused=True)
                    self._space.write(parts, places, gradients[index], over=number == 0)
        return Evaluation(losses, gradients)

    def at(self, flat: Tensor) -> Evaluation:
        """The same at the parameters `flat` ``[P]``; the model's own come back untouched."""
        with self._space.at(flat):
            return self.here()

    def losses_at(self, flat: Tensor) -> Floats:
        """The losses ``[tasks]`` alone, at the parameters `flat` ``[P]``."""
        losses = np.zeros(len(self.tasks))
        with self._space.at(flat), undisturbed(self._model), torch.no_grad():
            for index, task in enumerate(self.tasks.values()):
                losses[index] = sum(loss.item() for loss in self._chunks(task))
        return losses

    def curvature(self, flat: Tensor, direction: Tensor) -> Tensor:
        """Each task's Hessian at `flat` ``[P]`` times `direction` ``[P]``: ``[tasks, P]``.

        Raises `ObjectiveError` where a part of the model cannot be differentiated twice.
        """
        found = self._space.zeros(len(self.tasks))
        plain = (twice_differentiable(), _without_onednn())
        with self._space.at(flat), undisturbed(self._model), plain[0], plain[1], self._differentiable() as places:
            parameters = [place.parameter for place in places]
            along = [place.of(direction).view(place.parameter.shape) for place in places]
            for index, (name, task) in enumerate(self.tasks.items()):
                with torch.enable_grad():
                    for loss in self._chunks(task):
                        try:
                            self._write_product(loss, parameters, along, places, found[index])
                        except (RuntimeError, NotImplementedError) as error:
                            raise ObjectiveError(
                                f"task {name!r} cannot be differentiated twice ({str(error).splitlines()[0]}): "
                                "use method='path', which needs no second derivative"
                            ) from error
        return found

    def _write_product(
        self,
        loss: Tensor,
        parameters: list[nn.Parameter],
        along: list[Tensor],
        places: Sequence[Place],
        into: Tensor,
    ) -> None:
        gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        pairs = [(g, d) for g, d in zip(gradients, along, strict=True) if g is not None and g.requires_grad]
        slope = torch.stack([(g * d.to(g.dtype)).sum() for g, d in pairs]).sum() if pairs else None
        if slope is not None:
            _refuse_dead_ends(slope)
            self._space.write(torch.autograd.grad(slope, parameters, allow_unused=True), places, into)

    def _chunks(self, task: Loss) -> Iterable[Tensor]:
        return task.chunks(self._model) if isinstance(task, Objective) else (task(self._model),)

    @contextmanager
    def _differentiable(self) -> Iterator[list[Place]]:
        """The parameters to differentiate by: those that are trained now, or all that a path may have moved."""
        frozen = [place.parameter for place in self._space.places if not place.parameter.requires_grad]
        if not self.frozen_too:
            yield [place for place in self._space.places if place.parameter.requires_grad]
            return
        try:
            for parameter in frozen:
                parameter.requires_grad_(True)
            yield self._space.places
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)

    @staticmethod
    def _check(name: str, loss: Tensor) -> None:
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            what = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ObjectiveError(f"task {name!r} must return a scalar tensor, not {what}: reduce it, e.g. by a mean")
        if not loss.requires_grad:
            raise ObjectiveError(
                f"task {name!r} returned a loss without a gradient: compute it from the model, not under no_grad()"
            )


def _refuse_dead_ends(slope: Tensor) -> None:
    """Raise `RuntimeError` where a function said that its backward pass has no derivative.

    Autograd leaves what leads through it out without a word when it is asked for chosen parameters only.
    """
    seen, ahead = set(), [slope.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        if node.name() == "torch::autograd::Error":
            raise RuntimeError("a function in it is marked once_differentiable")
        seen.add(node)
        ahead.extend(following for following, _ in node.next_functions)


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Without fused kernels that can be differentiated once only."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Its recurrent layers have no second derivative. By one switch: torch's own context warns about another."""
    backend: Any = torch.backends.mkldnn
    before, backend.enabled = backend.enabled, False
    try:
        yield
    finally:
        backend.enabled = before
