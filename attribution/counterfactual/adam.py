"""Adam and AdamW, in the game whose preconditioner is that of the run on everybody's data, held fixed at every weight.

With the second moment of its own replay a step does not depend on the scale of the gradients: where all contributors
weigh s, m̂ and √v̂ are s times what they are at weight 1, but for ε. Then θ_T(s·1) is the same for every s > 0, and all
that the training is worth lies at s = 0, where no quadrature finds it. With v̂_t recorded at weight 1, m̂ is linear in
the gradients, the run at weight 1 is the real one, and less data means a shorter way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attribution.counterfactual.stepping import Stepping, remembered
from attribution.errors import OptionError


class AdamStepping(Stepping):
    """m ← β₁m + (1−β₁)g; θ ← θ − η m̂ / d with d = √v̂ + ε (Kingma & Ba 2015, algorithm 1)."""

    decoupled = False

    def __init__(self, options: Mapping[str, Any], state: Mapping[str, Any], own: bool) -> None:
        super().__init__(options, state, own)
        if own and options["amsgrad"]:
            raise OptionError("amsgrad has no tangent of its own preconditioner: use preconditioner='recorded'")
        self._state = state
        self._steps = int(state.get("step", 0))
        self._first: Tensor | None = None
        self._second: tuple[Tensor, Tensor] | None = None

    def move(self, rate: float, place: Tensor, gradient: Tensor, held: Tensor | None) -> Tensor:
        """L2 decay enters the gradient, decoupled decay (Loshchilov & Hutter 2019) shortens what is there."""
        options = self.options
        weight_decay = float(options["weight_decay"])
        beta1, beta2 = (float(beta) for beta in options["betas"])
        if self._first is None:
            self._first = remembered(self._state, "exp_avg", place)
        self._steps += 1
        direction = self.uphill(gradient)
        if options.get("decoupled_weight_decay", self.decoupled):
            place.mul_(1 - rate * weight_decay)
        else:
            direction = direction.add(place, alpha=weight_decay)
        self._first.lerp_(direction, 1 - beta1)
        slopes = None
        if held is None:
            held, slopes = self._scaling(direction, beta2)
        moved = self._first / held
        if slopes is not None:
            moved[1:] -= moved[0] * slopes / held
        place.add_(moved, alpha=-rate / (1 - beta1**self._steps))
        return held

    def _scaling(self, direction: Tensor, beta2: float) -> tuple[Tensor, Tensor | None]:
        """The preconditioner d = √v̂ + ε of this training itself ``[n]``, and its tangents ``[K, n]`` if `own`."""
        options = self.options
        if self._second is None:
            names = "exp_avg_sq", "max_exp_avg_sq"
            self._second = (
                remembered(self._state, names[0], direction),
                remembered(self._state, names[1], direction[0:1])[0],
            )
        second, largest = self._second
        squares = direction * direction[0]
        squares[1:].mul_(2)
        second.mul_(beta2).add_(squares, alpha=1 - beta2)
        if options["amsgrad"]:
            torch.maximum(largest, second[0], out=largest)
        root = (largest if options["amsgrad"] else second[0]).sqrt()
        correction = (1 - beta2**self._steps) ** 0.5
        held = (root / correction).add_(float(options["eps"]))
        if not self.own:
            return held, None
        # Where v is 0 every gradient was, and so is m.
        return held, torch.where(root > 0, second[1:] / (2 * root * correction), 0.0)


class AdamWStepping(AdamStepping):
    """The same with weight decay beside the gradient."""

    decoupled = True
