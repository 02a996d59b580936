"""Curvature from Kronecker factors of each linear layer, by the inputs and output gradients that the meter captures.

A layer's block of the empirical Fisher matrix is taken to be A ⊗ B (Martens & Grosse, "Optimizing Neural Networks with
Kronecker-factored Approximate Curvature", ICML 2015): A the mean of a aᵀ over positions, with a the layer's input and
a one for the bias, and B = N Σ b bᵀ, with b = b̂ / N the output gradients of a loss that is the mean of N rows' losses.
Both are moving averages over steps. A position of a sequence counts as an input of its own, uncorrelated with the
others of its row ("expand" of Eschenhagen et al., "Kronecker-Factored Approximate Curvature for Modern Neural Network
Architectures", NeurIPS 2023), and each row as one negative log likelihood: where a row's loss is a mean over T
predicted tokens, the block is T times too small.

With D the optimizer's reach, an implicit step has H (I + D H)⁻¹ in the place of H and is stable at any rate. Adam's
reach differs by element; D ≈ s · u vᵀ over the weight's rows and columns, fitted to its logarithm, keeps

    √D (A ⊗ B) √D ≈ s · (√V A √V) ⊗ (√U B √U)

a Kronecker product, in whose eigenvectors the division is by 1 + s · μ. Under SGD that is no approximation. Under Adam
an element whose reach is more than twice its fit would make the step unstable: its product is shortened in proportion,
so that no eigenvalue of the step is beyond 2 (one mean reach for all would be that of the elements that get no
gradients, thousands of times too large). Between the weights of different layers, and where a parameter is not that of
a linear layer used once, there is no curvature.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.counterfactual.again import Pass
from attribution.counterfactual.curvature import Curvature, Product
from attribution.ghost.factors import KeptBatch
from attribution.ghost.moments import Moments
from attribution.parameters import ParameterSpace

# Under AdamW values on digits correlate with masked retraining by 0.82, 0.81, 0.79 and 0.75 at 0, 0.5, 0.9 and 0.95:
# old factors are those of a worse model. At 0.5 eigenvectors may be some steps old, at no loss.
DECAY = 0.5  # of the moving averages, by step
REFRESH = 10  # steps that eigenvectors serve, after as many that each had their own


@dataclass(frozen=True)
class _Basis:
    """Eigenvectors of one factor √W F √W, for a diagonal W: Q, as √W Q and as Q / √W."""

    into: Tensor  # √W Q
    out: Tensor  # Q / √W

    @classmethod
    def of(cls, factor: Tensor, root: Tensor) -> _Basis:
        """With the square `root` ``[n]`` of W."""
        vectors = torch.linalg.eigh(factor * root.outer(root)).eigenvectors
        return cls(vectors * root[:, None], vectors / root[:, None])

    def variances(self, factor: Tensor) -> Tensor:
        """Those of √W F √W along the eigenvectors, ``[n]``: eigenvalues, while they are its own."""
        return (self.into * (factor @ self.into)).sum(dim=0).clamp(min=0)


class Kronecker(Curvature):
    """A ⊗ B of each linear layer, implicitly; `reduction` as in `Counterfactual`."""

    by_fisher = True
    needs_factors = True

    def __init__(self, space: ParameterSpace, reduction: str, decay: float = DECAY, refresh: int = REFRESH) -> None:
        self._space, self._mean, self._decay, self._refresh = space, reduction == "mean", decay, refresh
        self._coming: dict[str, Moments] = {}  # of the coming step
        self._layers: dict[str, _Layer] = {}
        self._shared: set[str] = set()

    @property
    def without(self) -> list[str]:
        """The names of the parameters that have no curvature here, of the steps so far."""
        have = {place.name for layer in self._layers.values() for place in (layer.weight, layer.bias) if place}
        return [place.name for place in self._space.places if place.name not in have]

    def batch(self, kept: KeptBatch | None, given: Pass | None) -> None:
        """Sum its moments."""
        assert kept is not None
        uses = Counter(place.name for factor in kept.factors for place in factor.places.values())
        self._shared.update(name for name, count in uses.items() if count > 1)
        with torch.no_grad():
            for factor in kept.factors:
                if self._shared & {place.name for place in factor.places.values()}:
                    continue
                found = Moments.of(factor, bias=True)
                if found is not None and found.weight.name in self._coming:
                    self._coming[found.weight.name].add(found)
                elif found is not None:
                    self._coming[found.weight.name] = found

    def product(self, start: Tensor, tangents: Tensor, reach: Tensor, rows: int) -> Product:
        """Layer by layer."""
        scale = float(rows) if self._mean else 1.0
        for name in self._shared:
            self._layers.pop(name, None)
        for name, moments in self._coming.items():
            if name not in self._shared and moments.positions:
                self._layers.setdefault(name, _Layer(moments)).update(moments, scale, self._decay)
        found = torch.zeros_like(tangents)
        for layer in self._layers.values():
            layer.multiply(tangents, reach, found, self._refresh)
        return lambda place, span: place.of(found)[:, span]

    def forget(self) -> None:
        """The step's moments are in the averages, or came to nothing."""
        self._coming.clear()


class _Layer:
    """One layer's averages, and the eigenvectors made of them some steps ago."""

    def __init__(self, moments: Moments) -> None:
        self.weight, self.bias, self._transposed = moments.weight, moments.bias, moments.transposed
        self._outputs, self._inputs = torch.zeros_like(moments.outputs), torch.zeros_like(moments.inputs)
        self._steps, self._age = 0, 0
        self._weight = 0.0  # of the batches in the averages
        self._bases: tuple[_Basis, _Basis] | None = None
        self._fitted: Tensor | None = None  # [o, i], the reach's fit u vᵀ by rows and columns, its level aside

    def update(self, moments: Moments, scale: float, decay: float) -> None:
        """A step's moments, its gradients times `scale` being those of a row."""
        self._outputs.mul_(decay).add_(moments.outputs, alpha=(1 - decay) * scale)
        self._inputs.mul_(decay).add_(moments.inputs, alpha=(1 - decay) / moments.positions)
        self._weight = decay * self._weight + 1 - decay
        self._steps += 1

    def multiply(self, tangents: Tensor, reach: Tensor, into: Tensor, refresh: int) -> None:
        """H (I + D H)⁻¹ times `tangents` ``[K, P]``, for the reach D ``[P]``."""
        logarithms = self._matrices(reach.unsqueeze(0))[0].clamp(min=1e-30).log()
        level = logarithms.mean()
        if self._bases is None or self._steps <= refresh or self._age >= refresh:
            rows, columns = ((logarithms - level).mean(dim=axis).div(2).exp() for axis in (1, 0))  # √u, √v
            self._bases, self._age = (_Basis.of(self._outputs, rows), _Basis.of(self._inputs, columns)), 0
            self._fitted = (rows**2).outer(columns**2)
        self._age += 1
        left, right = self._bases
        eigenvalues = left.variances(self._outputs).outer(right.variances(self._inputs)) / self._weight**2
        along = left.out.t() @ self._matrices(tangents) @ right.out
        along *= eigenvalues / (1 + level.exp() * eigenvalues)
        assert self._fitted is not None
        short = (level.exp() * self._fitted * 2 / logarithms.exp()).clamp(max=1.0)
        self._write(short * (left.out @ along @ right.out.t()), into)

    def _matrices(self, flat: Tensor) -> Tensor:
        """The layer's part of ``[K, P]``, ``[K, o, i]``, the bias as the last column."""
        weight = self.weight.of(flat).view(len(flat), *self.weight.parameter.shape)
        weight = weight.transpose(1, 2) if self._transposed else weight
        return weight if self.bias is None else torch.cat([weight, self.bias.of(flat).unsqueeze(2)], dim=2)

    def _write(self, matrices: Tensor, into: Tensor) -> None:
        if self.bias is not None:
            self.bias.of(into).copy_(matrices[:, :, -1])
            matrices = matrices[:, :, :-1]
        weight = matrices.transpose(1, 2) if self._transposed else matrices
        self.weight.of(into).copy_(weight.reshape(len(into), -1))
