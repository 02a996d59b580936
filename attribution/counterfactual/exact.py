"""Curvature without approximation: a Hessian-vector product for each contributor, forward over reverse.

The gradient of the batches' losses is differentiated along every tangent (Pearlmutter, "Fast Exact Multiplication by
the Hessian", Neural Computation 6, 1994), all contributors at once by vmap, or one by one where a layer does not allow
that. A step costs about three passes a contributor. The product is H itself, undamped: exact where the step is stable,
and where it is not, as for a learning rate beyond 2 over H's largest eigenvalue, tangents grow as the parameters would.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attribution.counterfactual.again import Pass
from attribution.counterfactual.curvature import Curvature, Product
from attribution.counterfactual.game import ReplayError, WeightedLoss
from attribution.ghost.factors import KeptBatch
from attribution.parameters import ParameterSpace


class Exact(Curvature):
    """The Hessian of the sum of the losses given with the step's batches."""

    def __init__(self, model: nn.Module, space: ParameterSpace) -> None:
        self._model, self._space = model, space
        self._passes: list[Pass] = []
        self._chunk: int | None = None  # contributors at once: all, until a layer turns out not to allow it

    def batch(self, kept: KeptBatch | None, given: Pass | None) -> None:
        """Keep the losses until the step."""
        assert given is not None
        self._passes.append(given)

    def product(self, start: Tensor, tangents: Tensor, reach: Tensor, rows: int) -> Product:
        """Sum the batches' products. Raises `ReplayError` for losses that have no second derivatives."""
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
        who = torch.full((len(given.batch.who),), -1, device=start.device)  # weights are all as they are
        everybody = torch.ones(len(who), dtype=start.dtype, device=start.device)
        for chunk in (None, 1) if self._chunk is None else (self._chunk,):
            try:
                with given.began.again(), torch.no_grad():
                    _, gradient, found = loss.tangents(start, given.batch, everybody, who, tangents, chunk)
            except ReplayError:
                if chunk == 1:
                    raise
            else:
                self._chunk = chunk
                return gradient, found
        raise AssertionError("unreachable")
