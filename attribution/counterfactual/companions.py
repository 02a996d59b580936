"""Curvature by finite differences: one companion model a contributor, a little way along its tangent.

    H J_c ≈ (∇f(θ + ε_c J_c) − ∇f(θ)) / ε_c,   ε_c = reach · ‖θ‖ / ‖J_c‖

A gradient a contributor and step, all companions at once by vmap: a first derivative is enough, so layers that have no
forward one will do. The difference is wrong by ε_c/2 times the third derivative, in proportion to the reach, and by
the rounding of θ + ε_c J_c, in proportion to the unit of rounding over the reach: a companion's distance is measured in
‖θ‖, because rounding is, and the best reach is about the square root of that unit (Knoll & Keyes, "Jacobian-free
Newton–Krylov methods", Journal of Computational Physics 193, 2004, section 2.1.2). At θ + reach · J_c a companion
would be as far as J_c happens to be long: too far where tangents have grown, and too near where they have not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attribution.counterfactual.game import Batch, WeightedLoss
from attribution.counterfactual.recomputed import Recomputed
from attribution.parameters import ParameterSpace


class Companions(Recomputed):
    """Companions `reach` away from the model, as a part of its parameters' length; by default as said above."""

    def __init__(self, model: nn.Module, space: ParameterSpace, reach: float | None = None) -> None:
        super().__init__(model, space)
        rounding: float = max(torch.finfo(place.parameter.dtype).eps for place in space.places)
        self.reach = rounding**0.5 if reach is None else reach

    def of_batch(
        self, loss: WeightedLoss, batch: Batch, start: Tensor, tangents: Tensor, chunk: int | None
    ) -> tuple[Tensor, Tensor]:
        """The model's own gradient is computed beside the companions', so that its rounding is theirs."""
        lengths = torch.linalg.vector_norm(tangents, dim=1, keepdim=True)
        distance = self.reach * (float(start.norm()) or 1.0)
        along = torch.where(lengths > 0, distance / lengths, 0)  # without a tangent there is no product
        gradients = loss.gradients(torch.cat([start.unsqueeze(0), start + along * tangents]), batch, chunk)
        product = torch.where(lengths > 0, (gradients[1:] - gradients[0]) * (lengths / distance), 0)
        return gradients[0], product
