"""Curvature from the batches' losses, computed again elsewhere."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from attribution.counterfactual.again import Pass
from attribution.counterfactual.curvature import Curvature, Product
from attribution.counterfactual.game import Batch, ReplayError, WeightedLoss
from attribution.ghost.factors import KeptBatch
from attribution.parameters import ParameterSpace


class Recomputed(Curvature):
    """The Hessian of the sum of the losses given with the step's batches."""

    def __init__(self, model: nn.Module, space: ParameterSpace) -> None:
        self._model, self._space = model, space
        self._passes: list[Pass] = []
        self._chunk: int | None = None  # contributors at once: all, until a layer turns out not to allow it

    @abstractmethod
    def of_batch(
        self, loss: WeightedLoss, batch: Batch, start: Tensor, tangents: Tensor, chunk: int | None
    ) -> tuple[Tensor, Tensor]:
        """The gradient ``[P]`` of the batch's losses at `start`, and their Hessian times `tangents`, ``[K, P]``.

        By so many contributors at once as `chunk` says.
        """

    def batch(self, kept: KeptBatch | None, given: Pass | None) -> None:
        """Keep the losses until the step."""
        assert given is not None
        self._passes.append(given)

    def product(self, start: Tensor, tangents: Tensor, reach: Tensor, rows: int) -> Product:
        """Sum the batches' products. Raises `ReplayError` for losses that cannot be differentiated so."""
        product, self.gradient = torch.zeros_like(tangents), torch.zeros_like(start)
        loss = WeightedLoss(self._model, self._space)
        for given in self._passes:
            gradient, found = self._of(loss, given, start, tangents)
            self.gradient += gradient
            product += found
        return lambda place, span: place.of(product)[:, span]

    def forget(self) -> None:
        """The losses are of no more use."""
        self._passes.clear()
        self.gradient = None

    def _of(self, loss: WeightedLoss, given: Pass, start: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        for chunk in (None, 1) if self._chunk is None else (self._chunk,):
            try:
                with given.began.again(), torch.no_grad():
                    found = self.of_batch(loss, given.batch, start, tangents, chunk)
            except ReplayError:
                if chunk == 1:
                    raise
            else:
                self._chunk = chunk
                return found
        raise AssertionError("unreachable")
