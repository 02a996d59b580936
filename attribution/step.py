"""One optimizer step, divided: how far each part moved each parameter, and that it adds up (DESIGN §3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from attribution.errors import OptionError, ReconciliationError
from attribution.ghost.gradients import DividedGradient
from attribution.parameters import ParameterSpace, Place
from attribution.record import Floats
from attribution.updates import Share, Slot, rule_for


@dataclass(frozen=True)
class Division:
    """The displacement of one step in parts: the contributors' in order, then the house's."""

    shares: list[tuple[Place, Share]]
    parts: int

    def values(self, gradients: Tensor) -> Floats:
        """Minus each part's displacement times `gradients` ``[tasks, P]``: its value, ``[parts, tasks]``, in nats."""
        found = torch.zeros(self.parts, len(gradients), dtype=torch.float64)
        for place, share in self.shares:
            local = place.of(gradients)
            found.sub_((share.linear @ (local * share.scale).t()).double().cpu())
            if share.decay is not None:
                found[-1].sub_((local @ share.decay).double().cpu())
        values: Floats = found.numpy().copy()
        return values

    def displacements(self, space: ParameterSpace) -> Tensor:
        """Each part's displacement in full, ``[parts, P]``: for checks on small models."""
        full = space.zeros(self.parts)
        for place, share in self.shares:
            place.of(full).copy_(share.linear * share.scale)
            if share.decay is not None:
                place.of(full)[-1].add_(share.decay)
        return full


class StepDivider:
    """Divides an optimizer's steps; holds the parts of its momentum between them.

    Raises `UnsupportedOptimizerError` by name for an optimizer that no rule knows.
    """

    def __init__(self, optimizer: Optimizer, space: ParameterSpace, gradient: DividedGradient) -> None:
        self._rule = rule_for(optimizer)
        self._optimizer, self._space, self._gradient = optimizer, space, gradient
        self._memory: Tensor | None = None
        self._had_memory: dict[str, bool] = {}
        self._seen: set[str] = set()

    def before_step(self) -> None:
        """Note which parameters the optimizer already remembers something of.

        What it remembered before the meter came belongs to the house.
        """
        for place, group in self._grouped():
            held = self._rule.memory(self._optimizer.state.get(place.parameter, {}))
            self._had_memory[place.name] = held is not None
            if held is not None and place.name not in self._seen:
                place.of(self._remembered())[-1].copy_(held.detach().reshape(-1))
            if held is not None or self._rule.remembers(group):
                self._seen.add(place.name)

    def divide(self, step: int, start: Tensor, end: Tensor) -> Division:
        """Divide the step just taken from `start` to `end` ``[P]``.

        Raises `ReconciliationError`, naming the parameter, if the parts do not add up to what it did.
        """
        shares = []
        for place, group in self._grouped():
            if place.parameter.grad is None:
                self._check_still(place, step, start, end)
                continue
            slot = Slot(
                options=group,
                state=self._optimizer.state.get(place.parameter, {}),
                start=place.of(start),
                gradient=place.of(self._gradient.parts),
                memory=place.of(self._remembered()) if self._rule.remembers(group) else None,
                fresh=not self._had_memory.get(place.name, False),
            )
            share = self._rule.divide(slot)
            self._reconcile(place, share, step, start, end)
            shares.append((place, share))
        return Division(shares, len(self._gradient.parts))

    def _grouped(self) -> list[tuple[Place, dict[str, object]]]:
        found = []
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                place = self._space.place(parameter)
                if place is None:
                    raise OptionError("a parameter was added to the optimizer after the meter was made: make it anew")
                found.append((place, group))
        return found

    def _remembered(self) -> Tensor:
        if self._memory is None:
            self._memory = torch.zeros_like(self._gradient.parts)
        return self._memory

    def _check_still(self, place: Place, step: int, start: Tensor, end: Tensor) -> None:
        if not torch.equal(place.of(start), place.of(end)):
            raise ReconciliationError(place.name, step, 1.0)

    def _reconcile(self, place: Place, share: Share, step: int, start: Tensor, end: Tensor) -> None:
        before, after = place.of(start), place.of(end)
        moved = after - before
        claimed = share.linear.sum(0) * share.scale
        if share.decay is not None:
            claimed += share.decay
        missing = float((claimed - moved).norm())
        epsilon = self._gradient.epsilon
        rounding = 8 * epsilon * (float(before.norm()) + float(after.norm())) + 1000 * epsilon * float(moved.norm())
        if missing <= rounding:
            return
        # Parts that cancel leave rounding in proportion to themselves, not to their sum.
        rounding += 1000 * epsilon * float((share.linear.abs().sum(0) * share.scale).norm())
        if not missing <= rounding:
            raise ReconciliationError(place.name, step, missing / max(float(moved.norm()), 1e-300))
