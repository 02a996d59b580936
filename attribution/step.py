"""One optimizer step, divided: how far each part moved each parameter, and that it adds up (DESIGN §3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from attribution.counterfactual.one_run import CarriedTangents
from attribution.errors import NonFiniteError, ReconciliationError
from attribution.ghost.checks import CHECK_ALL, CHECK_ALWAYS, CHECK_SHARE, due
from attribution.ghost.gradients import DividedGradient
from attribution.parameters import ParameterSpace, Place
from attribution.record import Floats
from attribution.slots import STRETCH, Slots, Where
from attribution.updates import Share, rule_for

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
        self._space, self._gradient = space, gradient
        self._slots = Slots(optimizer, self._rule, space, gradient)
        self._numbers = {place.name: number for number, place in enumerate(space.places)}
        self._ones = torch.ones(gradient.parts.count, dtype=space.dtype, device=space.device)

    @property
    def buffers(self) -> int:
        """How many buffers of [parts, P] it holds or may come to hold."""
        return self._slots.buffers

    def before_step(self) -> None:
        """Note what the optimizer remembers of each parameter as its step begins."""
        self._slots.before_step()

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
        if credited is not None:
            credited.gradients.zero_()
        for place in self._slots.still():
            self._check_still(place, step, start, end)
        products, decays, of_parts = [], [], []
        for piece in self._slots.pieces(start, end, None if carried is None else CARRYING):
            slot, where = piece.slot, piece.where
            if carried is not None:
                assert isinstance(where, slice)
                place = piece.places[0][0]
                carried.move(place, slot, where, self._gradient.factor(place))
            share = self._rule.divide(slot)
            if carried is not None:
                carried.moved(place, slot, share, step, self._gradient.epsilon)
            for place, columns in piece.places:
                if self._due(place, where, step):
                    self._reconcile(place, _of(share, columns), step, slot.start[columns], slot.end[columns])
            if gradients is not None:
                local = gradients[:, where]
                products.append(_products(share, local))
                if share.decay is not None:
                    decays.append(local @ share.decay)
                if credited is not None:
                    credited.gradients[:, where] = mine = share.credited(local)
                    if credited.parts is not None:
                        of_parts.append(slot.gradient @ mine.t())
            for summed in displacements:
                _displace(summed, where, share)
        if credited is not None and credited.parts is not None and of_parts:
            credited.parts.add_(_sum(of_parts))
        found = torch.zeros(len(self._ones), 0 if gradients is None else len(gradients), dtype=torch.float64)
        if products:
            found -= _sum(products)
        if decays:
            found[-1] -= _sum(decays)
        values: Floats = found.numpy().copy()
        return values

    def _check_still(self, place: Place, step: int, start: Tensor, end: Tensor) -> None:
        if not torch.equal(place.of(start), place.of(end)):
            raise ReconciliationError(place.name, step, 1.0)

    def _due(self, place: Place, where: Where, step: int) -> bool:
        """Whether a piece is reconciled in this step: all in the first and on a small model, else each in turn."""
        if step == 0 or self._space.size * len(self._ones) <= CHECK_ALL:
            return True
        if not isinstance(where, slice):
            return due(self._numbers[place.name], step)
        return where.stop - where.start <= CHECK_ALWAYS or bool((where.start // STRETCH + step) % CHECK_SHARE == 0)

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


def _displace(displacements: Tensor, where: Where, share: Share) -> None:
    if not isinstance(where, slice):
        displacements.index_add_(1, where, share.linear * share.scale)
        if share.decay is not None:
            displacements[-1].index_add_(0, where, share.decay)
        return
    mine = displacements[:, where]
    if isinstance(share.scale, Tensor):
        mine.addcmul_(share.linear, share.scale)
    else:
        mine.add_(share.linear, alpha=share.scale)
    if share.decay is not None:
        mine[-1].add_(share.decay)


def _of(share: Share, columns: slice) -> Share:
    """Of the elements `columns` alone, as far as they moved."""
    scale = share.scale[columns] if isinstance(share.scale, Tensor) else share.scale
    return Share(share.linear[:, columns], scale, None if share.decay is None else share.decay[columns])


def _sum(terms: list[Tensor]) -> Tensor:
    """The sum of tensors of one shape, in float64 on the processor."""
    return torch.stack(terms).double().sum(0).cpu()
