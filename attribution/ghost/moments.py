"""Second moments of a linear layer's inputs and of its output gradients: the two factors of its Kronecker block."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from attribution.ghost.conv1d import conv1d
from attribution.ghost.factors import FallbackFactor, RuleFactor
from attribution.ghost.linear import linear
from attribution.ghost.rule import flat
from attribution.parameters import Place

WIDEST = 4096  # features of a layer whose second moments are taken: eigenvectors cost their cube


@dataclass
class Moments:
    """Sums over positions whose output the loss depends on; a bias is one more input, always one."""

    weight: Place
    bias: Place | None
    outputs: Tensor  # [o, o], Σ b bᵀ
    inputs: Tensor  # [i, i], Σ a aᵀ; [i + 1, i + 1] with a bias
    positions: int
    transposed: bool  # the weight is [i, o], as in transformers' Conv1D

    @classmethod
    def of(cls, factor: RuleFactor | FallbackFactor, *, bias: bool) -> Moments | None:
        """Of one call, with its `bias` if it has a trained one; None but for linear layers that are not too wide."""
        weight = factor.places.get("weight")
        if weight is None or not isinstance(factor, RuleFactor) or factor.kind.rule not in (linear, conv1d):
            return None
        dtype = weight.parameter.dtype
        a, b = flat(factor.inputs, dtype), flat(factor.output_gradient, dtype)
        if max(a.shape[1], b.shape[1]) > WIDEST:
            return None
        counted = b.any(dim=1)
        a, b = a[counted], b[counted]
        added = factor.places.get("bias") if bias else None
        if added is not None:
            a = functional.pad(a, (0, 1), value=1.0)
        return cls(weight, added, b.t() @ b, a.t() @ a, len(a), factor.kind.rule is conv1d)

    def add(self, other: Moments) -> None:
        """Those of another call of the layer too."""
        self.outputs += other.outputs
        self.inputs += other.inputs
        self.positions += other.positions
