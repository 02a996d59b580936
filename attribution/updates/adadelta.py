"""Adadelta: the scale is the ratio of two running root mean squares, of earlier steps and of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from attribution.updates.rule import Share, Slot, UpdateRule, register


@register(torch.optim.Adadelta)
class AdadeltaRule(UpdateRule):
    """Δ_c = −η · √(D + ε)/√(v + ε) · g_c, with D from before the step (Zeiler 2012, algorithm 1)."""

    def keeps(self, options: Mapping[str, Any]) -> Sequence[str]:
        """The running mean square of the steps, which the step itself changes."""
        return ("acc_delta",)

    def divide(self, slot: Slot) -> Share:
        """Divide the step; L2 decay enters the house's part of the gradient."""
        options = slot.options
        epsilon = float(options["eps"])
        scale = (slot.before("acc_delta") + epsilon).sqrt_().div_((slot.state("square_avg") + epsilon).sqrt_())
        scale.mul_(-float(options["lr"]))
        life = -scale if slot.uphill else scale
        return Share(slot.direction(float(options["weight_decay"])), scale, life=life)
