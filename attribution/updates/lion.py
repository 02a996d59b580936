"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from attribution.updates.adam import FirstMomentRule
from attribution.updates.rule import Share, Slot, register
from attribution.updates.sign import divided_sign


@register("lion_pytorch.lion_pytorch.Lion", "lion_pytorch.foreach.Lion")
class LionRule(FirstMomentRule):
    """Δ_c = −η u_c / |u| with u = β₁ m + (1−β₁) g, and then m ← β₂ m + (1−β₂) g (Chen et al. 2023, algorithm 2)."""

    def refuses(self, optimizer: Optimizer) -> str | None:
        """lion_pytorch's own decoupled decay, of which the groups say nothing."""
        return "decoupled_weight_decay=True" if getattr(optimizer, "decoupled_wd", False) else None

    def divide(self, slot: Slot) -> Share:
        """Divide the step; weight decay is decoupled, and so the house's."""
        options = slot.options
        assert slot.memory is not None
        learning_rate = float(options["lr"])
        beta1, beta2 = (float(beta) for beta in options["betas"])
        direction = slot.direction()
        update = torch.lerp(direction, slot.memory, beta1)
        slot.memory.mul_(beta2).add_(direction, alpha=1 - beta2)
        decay = slot.shrinkage(learning_rate * float(options["weight_decay"]))
        moved = slot.end - slot.start if decay is None else slot.end - slot.start - decay
        sign = moved.div_(-learning_rate or 1.0).round_().clamp_(-1, 1)
        scale, rest = divided_sign(update, sign, torch.finfo(slot.after["exp_avg"].dtype).eps)
        scale.mul_(-learning_rate)
        rest.mul_(-learning_rate)
        life = scale * ((-1.0 if slot.uphill else 1.0) * (1.0 if beta2 < 1 else 1 - beta1))
        return Share(update, scale, rest if decay is None else rest.add_(decay), life)
