"""One optimizer step, divided: how far each part moved each parameter, and that it adds up (DESIGN §3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from attribution.counterfactual.one_run import CarriedTangents
from attribution.errors import NonFiniteError, OptionError, ReconciliationError
from attribution.ghost.checks import CHECK_ALL, CHECK_ALWAYS, CHECK_SHARE
from attribution.ghost.gradients import DividedGradient
from attribution.parameters import ParameterSpace, Place
from attribution.record import Floats
from attribution.updates import Share, Slot, rule_for

STRETCH = 1 << 17  # elements divided at a time: few enough that all parts of them stay in the cache
CARRYING = 1 << 14  # where tangents are carried too, which take as much again several times over


@dataclass(frozen=True)
class Credited:
    """The objective's gradients with respect to a step's training gradient, filled in when the step is divided."""

    gradients: Tensor  # [tasks, P], by `Share.life`
    parts: Tensor | None  # float64 [parts, tasks]: what each part of the training gradient, times these, comes to


class StepDivider:
    """Divides an optimizer's steps; holds the parts of its momentum between them.

    Raises `UnsupportedOptimizerError` by name for an optimizer that no rule knows.
    """

    def __init__(self, optimizer: Optimizer, space: ParameterSpace, gradient: DividedGradient) -> None:
        self._rule = rule_for(optimizer)
        self._optimizer, self._space, self._gradient = optimizer, space, gradient
        self._memory: dict[str, Tensor] = {}
        self._had_memory: dict[str, bool] = {}
        self._earlier: dict[str, dict[str, Any]] = {}
        self._seen: set[str] = set()
        self._ones = torch.ones(gradient.parts.count, dtype=space.dtype, device=space.device)

    @property
    def buffers(self) -> int:
        """How many buffers of [parts, P] it holds or may come to hold."""
        return int(any(self._rule.remembers(group) for _, group in self._grouped()))

    def before_step(self) -> None:
        """Note what the optimizer already remembers of each parameter.

        What it remembered before the meter came belongs to the house.
        """
        for place, group in self._grouped():
            state = self._optimizer.state.get(place.parameter, {})
            held = self._rule.memory(state)
            self._had_memory[place.name] = held is not None
            if held is not None and place.name not in self._seen:
                self._remembered(place)[-1].copy_(held.detach().reshape(-1))
            if held is not None or self._rule.remembers(group):
                self._seen.add(place.name)
            kept = [(name, state[name]) for name in self._rule.keeps(group) if name in state]
            self._earlier[place.name] = {n: v.clone() if isinstance(v, Tensor) else v for n, v in kept}

    def divide(
        self,
        step: int,
        start: Tensor,
        end: Tensor,
        *,
        gradients: Tensor | None = None,
        displacements: Sequence[Tensor] = (),
        credited: Credited | None = None,
        carried: CarriedTangents | None = None,
    ) -> Floats:
        """Divide the step just taken from `start` to `end` ``[P]`` and return minus each part's displacement times
        `gradients` ``[tasks, P]``: its value, float64 ``[parts, tasks]`` in nats (zero tasks without gradients).

        Each part's displacement is added to each of `displacements` ``[parts, P]``; `credited` is overwritten with
        `gradients` as gradients with respect to this step's training gradient. The tangents that are `carried` are
        moved with it.

        Raises `ReconciliationError`, naming the parameter, if the parts do not add up to what the step did, and
        `NonFiniteError` if that is not finite.
        """
        found = torch.zeros(len(self._ones), 0 if gradients is None else len(gradients), dtype=torch.float64)
        if credited is not None:
            credited.gradients.zero_()
        for place, group in self._grouped():
            if place.parameter.grad is None:
                self._check_still(place, step, start, end)
                continue
            for slot, where in self._slots(place, group, start, end, STRETCH if carried is None else CARRYING):
                if carried is not None:
                    carried.move(place, slot, where, self._gradient.factor(place))
                share = self._rule.divide(slot)
                if carried is not None:
                    carried.moved(place, slot, share, step, self._gradient.epsilon)
                if self._due(where, step):
                    self._reconcile(place, share, step, start[where], end[where])
                if gradients is not None:
                    local = gradients[:, where]
                    found -= _products(share, local).double().cpu()
                    if share.decay is not None:
                        found[-1] -= (local @ share.decay).double().cpu()
                    if credited is not None:
                        credited.gradients[:, where] = mine = share.credited(local)
                        if credited.parts is not None:
                            credited.parts.add_((slot.gradient @ mine.t()).double().cpu())
                for summed in displacements:
                    _displace(summed[:, where], share)
        values: Floats = found.numpy().copy()
        return values

    def _slots(
        self, place: Place, group: Mapping[str, Any], start: Tensor, end: Tensor, most: int
    ) -> Iterator[tuple[Slot, slice]]:
        """The parameter's elements in slots of at most `most`, each with where they lie in the flat vector."""
        remembered = self._remembered(place) if self._rule.remembers(group) else None
        length = place.stop - place.start
        stretch = length if self._rule.whole else most
        for low in range(0, length, max(stretch, 1)):
            span = slice(low, min(low + stretch, length))
            where = slice(place.start + span.start, place.start + span.stop)
            yield (
                Slot(
                    options=group,
                    shape=tuple(place.parameter.shape),
                    start=start[where],
                    end=end[where],
                    gradient=self._gradient.spans(place, span),
                    memory=None if remembered is None else remembered[:, span],
                    fresh=not self._had_memory.get(place.name, False),
                    span=span,
                    after=self._optimizer.state.get(place.parameter, {}),
                    earlier=self._earlier.get(place.name, {}),
                ),
                where,
            )

    def _grouped(self) -> list[tuple[Place, dict[str, Any]]]:
        found = []
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                place = self._space.place(parameter)
                if place is None:
                    raise OptionError("a parameter was added to the optimizer after the meter was made: make it anew")
                found.append((place, group))
        return found

    def _remembered(self, place: Place) -> Tensor:
        if place.name not in self._memory:
            shape = (len(self._ones), place.stop - place.start)
            self._memory[place.name] = torch.zeros(shape, dtype=self._space.dtype, device=self._space.device)
        return self._memory[place.name]

    def _check_still(self, place: Place, step: int, start: Tensor, end: Tensor) -> None:
        if not torch.equal(place.of(start), place.of(end)):
            raise ReconciliationError(place.name, step, 1.0)

    def _due(self, where: slice, step: int) -> bool:
        """Whether a stretch is reconciled in this step: on a large model each is in turn, small ones always."""
        if self._space.size * len(self._ones) <= CHECK_ALL or where.stop - where.start <= CHECK_ALWAYS:
            return True
        return bool((where.start // STRETCH + step) % CHECK_SHARE == 0)

    def _reconcile(self, place: Place, share: Share, step: int, before: Tensor, after: Tensor) -> None:
        moved = after - before
        claimed = (self._ones @ share.linear).mul_(share.scale)
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
            if not bool(torch.isfinite(after).all()):
                raise NonFiniteError(f"parameter {place.name!r}", step)
            raise ReconciliationError(place.name, step, missing / max(float(moved.norm()), 1e-300))


def _products(share: Share, gradients: Tensor) -> Tensor:
    """Each part's displacement, without the decay, times `gradients` ``[tasks, n]``: ``[parts, tasks]``."""
    if isinstance(share.scale, Tensor):
        return share.linear @ (gradients * share.scale).t()
    return (share.linear @ gradients.t()).mul_(share.scale)


def _displace(displacements: Tensor, share: Share) -> None:
    if isinstance(share.scale, Tensor):
        displacements.addcmul_(share.linear, share.scale)
    else:
        displacements.add_(share.linear, alpha=share.scale)
    if share.decay is not None:
        displacements[-1].add_(share.decay)
