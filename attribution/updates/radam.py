"""RAdam: Adam that scales only once it knows the variance well enough."""

from __future__ import annotations

import torch
from torch import Tensor

from attribution.updates.adam import FirstMomentRule
from attribution.updates.rule import Share, Slot, lifetime, register


@register(torch.optim.RAdam)
class RAdamRule(FirstMomentRule):
    """Δ_c = −η/(1−β₁ᵗ) · m_c, times r_t √(1−β₂ᵗ)/(√v + ε) in the rectified steps (Liu et al. 2020, algorithm 2)."""

    def divide(self, slot: Slot) -> Share:
        """Divide the step, rectified or not."""
        options = slot.options
        assert slot.memory is not None
        learning_rate, weight_decay = float(options["lr"]), float(options["weight_decay"])
        beta1, beta2 = (float(beta) for beta in options["betas"])
        decoupled = bool(options["decoupled_weight_decay"])
        slot.memory.mul_(beta1).add_(slot.direction(0.0 if decoupled else weight_decay), alpha=1 - beta1)
        steps = slot.number("step")
        corrected = -learning_rate / (1 - beta1**steps)
        lived = (learning_rate if slot.uphill else -learning_rate) * lifetime(beta1, int(steps))
        decay = slot.shrinkage(learning_rate * weight_decay if decoupled else 0.0)
        rectification = _rectification(beta2, steps)
        if rectification is None:
            return Share(slot.memory, corrected, decay, lived)
        known: Tensor = (slot.state("exp_avg_sq").sqrt().add_(options["eps"])).reciprocal_().mul_(rectification)
        return Share(slot.memory, known * corrected, decay, known * lived)


def _rectification(beta2: float, step: float) -> float | None:
    """``r_t √(1 − β₂ᵗ)``, or None while the simple moving average is no longer than 5."""
    unbiased = 1 - beta2**step
    limit = 2 / (1 - beta2) - 1
    length = limit - 2 * step * beta2**step / unbiased
    if length <= 5:
        return None
    variance = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
    return float((variance * unbiased) ** 0.5)
