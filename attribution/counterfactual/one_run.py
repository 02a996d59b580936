"""Values that know about absence, carried along one run: efficient, and no training besides (docs/counterfactual.md).

J_c = ∂θ/∂w_c, how the parameters would differ had contributor c's data weighed more since the start, is carried through
every step of the optimizer, its second moment included. At time τ, counted in learning rate, the run is the run with
everybody at weight τ/T, nearly: less data of all is a shorter training. So step t, which moves the parameters by Δ_t
while time goes on by dτ, is divided into

    A_c = J_c dτ/τ,    D_c = A_c + ν_c (Δ_t − Σ_c A_c),    φ_c = −Σ_t ∇ℓ · D_c,

with ∇ℓ averaged along the step as for step values. The parts D_c sum to Δ_t, so the values sum to what step values
sum to. What weights alone do not reach is shared by ν_c, contributor c's part in the training progress so far:
Σ_u ⟨G_c, Δ⟩_u, what the steps did to its own rows' loss to first order, over everybody's. Under SGD that is the noise
of batches, a few per cent; an optimizer that divides by its gradients' size takes no notice of a common weight, Σ_c J_c
is then nothing, and ν divides the whole of the way that all go together, J the difference that each one makes.

A contributor without gradients has J_c = 0 and ν_c = 0. All is linear in gradients: who splits in two is paid the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from attribution.counterfactual.again import Again
from attribution.counterfactual.curvature import Curvature, Product
from attribution.counterfactual.stepping import Stepping
from attribution.counterfactual.weighted_training import STEPPINGS
from attribution.errors import OptionError, ReconciliationError, UnsupportedOptimizerError
from attribution.parameters import ParameterSpace, Place
from attribution.steps import Floats
from attribution.updates import Share, Slot


class CarriedTangents:
    """How the parameters would differ with each contributor's weight, and what that makes of each step.

    Raises `UnsupportedOptimizerError` by name for an optimizer whose steps have no tangents here, `OptionError` for an
    option of one.
    """

    def __init__(
        self, optimizer: Optimizer, space: ParameterSpace, contributors: int, tasks: int, curvature: Curvature
    ) -> None:
        kind = type(optimizer)
        if kind not in STEPPINGS:
            raise UnsupportedOptimizerError(
                f"{kind.__name__}, for counterfactual values,", [k.__name__ for k in STEPPINGS]
            )
        if any(group.get("amsgrad", False) for group in optimizer.param_groups):
            raise OptionError("counterfactual values know no amsgrad=True: use Adam or AdamW without it")
        self.curvature = curvature
        self.values: Floats = np.zeros((contributors, tasks))
        self.shared: Floats = np.zeros(tasks)  # of the values' sum, what progress divided
        self.stopped: str | None = None  # why the tangents are carried no further, where they are not
        self._optimizer, self._space, self._rule = optimizer, space, STEPPINGS[kind]
        self._stacked = space.zeros(1 + contributors)  # the parameters and their tangents
        self._steppings: dict[tuple[str, int], Stepping] = {}
        self._earlier: dict[str, dict[str, Any]] = {}
        self._clocks: list[Stepping] = []
        self._time = 0.0
        self._scaled: dict[int, float] = {}  # by group: what its gradients were scaled by, summed over numbers
        self._progress = np.zeros(contributors)
        self._factor = 1.0  # what the stretch's gradients were scaled by
        self._product: Product | None = None
        self._again = Again(0.0)

    @property
    def tangents(self) -> Tensor:
        """How the parameters would differ now with each contributor's weight, ``[contributors, P]``."""
        return self._stacked[1:]

    def before_step(self) -> None:
        """Note what the optimizer remembers of parameters that it has not yet moved under the meter."""
        for place in self._space.places:
            if place.name not in self._earlier:
                state = self._optimizer.state.get(place.parameter, {})
                copied = {name: v.clone() if isinstance(v, Tensor) else v for name, v in state.items()}
                self._earlier[place.name] = copied

    def begin(self, start: Tensor, rows: int, rounding: float, factor: Callable[[Place], float]) -> None:
        """A step was taken from `start` ``[P]`` with `rows` metered rows; each stretch of it follows.

        `rounding` is the unit of rounding of their gradients, and `factor` what a parameter's were scaled by since.
        """
        self._again = Again(rounding)
        self._stacked[0] = start
        reach = torch.empty_like(start)
        for place, group in self._grouped():
            self._reach(place, group, place.of(reach))
            place.of(reach).mul_(factor(place))
        self._product = self.curvature.product(start, self._stacked[1:], reach, rows)

    def move(self, place: Place, slot: Slot, where: slice, factor: float) -> None:
        """Carry the tangents of a stretch of a parameter; before the slot is divided, which may add decay to it.

        `factor` is what the gradient was scaled by since it was computed.
        """
        assert self._product is not None
        key = (place.name, slot.span.start)
        if key not in self._steppings:
            self._steppings[key] = self._rule(slot.options, _cut(self._earlier[place.name], slot), own=True)
        self._factor = factor
        scaled = self._scaled.get(id(slot.options), 0.0)
        self._scaled[id(slot.options)] = scaled + factor * (where.stop - where.start)
        stacked = self._stacked[:, where]
        gradients = torch.empty_like(stacked)
        torch.sum(slot.gradient, dim=0, out=gradients[0])
        turned = -1 if slot.uphill and self.curvature.by_fisher else 1
        torch.add(slot.gradient[:-1], self._product(place, slot.span), alpha=turned * factor, out=gradients[1:])
        if self.curvature.gradient is not None:
            self._again.compare(factor * self.curvature.gradient[where], slot.gradient[:-1])
        self._steppings[key].move(float(slot.options["lr"]), stacked, gradients, None)

    def moved(self, place: Place, slot: Slot, share: Share, step: int, epsilon: float) -> None:
        """Note the progress that the divided stretch made; and that the tangents' optimizer is the real one."""
        way = (share.linear[:-1].sum(dim=0)) * share.scale
        progress = (slot.gradient[:-1] @ way).double().cpu().numpy()
        if self._factor:  # a gradient that was zeroed made no progress, whatever it had been
            self._progress += (progress if slot.uphill else -progress) / self._factor
        claimed = self._stacked[0, place.start + slot.span.start : place.start + slot.span.stop]
        missing, moved = float((claimed - slot.end).norm()), float((slot.end - slot.start).norm())
        if not missing <= 8 * epsilon * (float(slot.start.norm()) + float(slot.end.norm())) + 1e4 * epsilon * moved:
            raise ReconciliationError(place.name, step, missing / max(moved, 1e-300))

    def value(self, step: int, gradients: Tensor, parts: Floats) -> None:
        """Value the step whose stretches have all been moved; no further one if tangents are not finite any more.

        `gradients` ``[tasks, P]`` are the objective's, averaged along the step, and `parts` ``[contributors, tasks]``
        what each contributor's own displacement came to. Raises `BatchError` where losses computed again were others.
        """
        self._again.check()
        passed = self._tick()
        self._time += passed
        absent = np.zeros_like(self.values)
        if self._time > 0:
            for place in self._space.places:
                absent -= (place.of(self._stacked)[1:] @ place.of(gradients).t()).double().cpu().numpy()
            absent *= passed / self._time
        total = self._progress.sum()
        rest = parts.sum(axis=0) - absent.sum(axis=0)
        # Where the steps made the training loss worse so far, nobody's part in that is a share.
        share = self._progress / total if total > 0 else np.zeros_like(self._progress)
        self.values = self.values + absent + np.outer(share, rest)
        self.shared = self.shared + rest * share.sum()
        self.curvature.forget()
        self._product = None
        if not np.isfinite(self.values).all():
            self.stopped = f"the tangents were not finite at step {step}"
            warnings.warn(
                f"{self.stopped}: the record will have no counterfactual values; another curvature, or a lower "
                "learning rate, may have",
                RuntimeWarning,
                stacklevel=2,
            )

    def _grouped(self) -> list[tuple[Place, dict[str, Any]]]:
        pairs = [(self._space.place(p), group) for group in self._optimizer.param_groups for p in group["params"]]
        return [(place, group) for place, group in pairs if place is not None]

    def _reach(self, place: Place, group: dict[str, Any], into: Tensor) -> None:
        """How far the step moved each number of a parameter for a unit of its gradient."""
        rate, state = float(group["lr"]), self._optimizer.state.get(place.parameter, {})
        second = state.get("exp_avg_sq")
        if second is None:
            into.fill_(rate)
            return
        correction = (1 - float(group["betas"][1]) ** float(state["step"])) ** 0.5
        denominator = second.detach().reshape(-1).to(into.dtype).sqrt().div_(correction).add_(float(group["eps"]))
        torch.div(rate, denominator, out=into)

    def _tick(self) -> float:
        """How far a gradient that is always one would have moved a number: what the step adds to the time.

        One before what it was scaled by, as by clipping. The groups' mean, by their sizes.
        """
        groups = self._optimizer.param_groups
        if not self._clocks:
            options = [{**group, "weight_decay": 0.0, "maximize": False} for group in groups]
            self._clocks = [self._rule(given, {}, own=False) for given in options]
        passed = size = 0.0
        for clock, group in zip(self._clocks, groups, strict=True):
            numbers = sum(parameter.numel() for parameter in group["params"])
            size += numbers
            if id(group) in self._scaled:
                hand = torch.zeros(1, 1, dtype=torch.float64)
                clock.move(float(group["lr"]), hand, torch.full_like(hand, self._scaled[id(group)] / numbers), None)
                passed -= float(hand) * numbers
        self._scaled.clear()
        return passed / size


def _cut(state: dict[str, Any], slot: Slot) -> dict[str, Any]:
    """The optimizer's memory of a parameter, of a stretch of it."""
    size = int(np.prod(slot.shape))
    whole: Sequence[Any] = [v.detach().reshape(-1) if isinstance(v, Tensor) else v for v in state.values()]
    pairs = zip(state, whole, strict=True)
    return {n: v[slot.span] if isinstance(v, Tensor) and v.numel() == size > 1 else v for n, v in pairs}
