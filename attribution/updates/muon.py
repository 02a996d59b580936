"""Muon: the factor that orthogonalises the whole momentum is common property, held fixed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attribution.updates.rule import Share, Slot, UpdateRule, register

CAST = 0.1  # of the update: how far torch's bfloat16 may be from ours, by an element that is cast to its neighbour


@register("torch.optim.Muon", "torch.optim._muon.Muon")
class MuonRule(UpdateRule):
    """Δ_c = −η' F u_c, with F the Newton-Schulz polynomials of the whole update u, as one matrix (Jordan et al. 2024).

    torch computes F u in bfloat16. What that rounding moved (2 % of a step along a well conditioned momentum, a third
    and more along one of low rank) no contributor caused: it is the house's.
    """

    whole = True

    def remembers(self, options: Mapping[str, Any]) -> bool:
        """It always keeps momentum."""
        return True

    def memory(self, state: Mapping[str, Any]) -> Tensor | None:
        """The momentum buffer."""
        buffer: Tensor | None = state.get("momentum_buffer")
        return buffer

    def divide(self, slot: Slot) -> Share:
        """Divide the step; weight decay is decoupled, and so the house's."""
        options = slot.options
        assert slot.memory is not None
        momentum, learning_rate = float(options["momentum"]), float(options["lr"])
        rate = -learning_rate * _ratio(options["adjust_lr_fn"], *slot.shape)
        direction = slot.direction()
        slot.memory.mul_(momentum).add_(direction, alpha=1 - momentum)
        update, followed = slot.memory, slot.state("momentum_buffer")
        if options["nesterov"]:
            followed = torch.lerp(direction.sum(0), followed, momentum)
            update = torch.lerp(direction, update, momentum)
        factor = _Factor(followed.reshape(slot.shape), options)
        linear = factor.applied(update)
        decay = (
            torch.zeros_like(slot.start)
            if options["weight_decay"] == 0
            else slot.shrinkage(learning_rate * float(options["weight_decay"]))
        )
        assert decay is not None
        moved = slot.end - slot.start - decay
        computed = _in_bfloat16(followed.reshape(slot.shape), slot.after["momentum_buffer"].dtype, options)
        if float((moved - rate * computed).norm()) <= CAST * abs(rate) * float(computed.norm()):
            rounding = moved - rate * linear.sum(0)
        else:
            rounding = rate * (computed - linear.sum(0))  # the reconciliation will say what is amiss
        lived = rate if momentum < 1 else rate * (1 - momentum)
        return Share(linear, rate, decay + rounding, lambda gradients: factor.adjoint(gradients).mul_(lived))


class _Factor:
    """The matrix F with F u = Newton-Schulz(u) for one u, from the side of u that is shorter."""

    def __init__(self, update: Tensor, options: Mapping[str, Any]) -> None:
        self._shape, self._right = update.shape, update.shape[0] > update.shape[1]
        a, b, c = options["ns_coefficients"]
        x = update.t() if self._right else update
        norm = x.norm().clamp(min=float(options["eps"]))
        x = x / norm
        matrix = torch.eye(len(x), dtype=x.dtype, device=x.device) / norm
        for _ in range(int(options["ns_steps"])):
            gram = x @ x.t()
            polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
            x, matrix = torch.addmm(x, polynomial, x, beta=a), torch.addmm(matrix, polynomial, matrix, beta=a)
        self._matrix = matrix

    def applied(self, vectors: Tensor) -> Tensor:
        """F applied to each of `vectors` ``[..., n]``."""
        return self._product(self._matrix, vectors)

    def adjoint(self, vectors: Tensor) -> Tensor:
        """F transposed applied to each of `vectors` ``[..., n]``."""
        return self._product(self._matrix.t(), vectors)

    def _product(self, matrix: Tensor, vectors: Tensor) -> Tensor:
        matrices = vectors.reshape(-1, *self._shape)
        product = matrices @ matrix.t() if self._right else matrix @ matrices
        return product.reshape(vectors.shape)


def _in_bfloat16(update: Tensor, dtype: torch.dtype, options: Mapping[str, Any]) -> Tensor:
    """Newton-Schulz as torch does it in bfloat16, ``[n]``: with the same operations, for their rounding."""
    a, b, c = options["ns_coefficients"]
    x = update.to(dtype).bfloat16()
    turned = x.shape[0] > x.shape[1]
    if turned:
        x = x.t()
    x = x.div(x.norm().clamp(min=float(options["eps"])))
    for _ in range(int(options["ns_steps"])):
        gram = x @ x.t()
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.t() if turned else x).reshape(-1).to(update.dtype)


def _ratio(adjustment: str | None, rows: int, columns: int) -> float:
    """What torch.optim.Muon multiplies the learning rate by for a matrix of this shape."""
    if adjustment == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))
