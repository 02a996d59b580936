"""ASGD: SGD with a rate that falls by itself; the average it keeps beside the parameters trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from attribution.updates.rule import Share, Slot, UpdateRule, register


@register(torch.optim.ASGD)
class ASGDRule(UpdateRule):
    """Δ_c = −η_t g_c, the house's besides −η_t λ θ (Polyak & Juditsky 1992, as torch.optim.ASGD has it).

    The values are of the parameters that are trained, not of their average in ``state["ax"]``.
    """

    def keeps(self, options: Mapping[str, Any]) -> Sequence[str]:
        """The rate, which is set for the next step at the end of each."""
        return ("eta",)

    def divide(self, slot: Slot) -> Share:
        """Divide the step; both decays are the house's."""
        options = slot.options
        # torch keeps the rate in the default precision, and the first one is rounded to it too.
        first = torch.tensor(float(options["lr"]), dtype=slot.after["eta"].dtype)
        rate = slot.number_before("eta", otherwise=float(first))
        direction = slot.direction(float(options["weight_decay"]))
        return Share(
            direction, -rate, slot.shrinkage(rate * float(options["lambd"])), life=rate if slot.uphill else -rate
        )
