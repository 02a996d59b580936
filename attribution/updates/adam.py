"""Adam and AdamW: the first moment is divided, the second moment's scaling is common property, held fixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attribution.updates.rule import Share, Slot, UpdateRule, lifetime, register


class FirstMomentRule(UpdateRule):
    """What every optimizer with a first moment ``exp_avg`` shares."""

    def remembers(self, options: Mapping[str, Any]) -> bool:
        """They always keep one."""
        return True

    def memory(self, state: Mapping[str, Any]) -> Tensor | None:
        """The first moment."""
        moment: Tensor | None = state.get("exp_avg")
        return moment


@register(torch.optim.Adam)
class AdamRule(FirstMomentRule):
    """Δ_c = −η/(1−β₁ᵗ) · m_c / (√v̂ + ε), with v̂ the optimizer's own (Kingma & Ba 2015, algorithm 1)."""

    decoupled = False

    def divide(self, slot: Slot) -> Share:
        """Divide the step; decoupled decay moves the house, L2 decay enters its part of the gradient."""
        options = slot.options
        assert slot.memory is not None
        learning_rate, weight_decay = float(options["lr"]), float(options["weight_decay"])
        beta1, beta2 = (float(beta) for beta in options["betas"])
        decoupled = options.get("decoupled_weight_decay", self.decoupled)
        direction = slot.direction(0.0 if decoupled else weight_decay)
        slot.memory.lerp_(direction, 1 - beta1)
        steps = slot.number("step")
        second = slot.state("max_exp_avg_sq" if options["amsgrad"] else "exp_avg_sq")
        correction = (1 - beta2**steps) ** 0.5
        denominator = second.sqrt().add_(float(options["eps"]) * correction)
        scale = denominator.reciprocal_().mul_(-learning_rate * correction / (1 - beta1**steps))
        lived = (-1 if slot.uphill else 1) * (1 - beta1**steps) * lifetime(beta1, int(steps))
        decay = slot.shrinkage(learning_rate * weight_decay if decoupled else 0.0)
        return Share(slot.memory, scale, decay, lambda gradients: (gradients * scale).mul_(lived))


@register(torch.optim.AdamW)
class AdamWRule(AdamRule):
    """The same with weight decay beside the gradient (Loshchilov & Hutter 2019)."""

    decoupled = True
