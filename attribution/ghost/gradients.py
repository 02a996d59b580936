"""The gradient of the coming step, divided: one part a contributor and one of the house."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from attribution.ghost.checks import Checks
from attribution.ghost.parts import Parts
from attribution.ghost.rounding import Rounding
from attribution.ghost.scaling import scaling
from attribution.ghost.sums import Sums
from attribution.parameters import Bundle, ParameterSpace, Place, finite, same
from attribution.record import Floats


class DividedGradient:
    """`parts` of each parameter's gradient, the last the house's; they mirror the parameters' ``.grad``.

    What autograd accumulates over several batches is accumulated here too, and what is zeroed is zeroed.
    """

    def __init__(self, space: ParameterSpace, contributors: int) -> None:
        self.space, self.contributors = space, contributors
        self.house = contributors
        self.parts = Parts(space, contributors + 1)
        self.epsilon = max(torch.finfo(place.parameter.dtype).eps for place in space.places)
        self.rounding = Rounding(self.epsilon)
        self.checks = Checks(space, self.parts.count)
        self._sums = Sums(space, self.parts, self.checks, self.rounding)
        self.arrived = False  # a gradient of a parameter, since the meter last took things in hand
        self._noted = space.zeros(0)  # .grad as it was when the last batch ended, [P]: the sum of the parts
        self._known: set[str] = set()  # the parameters of which that holds
        self._factors: dict[str, float] = {}
        self._overwritten = False
        self.edited = False  # something else than rows went into it, such as an edit by hand
        self._in_hand = self._in_batch = False
        self.spoilt: str | None = None  # the parameter whose gradient in some batch was not finite
        self.began_anew = False  # what there was of gradients was gone when the first of this batch came
        self._handles: list[RemovableHandle] = []
        for place in space.places:
            if place.parameter.requires_grad:
                hook = partial(lambda where, _: self._arriving(where), place)
                self._handles.append(place.parameter.register_hook(hook))  # type: ignore[no-untyped-call]

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """While the meter itself computes gradients: their arrival says nothing about the user's ``.grad``."""
        before, self._in_hand = self._in_hand, True
        self.arrived = False
        try:
            yield
        finally:
            self._in_hand = before

    @contextmanager
    def batch(self) -> Iterator[None]:
        """While the passes of a batch run: `synchronise` before its first gradient is accumulated."""
        self._in_batch, self.began_anew = True, False
        try:
            yield
        finally:
            self._in_batch = False

    def begin(self) -> None:
        """A gradient of a batch has come: if it is the first, and none is accumulated yet, `synchronise`."""
        if self._in_batch:
            self._in_batch = False
            self.began_anew = self.cleared()
            self.spoilt = None if self.began_anew else self.spoilt
            self.synchronise()

    def close(self) -> None:
        """Take the hooks off the parameters."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def synchronise(self) -> None:
        """Before new gradients arrive: take over what was done to ``.grad`` since the last ones did.

        What was zeroed is zeroed here, what was scaled is scaled; whatever else was added belongs to the house.
        """
        self.rounding.forget()
        self._factors.clear()
        edited, self.edited = self.edited, False
        for place in self.space.places:
            gradient = place.parameter.grad
            if gradient is None or (self.parts.untouched(place) and not bool(gradient.any())):
                self.parts.clear(place)
                continue
            gradient = self._gradient_of(place)
            if not self._overwritten and self._as_noted(place, gradient):
                self.edited = edited
                continue
            if not bool(gradient.any()):
                self.parts.clear(place)
                continue
            self._take_over(place, gradient)
        self._overwritten = False

    def note(self) -> None:
        """The passes of a batch are over: note ``.grad``, which the parts are to sum to, or that it is `spoilt`."""
        self._noted = self._noted if len(self._noted) else self.space.zeros()
        noted, gradients = [], []
        for place, mine in zip(self.space.places, self.space.shaped(self._noted), strict=True):
            if place.parameter.grad is None:
                mine.zero_()
            else:
                noted.append(mine)
                gradients.append(place.parameter.grad.detach())
        if noted:
            torch._foreach_copy_(noted, gradients)
        self._known = {place.name for place in self.space.places if place.parameter.grad is not None}
        if not finite(self._noted):
            self._known.clear()
            self.spoilt = self.spoilt or self.not_finite()

    def credit_everybody(self) -> None:
        """Let what was noted be everybody's common part, but for what is the house's."""
        for place in self.space.places:
            if place.name in self._known:
                parts = self.parts.dense(place)
                torch.sub(place.of(self._noted), parts[-1], out=parts[0])

    def unaccounted(self, extra: Parts | None = None, only: set[str] | None = None) -> list[tuple[Place, float]]:
        """The checked, or `only` these, parameters whose parts (with `extra`) miss what was noted, and by how much."""
        return self._sums.unaccounted(self._noted, extra, only)

    def verify(self) -> None:
        """Raise `UnaccountedGradientError` unless the checked parts sum to what autograd computed, to rounding.

        The rounding is the house's: where it is all there is of a gradient, an adaptive optimizer makes a step of it.
        """
        self._sums.verify(self._noted, self._known)

    def settle(self) -> str | None:
        """Before the step divides: find the scaling (clipping) of all parts; the rest of ``.grad`` is the house's.

        Returns the name of a parameter whose gradient is not finite, if there is one.

        A scaling is common to all parameters, or to all elements of one. What is not (noise, clipping by value, an
        edit by hand) is a residual, and the house's.
        """
        self._factors.clear()
        present = [place for place in self.space.places if place.parameter.grad is not None]
        flat = {place.name: self._gradient_of(place) for place in present}
        if not self._overwritten and all(self._as_noted(place, flat[place.name]) for place in present):
            return self.spoilt
        if (name := self.spoilt or self.not_finite()) is not None:
            return name
        totals = {place.name: self.parts.total(place) for place in present}
        pairs = [(flat[place.name], totals[place.name]) for place in present]
        common, everywhere = scaling(pairs, self.epsilon)
        for place, (gradient, total) in zip(present, pairs, strict=True):
            factor, exact = common, everywhere
            # One element is in proportion to anything, so it says nothing about the factor.
            if not everywhere and len(gradient) > 1:
                own, exact = scaling([(gradient, total)], self.epsilon)
                factor = own if exact else common
            if exact:
                if factor != 1.0:
                    self._factors[place.name] = factor
                continue
            self._residual(place, gradient.sub(total, alpha=factor), factor)
        return None

    def spans(self, place: Place, span: slice) -> Tensor:
        """All parts ``[parts, n]`` of a stretch of a settled parameter, each stretch once a step."""
        self._overwritten = True  # by the factor here, by coupled weight decay in an update rule
        parts = self.parts.dense(place)[:, span]
        factor = self._factors.get(place.name)
        return parts if factor is None else parts.mul_(factor)

    def beside(self, bundle: Bundle) -> Tensor:
        """All parts ``[parts, n]`` of settled parameters of a bundle, once a step."""
        self._overwritten = True
        parts = self.parts.beside(bundle)
        for place in bundle.places:
            if place.name in self._factors:
                parts[:, bundle.columns[place.name]].mul_(self._factors[place.name])
        return parts

    def factor(self, place: Place) -> float:
        """What the parameter's settled gradient was scaled by since it was computed, as by clipping."""
        return self._factors.get(place.name, 1.0)

    def whole(self) -> Tensor:
        """All parts of all parameters as they count now, ``[parts, P]``, a copy: for checks on small models."""
        found = self.space.zeros(self.parts.count)
        for place in self.space.places:
            if not self.parts.untouched(place):
                place.of(found).add_(self.parts.dense(place), alpha=self._factors.get(place.name, 1.0))
        return found

    def scaled(self, directions: Tensor) -> Tensor:
        """A copy of `directions` ``[tasks, P]``, each parameter's times the factor that its gradient was scaled by."""
        found = directions.clone()
        for place in self.space.places:
            if place.name in self._factors:
                place.of(found).mul_(self._factors[place.name])
        return found

    def times(self, directions: Tensor) -> Floats | None:
        """The settled gradient of all rows times `directions` ``[tasks, P]``: float64 ``[tasks]``.

        None where something else than rows went into it, such as an edit by hand.
        """
        if self.edited:
            return None
        found = torch.zeros(len(directions), dtype=torch.float64)
        for place in self.space.places:
            if place.parameter.grad is not None and place.name in self._known:
                factor = self.factor(place)
                found += factor * (place.of(directions) @ place.of(self._noted)).double().cpu()
        values: Floats = found.numpy()
        return values

    def cleared(self) -> bool:
        """Whether every ``.grad`` is None or zero."""
        gradients = (place.parameter.grad for place in self.space.places)
        return not any(gradient is not None and bool(gradient.any()) for gradient in gradients)

    def not_finite(self) -> str | None:
        """The name of the first parameter whose gradient is not finite, or None."""
        for place in self.space.places:
            gradient = place.parameter.grad
            if gradient is None:
                continue
            if not finite(gradient.detach().reshape(-1)):
                return place.name
        return None

    def _residual(self, place: Place, rest: Tensor, factor: float) -> None:
        if factor == 0:
            self.parts.clear(place)
            factor = 1.0
        elif factor != 1.0:
            self._factors[place.name] = factor
        # The factor is applied when the step is divided, and must leave this as it is.
        self.parts.of(self.house, place).add_(rest / factor)

    def _arriving(self, place: Place) -> None:
        """A gradient from outside a metered batch is about to be accumulated: was ``.grad`` zeroed before it?"""
        self.arrived = True
        self.begin()
        gradient = place.parameter.grad
        if not self._in_hand and (gradient is None or not bool(gradient.any())):
            self.parts.clear(place)
            self._known.discard(place.name)
            self.spoilt = None

    def _gradient_of(self, place: Place) -> Tensor:
        gradient = place.parameter.grad
        assert gradient is not None
        return gradient.detach().reshape(-1).to(self.space.dtype)

    def _as_noted(self, place: Place, gradient: Tensor) -> bool:
        known = place.name in self._known and not self.parts.untouched(place)
        return known and same(place.of(self._noted), gradient)

    def _take_over(self, place: Place, gradient: Tensor) -> None:
        mine = self.parts.dense(place)
        total = mine.sum(0)
        factor, exact = scaling([(gradient, total)], self.epsilon)
        if exact and len(gradient) > 1 and factor != 1.0:
            mine.mul_(factor)
            total.mul_(factor)
        mine[-1].add_(gradient - total)
        self.edited = True
