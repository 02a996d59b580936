"""SGD with momentum, Nesterov, dampening and weight decay: each part has its own momentum buffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attribution.updates.rule import Share, Slot, UpdateRule, register


@register(torch.optim.SGD)
class SGDRule(UpdateRule):
    """Δ_c = −η d_c, with d_c the gradient or the momentum of part c (torch.optim.SGD's documented algorithm)."""

    def remembers(self, options: Mapping[str, Any]) -> bool:
        """Whether the group has momentum."""
        return float(options["momentum"]) != 0

    def memory(self, state: Mapping[str, Any]) -> Tensor | None:
        """The momentum buffer."""
        buffer: Tensor | None = state.get("momentum_buffer")
        return buffer

    def divide(self, slot: Slot) -> Share:
        """Divide the step; L2 weight decay enters the house's part of the gradient and so its momentum."""
        options, direction = slot.options, slot.direction(float(slot.options["weight_decay"]))
        rate = -float(options["lr"])
        life = -rate if slot.uphill else rate
        if slot.memory is not None:
            momentum = float(options["momentum"])
            undamped = 1.0 if slot.fresh else 1 - float(options["dampening"])
            if slot.fresh:
                slot.memory.copy_(direction)
            else:
                slot.memory.mul_(momentum).add_(direction, alpha=undamped)
            direction = direction.add(slot.memory, alpha=momentum) if options["nesterov"] else slot.memory
            life *= undamped / (1 - momentum) if momentum < 1 else 1.0
        return Share(direction, rate, life=life)
