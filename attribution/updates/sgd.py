"""SGD with momentum, Nesterov, dampening and weight decay: each part has its own momentum buffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attribution.updates.rule import Share, Slot, register


@register(torch.optim.SGD)
class SGDRule:
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
        options, direction = slot.options, slot.gradient
        if options["maximize"]:
            direction.neg_()
        if options["weight_decay"] != 0:
            direction[-1].add_(slot.start, alpha=float(options["weight_decay"]))
        if slot.memory is not None:
            momentum = float(options["momentum"])
            if slot.fresh:
                slot.memory.copy_(direction)
            else:
                slot.memory.mul_(momentum).add_(direction, alpha=1 - float(options["dampening"]))
            direction = direction.add_(slot.memory, alpha=momentum) if options["nesterov"] else slot.memory
        return Share(direction, -float(options["lr"]))
