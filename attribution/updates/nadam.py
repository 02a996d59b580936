"""NAdam: Adam whose step looks ahead by Nesterov's momentum, on a schedule of its own."""

from __future__ import annotations

from functools import lru_cache

import torch

from attribution.updates.adam import FirstMomentRule
from attribution.updates.rule import Share, Slot, register


@register(torch.optim.NAdam)
class NAdamRule(FirstMomentRule):
    """Δ_c = −η [(1−μ_t)/(1−Π_t) · g_c + μ_{t+1}/(1−Π_t μ_{t+1}) · m_c] / (√v̂ + ε), with Π_t = μ_1 ⋯ μ_t.

    Dozat 2016, with the schedule μ_t = β₁ (1 − ½ · 0.96^(t ψ)) as torch.optim.NAdam has it.
    """

    def divide(self, slot: Slot) -> Share:
        """Divide the step: gradient and first moment are both linear."""
        options = slot.options
        assert slot.memory is not None
        learning_rate, weight_decay = float(options["lr"]), float(options["weight_decay"])
        beta1, beta2 = (float(beta) for beta in options["betas"])
        decoupled, psi = bool(options["decoupled_weight_decay"]), float(options["momentum_decay"])
        direction = slot.direction(0.0 if decoupled else weight_decay)
        slot.memory.mul_(beta1).add_(direction, alpha=1 - beta1)
        steps, product = slot.number("step"), slot.number("mu_product")
        now, after = _momentum(beta1, psi, steps), _momentum(beta1, psi, steps + 1)
        linear = direction * ((1 - now) / (1 - product))
        linear.add_(slot.memory, alpha=after / (1 - product * after))
        denominator = (slot.state("exp_avg_sq") / (1 - beta2**steps)).sqrt_().add_(options["eps"])
        scale = denominator.reciprocal_().mul_(-learning_rate)
        life = scale * ((-1 if slot.uphill else 1) * _lifetime(beta1, psi, steps, product))
        return Share(linear, scale, slot.shrinkage(learning_rate * weight_decay if decoupled else 0.0), life)


def _momentum(beta1: float, psi: float, step: float) -> float:
    return float(beta1 * (1 - 0.5 * 0.96 ** (step * psi)))


@lru_cache(maxsize=64)
def _lifetime(beta1: float, psi: float, step: float, product: float) -> float:
    """``(1 − μ_t)/(1 − Π_t) + Σ_{k ≥ t} (1 − β₁) β₁^(k − t) μ_{k+1}/(1 − Π_{k+1})``: as `lifetime`, on the schedule."""
    total, weight = (1 - _momentum(beta1, psi, step)) / (1 - product), 1 - beta1
    while weight > 1e-15:
        step += 1
        momentum = _momentum(beta1, psi, step)
        product *= momentum
        total += weight * momentum / (1 - product)
        weight *= beta1
    return total
