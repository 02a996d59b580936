"""Scores of samples by what their gradients at a model's present parameters are in given directions (DESIGN §3.4).

With a direction known, such as the gradient of a query, a sample's score is what its layers' captured inputs and output
gradients give in that direction, as during a run: no gradient of a single sample is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from attribution.errors import UnscoredRowsError
from attribution.ghost.capture import Capture
from attribution.ghost.factors import FallbackFactor, KeptBatch, RuleFactor
from attribution.ghost.gradients import DividedGradient
from attribution.parameters import ParameterSpace, Place
from attribution.record import Floats
from attribution.undisturbed import evaluation_mode, gradients_kept, random_state_kept

Loss = Callable[[nn.Module, Tensor], Tensor]

_ROUNDING = 1e4  # units of rounding by which rows may miss what the whole gradient comes to


def summed_loss(model: nn.Module, rows: Tensor) -> Tensor:
    """The next-token losses of `rows` ``[rows, tokens]``, filled up with −1 at their ends, summed, in nats."""
    logits = model(input_ids=rows.clamp(min=0), use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.transpose(1, 2).float(), rows[:, 1:], ignore_index=-1, reduction="sum")


class Tracer:
    """Scores rows by what their gradients at the model's present parameters are in given directions.

    `loss(model, rows)` is a sum over the rows of each one's own loss. The model is left as it was; leave the ``with``
    block to take the hooks off it. Raises `UnsupportedLayerError` for modules that mix rows.
    """

    def __init__(self, model: nn.Module, loss: Loss = summed_loss) -> None:
        self._model, self._loss = model, loss
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._space = ParameterSpace(model, SGD(parameters, lr=0.0))
        self._gradient = DividedGradient(self._space, 1)
        self._capture = Capture(model, self._gradient, {}, divides=False)

    def gradient(self, rows: Sequence[Tensor], weight: float = 1.0) -> Tensor:
        """The gradient ``[P]`` of the losses of `rows`, each ``[tokens]``, summed and times `weight`."""
        found = self._space.zeros()
        with self._undisturbed():
            for row in rows:
                loss = weight * self._loss(self._model, row.unsqueeze(0))
                parameters = [place.parameter for place in self._space.places]
                gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                self._space.write(gradients, self._space.places, found)
        return found

    def scores(self, rows: Tensor, directions: Tensor) -> Floats:
        """Each row's gradient times each of `directions` ``[queries, P]``: float64 ``[rows, queries]``.

        Raises `UnscoredRowsError` if the rows do not sum to what autograd's gradient of the batch comes to.
        """
        with self._undisturbed():
            scores: Floats = self._captured(rows).scores(directions).numpy()
            whole = np.zeros(len(directions))
            for place in self._space.places:
                if place.parameter.grad is not None:
                    whole += (place.of(directions) @ place.parameter.grad.reshape(-1)).double().cpu().numpy()
        allowed = _ROUNDING * self._gradient.epsilon * np.abs(scores).sum(axis=0) + 1e-300
        if not (np.abs(scores.sum(axis=0) - whole) <= allowed).all():
            raise UnscoredRowsError("trace", 0, float(scores.sum()), float(whole.sum()))
        return scores

    def lengths(self, rows: Sequence[Tensor], precondition: Callable[[Tensor], Tensor]) -> Floats:
        """The length √(gᵀPg) of the gradient of each of `rows` ``[tokens]``: a backward pass for each of them."""
        found = []
        for row in rows:
            gradient = self.gradient([row])
            found.append(float(torch.dot(gradient, precondition(gradient)).clamp(min=0).sqrt()))
        return np.array(found)

    @property
    def places(self) -> list[Place]:
        """Where each parameter lies in a gradient ``[P]``."""
        return self._space.places

    def factors(self, rows: Tensor) -> list[RuleFactor | FallbackFactor]:
        """Each layer's inputs and output gradients for `rows`."""
        with self._undisturbed():
            return self._captured(rows).factors

    def close(self) -> None:
        """Take every hook off the model."""
        self._capture.close()
        self._gradient.close()

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _captured(self, rows: Tensor) -> KeptBatch:
        kept = KeptBatch(torch.zeros(len(rows), dtype=torch.long), None)
        with self._capture.batch(kept.who, None, kept):
            self._loss(self._model, rows).backward()  # type: ignore[no-untyped-call]
        return kept

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        kept: list[AbstractContextManager[Any]] = [
            random_state_kept(),
            evaluation_mode(self._model),
            gradients_kept(self._model),
        ]
        with kept[0], kept[1], kept[2]:
            yield
