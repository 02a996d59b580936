"""Adagrad: no momentum, so each step is the gradient's alone."""

from __future__ import annotations

import torch

from attribution.updates.rule import Share, Slot, UpdateRule, register


@register(torch.optim.Adagrad)
class AdagradRule(UpdateRule):
    """Δ_c = −η/(1 + (t−1) λ) · g_c / (√Σg² + ε), with Σg² the optimizer's own (Duchi, Hazan & Singer 2011)."""

    def divide(self, slot: Slot) -> Share:
        """Divide the step; L2 decay enters the house's part of the gradient."""
        options = slot.options
        rate = float(options["lr"]) / (1 + (slot.number("step") - 1) * float(options["lr_decay"]))
        scale = slot.state("sum").sqrt().add_(options["eps"]).reciprocal_().mul_(-rate)
        life = -scale if slot.uphill else scale
        return Share(slot.direction(float(options["weight_decay"])), scale, life=life)
