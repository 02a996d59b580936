"""Curvature from the captured factors alone: a signed sketch of the empirical Fisher matrix, by contributor.

For a loss that is the mean of N rows' losses, each a negative log likelihood, the Fisher matrix is the mean of rows'
ĝĝᵀ, and the Hessian but for what the residuals add. With independent signs ε_r = ±1,

    z_c = Σ_{r of c} ε_r g_r,   E[Σ_c z_c z_cᵀ] = Σ_r g_r g_rᵀ,   H ≈ N Σ_c z_c z_cᵀ

(g_r = ĝ_r / N is row r's part of the gradient): products between different rows vanish on average, and the steps of a
run average. One z_c a contributor costs what the division of the gradient costs, and no pass. A matrix of so low a rank
may have an eigenvalue too large for an explicit step, so H (I + D H)⁻¹ is applied, an implicit step, by Woodbury's
identity: a system of K equations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.counterfactual.again import Pass
from attribution.counterfactual.curvature import Curvature, Product
from attribution.ghost.factors import KeptBatch
from attribution.ghost.signed import SignedParts
from attribution.parameters import ParameterSpace, Place

STRETCH = 1 << 16  # elements at a time: few enough that all of them stay in a core's cache


class Sketch(Curvature):
    """N Σ_c z_c z_cᵀ, implicitly; `reduction` as in `Counterfactual`."""

    by_fisher = True

    def __init__(self, space: ParameterSpace, signed: SignedParts, reduction: str) -> None:
        self._space, self._signed, self._mean = space, signed, reduction == "mean"

    def batch(self, kept: KeptBatch | None, given: Pass | None) -> None:
        """The sketch was summed while the batch's gradients came."""

    def product(self, start: Tensor, tangents: Tensor, reach: Tensor, rows: int) -> Product:
        """By one pass over the sketch and the tangents for the inner products."""
        parts = self._signed.parts
        scale = float(rows) if self._mean else 1.0
        along = torch.zeros(parts.count, len(tangents), dtype=torch.float64)
        among = torch.zeros(parts.count, parts.count, dtype=torch.float64)
        for place in self._space.places:
            if parts.untouched(place):
                continue
            dense = parts.dense(place)
            for low in range(0, place.stop - place.start, STRETCH):
                span = slice(low, min(low + STRETCH, place.stop - place.start))
                where = slice(place.start + span.start, place.start + span.stop)
                mine = dense[:, span]
                along += (mine @ tangents[:, where].t()).double().cpu()
                among += ((mine * reach[where]) @ mine.t()).double().cpu()
        system = torch.eye(parts.count, dtype=torch.float64) + scale * among
        weights = (scale * torch.linalg.solve(system, along)).to(tangents.dtype).to(tangents.device).t()

        def of(place: Place, span: slice) -> Tensor:
            if parts.untouched(place):
                return torch.zeros(len(tangents), span.stop - span.start, dtype=tangents.dtype, device=tangents.device)
            product: Tensor = weights @ parts.dense(place)[:, span]
            return product

        return of

    def forget(self) -> None:
        """The next step's sketch begins at zero."""
        self._signed.parts.clear()
