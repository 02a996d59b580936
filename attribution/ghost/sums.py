"""Whether the parts of a gradient sum to the gradient, parameter by parameter, to rounding."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attribution.errors import UnaccountedGradientError
from attribution.ghost.checks import Checks
from attribution.ghost.parts import Parts
from attribution.ghost.rounding import Rounding
from attribution.parameters import Bundle, ParameterSpace, Place


class Sums:
    """Holds parts of a gradient against the gradient that autograd computed."""

    def __init__(self, space: ParameterSpace, parts: Parts, checks: Checks, rounding: Rounding) -> None:
        self._space, self._parts, self._checks, self._rounding = space, parts, checks, rounding

    def unaccounted(self, noted: Tensor, extra: Parts | None, only: set[str] | None) -> list[tuple[Place, float]]:
        """The checked, or `only` these, parameters whose parts (with `extra`) miss `noted` ``[P]``, and by how much."""
        found, whole = [], float(noted.norm())
        for place in self._space.places:
            if place.name not in (self._checks.chosen if only is None else only):
                continue
            missing = place.of(noted) - self._parts.total(place)
            if extra is not None and not extra.untouched(place):
                missing -= extra.total(place)
            if (relative := self._missing(place, noted, missing, whole, extra)) is not None:
                found.append((place, relative))
        return found

    def verify(self, noted: Tensor, known: set[str]) -> None:
        """Raise `UnaccountedGradientError` unless the checked parts sum to `noted` ``[P]``, to rounding.

        The rounding becomes the house's, of the parameters that are `known` to have a gradient; of bundled ones also
        where they are not checked in this batch.
        """
        if self._rounding.coarse:  # what is not checked would miss the step by autocast's rounding
            self._checks.choose(all_of_them=True)
        whole, roundings = float(noted.norm()), []
        for place in self._space.places:
            if place.name in self._checks.chosen:
                missing = place.of(noted) - self._parts.total(place)
                if (relative := self._missing(place, noted, missing, whole)) is not None:
                    raise UnaccountedGradientError(place.name, relative)
                roundings.append((place, missing))
        for place, rounding in roundings:
            if place.name in known and bool(rounding.any()):
                self._parts.of(self._parts.count - 1, place).add_(rounding)
        if self._checks.in_turn:
            for bundle in self._space.bundles:
                self._round(bundle, noted, known, whole)

    def _round(self, bundle: Bundle, noted: Tensor, known: set[str], whole: float) -> None:
        """Give the house what the parts of bundled parameters miss.

        What may be more than rounding is checked in the next batch; what certainly is, is refused.
        """
        own, parts = noted[bundle.index], self._parts.beside(bundle)
        missing = own - parts.sum(0)
        for place in bundle.places:
            if place.name not in known:
                missing[bundle.columns[place.name]] = 0
        parts[-1].add_(missing)
        epsilon = self._rounding.epsilon
        lengths = bundle.lengths(own)
        rounding, never = 1000 * epsilon * lengths + 64 * epsilon * whole, math.sqrt(epsilon) * (lengths + whole)
        misses = zip(
            bundle.places, *torch.stack([bundle.lengths(missing), rounding, never, lengths]).tolist(), strict=True
        )
        for place, length, likely, most, size in misses:
            if length > most:
                raise UnaccountedGradientError(place.name, length / max(size, 1e-300))
            if length > likely:
                self._checks.suspect(place.name)

    def _missing(
        self, place: Place, noted: Tensor, missing: Tensor, whole: float, extra: Parts | None = None
    ) -> float | None:
        """How much of its gradient a parameter's parts miss; None where that is rounding."""
        length, own = float(missing.norm()), place.of(noted)

        def lengths() -> float:
            others = 0.0 if extra is None else extra.length(place)
            return float(own.norm()) + self._parts.length(place) + others

        explained = self._rounding.explains(place, length, whole, lengths)
        return None if explained else length / max(float(own.norm()), 1e-300)
