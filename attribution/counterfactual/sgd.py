"""SGD with momentum, Nesterov, dampening and weight decay: linear, so its tangents step as it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from attribution.counterfactual.stepping import Stepping, remembered


class SGDStepping(Stepping):
    """d = g + λθ; m ← μm + (1−τ)d; θ ← θ − η m (torch.optim.SGD's documented algorithm)."""

    def __init__(self, options: Mapping[str, Any], state: Mapping[str, Any], own: bool) -> None:
        super().__init__(options, state, own)
        self._state = state
        self._memory: Tensor | None = None

    def move(self, rate: float, place: Tensor, gradient: Tensor, held: Tensor | None) -> None:
        """The first step takes its gradient for the momentum, undamped."""
        options = self.options
        direction = self.uphill(gradient).add(place, alpha=float(options["weight_decay"]))
        if momentum := float(options["momentum"]):
            memory, began = self._memory, self._state.get("momentum_buffer") is not None
            if memory is None and not began:
                memory = direction.clone()
            else:
                memory = remembered(self._state, "momentum_buffer", place) if memory is None else memory
                memory.mul_(momentum).add_(direction, alpha=1 - float(options["dampening"]))
            self._memory = memory
            direction = direction.add(memory, alpha=momentum) if options["nesterov"] else memory
        place.add_(direction, alpha=-rate)
