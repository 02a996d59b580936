"""RMSprop, centred or not, with or without momentum: what enters the momentum is already scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attribution.updates.rule import Share, Slot, UpdateRule, register


@register(torch.optim.RMSprop)
class RMSpropRule(UpdateRule):
    """b_c ← μ b_c + g_c / (√v + ε) and Δ_c = −η b_c, with v the optimizer's own (Hinton 2012; centred: Graves 2013)."""

    def remembers(self, options: Mapping[str, Any]) -> bool:
        """Whether the group has momentum."""
        return float(options["momentum"]) > 0

    def memory(self, state: Mapping[str, Any]) -> Tensor | None:
        """The momentum buffer."""
        buffer: Tensor | None = state.get("momentum_buffer")
        return buffer

    def divide(self, slot: Slot) -> Share:
        """Divide the step; each gradient keeps the scale of the step in which it came."""
        options = slot.options
        direction, rate = slot.direction(float(options["weight_decay"])), -float(options["lr"])
        average = slot.state("square_avg")
        if options["centered"]:
            mean = slot.state("grad_avg")
            average = average.addcmul(mean, mean, value=-1)
        inverse = average.sqrt().add_(options["eps"]).reciprocal_()
        life = inverse * (-rate if slot.uphill else rate)
        if slot.memory is None:
            return Share(direction, inverse.mul_(rate), life=life)
        momentum = float(options["momentum"])
        slot.memory.mul_(momentum).addcmul_(direction, inverse)
        return Share(slot.memory, rate, life=life.div_(1 - momentum) if momentum < 1 else life)
