"""Squared losses of a linear model, whose gradient flow has closed forms."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from attribution.counterfactual.game import Batch


class Diagonal:
    """Contributor c's data pull coordinate j to t_cj with strength h_cj: f(θ) = Σ_c ½ Σ_j h_cj (θ_j − t_cj)².

    With h = Σ_c h_c, t̄ = Σ_c h_c t_c / h and δ = θ_0 − t̄, in each coordinate, gradient flow at weight s for a time T is
    at θ_s(T) = t̄ + δ e^{−shT} = θ_1(sT), and at weight 1

        J_c(τ) = −h_c (t̄ − t_c) (1 − e^{−hτ}) / h − h_c δ τ e^{−hτ},

    since dJ_c/dτ = −h J_c − h_c (θ − t_c). For an objective ℓ = λ · θ the value φ_c = −∫₀ᵀ λ J_c(τ)/τ dτ is

        φ_c = Σ_j λ h_c [ (t̄ − t_c) Ein(hT) / h + δ (1 − e^{−hT}) / h ],   Ein(x) = ∫₀ˣ (1 − e^{−u})/u du.

    Its first part, what the contributor pulls elsewhere than all together, sums to nothing; the second is its share in
    the way that all go together.
    """

    def __init__(self, seed: int = 0, contributors: int = 3, coordinates: int = 4) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.strengths = 0.2 + torch.rand(contributors, coordinates, generator=draw)
        self.targets = torch.randn(contributors, coordinates, generator=draw)
        self.start = torch.randn(coordinates, generator=draw)
        self.slope = torch.randn(coordinates, generator=draw)

    def model(self) -> nn.Linear:
        model = nn.Linear(len(self.start), 1, bias=False)
        model.weight.data[0] = self.start
        return model

    def objective(self, model: nn.Module) -> Tensor:
        assert isinstance(model, nn.Linear)
        return model.weight[0] @ self.slope

    def batch(self, rate: float | None = None) -> Batch:
        """All the data: a row for each contributor and coordinate, and the sum of their losses."""
        roots = self.strengths.sqrt()
        count, size = roots.shape
        x = (torch.eye(size) * roots.unsqueeze(2)).reshape(-1, size)
        y = (roots * self.targets).reshape(-1)
        who = torch.arange(count).repeat_interleave(size)
        return Batch(who, lambda model: (model(x).squeeze(1) - y).square() / 2, rate)

    def values(self, time: float) -> np.ndarray:
        """φ ``[contributors]``, in closed form."""
        whole = self.strengths.sum(0)
        middle = (self.strengths * self.targets).sum(0) / whole
        powers = torch.arange(1.0, 80.0)
        terms = -((-whole * time).unsqueeze(1) ** powers) / (powers * torch.lgamma(powers + 1).exp())
        apart = (middle - self.targets) * (terms.sum(1) / whole)
        together = (self.start - middle) * (1 - (-whole * time).exp()) / whole
        return (self.strengths * (apart + together) @ self.slope).numpy()


class General:
    """Squared losses of random rows, whose Hessian is no diagonal, and a squared objective of others."""

    def __init__(self, seed: int = 0, rows: int = 12, inputs: int = 3) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.x, self.y = torch.randn(rows, inputs, generator=draw), torch.randn(rows, 2, generator=draw)
        self.held = torch.randn(20, inputs, generator=draw), torch.randn(20, 2, generator=draw)
        self.who = torch.arange(rows) % 3

    @staticmethod
    def model() -> nn.Linear:
        torch.manual_seed(4)
        return nn.Linear(3, 2)

    def objective(self, model: nn.Module) -> Tensor:
        return (model(self.held[0]) - self.held[1]).square().mean()

    def batch(self) -> Batch:
        return Batch(self.who, lambda model: (model(self.x) - self.y).square().mean(dim=1) / len(self.x))
