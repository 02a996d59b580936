"""Rprop: the gradient gives only the sign, the optimizer's own step sizes all the rest."""

from __future__ import annotations

import torch

from attribution.updates.rule import Share, Slot, UpdateRule, register
from attribution.updates.sign import divided_sign


@register(torch.optim.Rprop)
class RpropRule(UpdateRule):
    """Δ_c = −s · g_c / |g|, and 0 where the gradient turned round (Riedmiller & Braun 1993, as torch has it)."""

    def divide(self, slot: Slot) -> Share:
        """Divide the step; an element without a gradient, or whose step was taken back, did not move."""
        followed, size = slot.state("prev").sign(), slot.state("step_size")
        direction = slot.direction()
        scale, rest = divided_sign(direction, followed, torch.finfo(slot.after["prev"].dtype).eps)
        scale.mul_(-size * followed.abs())
        return Share(direction, scale, rest.mul_(-size), life=-scale if slot.uphill else scale)
