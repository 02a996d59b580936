"""A metered run that can be played back: where each step began and ended, and how far each part moved the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley, RunRecord
from tests.attribution.runs import OPTIMIZERS, Batch, classifier, objective

Goal = Callable[[nn.Module], Tensor]


@dataclass(frozen=True)
class Replay:
    """A finished run with what oracles need."""

    model: nn.Module
    parameters: list[nn.Parameter]  # those that the optimizer holds, in the model's order
    record: RunRecord
    starts: Tensor  # [steps, P]
    ends: Tensor  # [steps, P]
    parts: Tensor  # [steps, contributors + 1, P], the house last

    def losses_at(self, *goals: Goal) -> Callable[[Tensor], list[float]]:
        """The goals' losses as a function of the trained parameters ``[P]``."""

        def losses(flat: Tensor) -> list[float]:
            nn.utils.vector_to_parameters(flat, self.parameters)
            with torch.no_grad():
                return [goal(self.model).item() for goal in goals]

        return losses

    def gradient(self, goal: Goal, flat: Tensor) -> Tensor:
        """The goal's gradient ``[P]`` at the parameters `flat` ``[P]``."""
        nn.utils.vector_to_parameters(flat, self.parameters)
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        found = torch.autograd.grad(goal(self.model), self.parameters, allow_unused=True)
        pairs = zip(self.parameters, found, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).reshape(-1) for p, g in pairs])

    def integral(self, goal: Goal, start: Tensor, end: Tensor, panels: int = 400) -> Tensor:
        """The goal's gradient averaged along the straight line, by the midpoint rule: error O(panels⁻²)."""
        places = (torch.arange(panels) + 0.5) / panels
        return torch.stack([self.gradient(goal, torch.lerp(start, end, s)) for s in places]).mean(0)


def flat(parameters: Sequence[nn.Parameter]) -> Tensor:
    """A copy of the parameters, ``[P]``."""
    return torch.cat([p.detach().reshape(-1) for p in parameters]).clone()


def replay(
    optimizer: str | Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer],
    data: Sequence[Batch],
    contributors: Sequence[str],
    *,
    goal: Goal | Mapping[str, Goal] | None = None,
    model: nn.Module | None = None,
    loss_function: Callable[[nn.Module, Tensor, Tensor], Tensor] = lambda m, x, y: functional.cross_entropy(m(x), y),
    before_batch: Callable[[int, nn.Module], None] | None = None,
    after_step: Callable[[int, torch.optim.Optimizer], None] | None = None,
    stopped: str | None = None,
    **options: Any,
) -> Replay:
    """Train with the meter, one step a batch, and note everything."""
    model = classifier() if model is None else model
    chosen = (OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer)(list(model.parameters()))
    meter = InRunShapley(model, chosen, goal or objective(), contributors, keep_displacements=True, **options)
    held = {id(p) for group in chosen.param_groups for p in group["params"]}
    parameters = [p for p in model.parameters() if id(p) in held]
    starts, ends, parts = [], [], []
    for step, (inputs, targets, who) in enumerate(data):
        if before_batch is not None:
            before_batch(step, model)
        with meter.batch(who):
            loss_function(model, inputs, targets).backward()
        starts.append(flat(parameters))
        chosen.step()
        chosen.zero_grad()
        ends.append(flat(parameters))
        parts.append(meter.displacements)
        if after_step is not None:
            after_step(step, chosen)
    return Replay(model, parameters, meter.finish(stopped), torch.stack(starts), torch.stack(ends), torch.stack(parts))


def against(parts: Tensor, gradient: Tensor) -> np.ndarray:
    """What parts ``[parts, P]`` are worth under a gradient ``[P]``: ``[parts]``, positive = lowered the loss."""
    return -(parts @ gradient).numpy()
