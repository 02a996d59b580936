"""The gradient of the coming step, divided: one part a contributor and one of the house."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from attribution.errors import UnaccountedGradientError
from attribution.parameters import ParameterSpace, Place


class DividedGradient:
    """``parts [contributors + 1, P]``, the last the house's; they mirror the parameters' ``.grad``.

    What autograd accumulates over several batches is accumulated here too, and what is zeroed is zeroed.
    """

    def __init__(self, space: ParameterSpace, contributors: int) -> None:
        self.space, self.contributors = space, contributors
        self.parts = space.zeros(contributors + 1)
        self.epsilon = max(torch.finfo(place.parameter.dtype).eps for place in space.places)
        self._dirty = False
        self._magnitudes: dict[str, float] = {}
        self._in_hand = False
        self.arrived = False  # a gradient of a parameter, since the meter last took things in hand
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

    def close(self) -> None:
        """Take the hooks off the parameters."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _arriving(self, place: Place) -> None:
        """A gradient from outside a metered batch is about to be accumulated: was ``.grad`` zeroed before it?"""
        self.arrived = True
        gradient = place.parameter.grad
        if not self._in_hand and (gradient is None or not bool(gradient.any())):
            place.of(self.parts).zero_()

    def synchronise(self) -> None:
        """Before new gradients arrive: take over what was done to ``.grad`` since the last ones did.

        What was zeroed is zeroed here, what was scaled is scaled; whatever else was added belongs to the house.
        """
        self._magnitudes.clear()
        dirty, self._dirty = self._dirty, True
        if all(place.parameter.grad is None for place in self.space.places):
            if dirty:
                self.parts.zero_()
            return
        for place in self.space.places:
            gradient, mine = place.parameter.grad, place.of(self.parts)
            if gradient is None or not bool(gradient.any()):
                mine.zero_()
                continue
            self._take_over(mine, gradient.detach().reshape(-1).to(mine.dtype))

    def _take_over(self, mine: Tensor, gradient: Tensor) -> None:
        total = mine.sum(0)
        factor, exact = self._factor(gradient, total)
        if exact and len(gradient) > 1 and factor != 1.0:
            mine.mul_(factor)
            total.mul_(factor)
        mine[-1].add_(gradient - total)

    def note_magnitude(self, places: Iterable[Place], magnitude: float) -> None:
        """Note the size of the terms that were summed into these parameters: rounding is relative to it."""
        for place in places:
            self._magnitudes[place.name] = math.hypot(self._magnitudes.get(place.name, 0.0), magnitude)

    def unaccounted(self, extra: Tensor | None = None) -> list[tuple[Place, float]]:
        """Parameters whose parts (and `extra` parts) do not sum to ``.grad`` within rounding, and by how much."""
        gradient, parts = self._gradient(), self.parts if extra is None else self.parts + extra
        missing = gradient - parts.sum(0)
        whole = float(gradient.norm())
        wrong = []
        for place in self.space.places:
            length = float(place.of(missing).norm())
            rounding = 64 * self.epsilon * (self._magnitudes.get(place.name, 0.0) + whole)
            if not length <= rounding:
                own = float(place.of(gradient).norm())
                rounding += 1000 * self.epsilon * (float(place.of(parts).norm(dim=1).sum()) + own)
                if not length <= rounding:
                    wrong.append((place, length / max(own, 1e-300)))
        return wrong

    def verify(self) -> None:
        """Raise `UnaccountedGradientError` unless the parts sum to what autograd computed."""
        for place, relative in self.unaccounted():
            raise UnaccountedGradientError(place.name, relative)

    def settle(self) -> None:
        """Before the step divides: carry over scaling (clipping) to all parts; the rest of ``.grad`` is the house's.

        A scaling is common to all parameters, or to all elements of one. What is not (noise, clipping by value, an
        edit by hand) is a residual, and the house's.
        """
        gradient, total = self._gradient(), self.parts.sum(0)
        common, everywhere = self._factor(gradient, total)
        if everywhere:
            if common != 1.0:
                self.parts.mul_(common)
            self.parts[-1].add_(gradient.sub_(total, alpha=common))
            return
        for place in self.space.places:
            factor = common
            # One element is in proportion to anything, so it says nothing about the factor.
            if place.stop - place.start > 1:
                own, exact = self._factor(place.of(gradient), place.of(total))
                factor = own if exact else common
            place.of(self.parts).mul_(factor)
            place.of(self.parts)[-1].add_(place.of(gradient) - factor * place.of(total))

    def _gradient(self) -> Tensor:
        flat = self.space.zeros()
        self.space.write([place.parameter.grad for place in self.space.places], self.space.places, flat)
        return flat

    def _factor(self, gradient: Tensor, total: Tensor) -> tuple[float, bool]:
        """The factor f with ``gradient ≈ f · total``, and whether that holds everywhere, to rounding."""
        square = float(torch.dot(total, total))
        if square == 0:
            return 1.0, False
        fitted = float(torch.dot(gradient, total)) / square
        residual = float((gradient - fitted * total).norm()) ** 2
        if residual <= (1000 * self.epsilon * fitted) ** 2 * square:
            return (1.0 if abs(fitted - 1) <= 16 * self.epsilon else fitted), True
        return self._among(gradient, total, fitted, math.sqrt(residual / len(total) / square)), False

    def _among(self, gradient: Tensor, total: Tensor, fitted: float, spread: float) -> float:
        """The factor where a residual remains: one that many elements share exactly, else the fitted one.

        A fitted factor that noise alone can explain as a deviation from 1 is taken for 1; `spread` is the standard
        deviation that the residual gives it.
        """
        used = total.abs() > 1e-6 * total.abs().max()
        ratios = (gradient[used] / total[used]).double()
        for candidate in (1.0, float(ratios.median())):
            shared = (ratios - candidate).abs() <= 1e4 * self.epsilon * abs(candidate)
            if candidate != 0 and float(shared.double().mean()) >= 0.02:
                return candidate
        return 1.0 if abs(fitted - 1) <= 4 * spread else fitted
