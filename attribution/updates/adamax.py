"""Adamax: Adam scaled by the running maximum of the gradients' sizes."""

from __future__ import annotations

import torch

from attribution.updates.adam import FirstMomentRule
from attribution.updates.rule import Share, Slot, lifetime, register


@register(torch.optim.Adamax)
class AdamaxRule(FirstMomentRule):
    """Δ_c = −η/(1−β₁ᵗ) · m_c / u, with u the optimizer's own (Kingma & Ba 2015, algorithm 2)."""

    def divide(self, slot: Slot) -> Share:
        """Divide the step; L2 decay enters the house's part of the gradient."""
        options = slot.options
        assert slot.memory is not None
        beta1, learning_rate = float(options["betas"][0]), float(options["lr"])
        slot.memory.mul_(beta1).add_(slot.direction(float(options["weight_decay"])), alpha=1 - beta1)
        steps = slot.number("step")
        inverse = slot.state("exp_inf").reciprocal()
        scale = inverse * (-learning_rate / (1 - beta1**steps))
        life = inverse.mul_((learning_rate if slot.uphill else -learning_rate) * lifetime(beta1, int(steps)))
        return Share(slot.memory, scale, life=life)
