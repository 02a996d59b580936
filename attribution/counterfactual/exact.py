"""Curvature without approximation: a Hessian-vector product for each contributor, forward over reverse.

The gradient of the batches' losses is differentiated along every tangent (Pearlmutter, "Fast Exact Multiplication by
the Hessian", Neural Computation 6, 1994), all contributors at once by vmap, or one by one where a layer does not allow
that. The product is H itself, undamped: exact where the step is stable, and where it is not, as for a learning rate
beyond 2 over H's largest eigenvalue, tangents grow as the parameters would.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.counterfactual.game import Batch, WeightedLoss
from attribution.counterfactual.recomputed import Recomputed


class Exact(Recomputed):
    """H J_c by forward over reverse differentiation."""

    def of_batch(
        self, loss: WeightedLoss, batch: Batch, start: Tensor, tangents: Tensor, chunk: int | None
    ) -> tuple[Tensor, Tensor]:
        """One Jacobian-vector product of the gradient a contributor."""
        nobody = torch.full((len(batch.who),), -1, device=start.device)  # no row's weight changes
        everybody = torch.ones(len(nobody), dtype=start.dtype, device=start.device)
        _, gradient, product = loss.tangents(start, batch, everybody, nobody, tangents, chunk)
        return gradient, product
