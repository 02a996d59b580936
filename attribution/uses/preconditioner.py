"""Preconditioners P of a gradients' product gᵀPg', each the damped inverse of an approximate Fisher matrix.

The Fisher matrix is the empirical one: F = the mean of gᵢgᵢᵀ over some training samples' gradients gᵢ. P is symmetric,
so that it is enough to apply it to a query's gradient. Damping λ is relative: so many times the mean eigenvalue of each
parameter tensor's block, as Grosse et al., "Studying Large Language Model Generalization with Influence Functions"
(2023), have it with 0.1.

`Diagonal` keeps F's diagonal. `Kronecker` is EK-FAC of George et al., "Fast Approximate Natural Gradient Descent in a
Kronecker-factored Eigenbasis" (NeurIPS 2018): a layer's block is taken to have the eigenvectors of B ⊗ A, with A the
second moment of the layer's inputs and B that of its output gradients, and the variances that the samples' gradients
have along them. It is for the weights of linear layers that are used once; all else has its diagonal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attribution.ghost.moments import Moments
from attribution.parameters import Place
from attribution.uses.errors import UseError
from attribution.uses.tracer import Tracer

PRECONDITIONERS = ("identity", "diagonal", "kronecker")
DAMPING = 0.1  # of the mean eigenvalue

Preconditioner = Callable[[Tensor], Tensor]  # [..., P] -> [..., P]


def fitted(name: str, tracer: Tracer, rows: Sequence[Tensor], damping: float = DAMPING) -> Preconditioner:
    """The preconditioner of that name at the tracer's model, from training samples `rows`, each ``[tokens]``.

    Costs a backward pass for each row and, for ``"kronecker"``, another. Raises `UseError`.
    """
    if name not in PRECONDITIONERS:
        raise UseError(f"preconditioner {name!r} is not one of {', '.join(PRECONDITIONERS)}")
    if name == "identity":
        return lambda gradients: gradients
    if not rows or not 0 < damping < float("inf"):
        raise UseError("a preconditioner needs training samples, and a damping above 0")
    bases = _bases(tracer, rows) if name == "kronecker" else {}
    blocks = [_Block(place, *bases.get(place.name, (None, None, False))) for place in tracer.places]
    moments = [torch.zeros_like(place.parameter.detach()).reshape(-1) for place in tracer.places]
    for row in rows:
        gradient = tracer.gradient([row])
        for block, moment in zip(blocks, moments, strict=True):
            moment.add_(block.rotated(block.place.of(gradient)).square(), alpha=1 / len(rows))

    def precondition(gradients: Tensor) -> Tensor:
        found = torch.zeros_like(gradients)
        for block, moment in zip(blocks, moments, strict=True):
            damped = moment + damping * moment.mean()
            inverse = torch.where(damped > 0, 1 / damped, 0)
            block.place.of(found).copy_(block.back(block.rotated(block.place.of(gradients)) * inverse))
        return found

    return precondition


@dataclass(frozen=True)
class _Block:
    """A parameter, and for a linear layer's weight the eigenvectors of its factors, as columns."""

    place: Place
    outputs: Tensor | None  # [o, o]
    inputs: Tensor | None  # [i, i]
    transposed: bool  # the weight is [i, o], as in transformers' Conv1D

    def rotated(self, flattened: Tensor) -> Tensor:
        """``[..., n]`` in the eigenvectors' coordinates."""
        sides = self._sides()
        return flattened if sides is None else self._between(flattened, *sides)

    def back(self, flattened: Tensor) -> Tensor:
        """``[..., n]`` out of them again."""
        sides = self._sides()
        return flattened if sides is None else self._between(flattened, sides[0].t(), sides[1].t())

    def _sides(self) -> tuple[Tensor, Tensor] | None:
        if self.outputs is None or self.inputs is None:
            return None
        return (self.inputs, self.outputs) if self.transposed else (self.outputs, self.inputs)

    def _between(self, flattened: Tensor, left: Tensor, right: Tensor) -> Tensor:
        matrices = flattened.reshape(*flattened.shape[:-1], *self.place.parameter.shape)
        return (left.t() @ matrices @ right).reshape(flattened.shape)


def _bases(tracer: Tracer, rows: Sequence[Tensor]) -> dict[str, tuple[Tensor, Tensor, bool]]:
    """Eigenvectors for each weight that one linear layer uses once, by name: of outputs, of inputs, and transposed."""
    sums: dict[str, Moments] = {}
    shared: set[str] = set()
    for row in rows:
        factors = tracer.factors(row.unsqueeze(0))
        uses = Counter(place.name for factor in factors for place in factor.places.values())
        shared.update(name for name, count in uses.items() if count > 1)
        for factor in factors:
            weight = factor.places.get("weight")
            if weight is None or weight.name in shared:
                continue
            found = Moments.of(factor, bias=False)
            if found is not None and found.weight.name in sums:
                sums[found.weight.name].add(found)
            elif found is not None:
                sums[found.weight.name] = found
    return {
        name: (
            torch.linalg.eigh(moments.outputs).eigenvectors,
            torch.linalg.eigh(moments.inputs).eigenvectors,
            moments.transposed,
        )
        for name, moments in sums.items()
        if name not in shared
    }
