"""How much of what the parts miss of a gradient is rounding, in the batch under way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

from attribution.parameters import Place


class Rounding:
    """Rounding is relative to the terms that were summed, not to their sum, and to the coarsest type on the way.

    Args:
        epsilon: the unit of rounding of the coarsest parameter.
    """

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon
        self._magnitudes: dict[str, float] = {}
        self._coarsest = 0.0  # unit of rounding of the coarsest gradient in this batch: autocast's

    @property
    def unit(self) -> float:
        """That of this batch's gradients: autocast's, where it was used."""
        return max(self.epsilon, self._coarsest)

    @property
    def coarse(self) -> bool:
        """Whether gradients are rounded to a coarser type than the parameters'."""
        return self._coarsest > self.epsilon

    def forget(self) -> None:
        """Another batch begins."""
        self._magnitudes.clear()
        self._coarsest = 0.0

    def note_magnitude(self, places: Iterable[Place], magnitude: float) -> None:
        """Note the size of the terms that were summed into these parameters."""
        for place in places:
            self._magnitudes[place.name] = math.hypot(self._magnitudes.get(place.name, 0.0), magnitude)

    def note_precision(self, dtype: torch.dtype) -> None:
        """Note the type in which a gradient came back: autograd rounds what it computes from it to that type."""
        self._coarsest = max(self._coarsest, torch.finfo(dtype).eps)

    def explains(self, place: Place, missing: float, whole: float, lengths: Callable[[], float]) -> bool:
        """Whether rounding explains that a parameter's parts miss its gradient by the length `missing`.

        `whole` is the length of all parameters' gradient; `lengths` gives the sum of those of this one's and its parts.
        """
        rounding = 64 * self.epsilon * (self._magnitudes.get(place.name, 0.0) + whole)
        if missing <= rounding:
            return True
        # Autocast rounds each use's gradient to its type, which is half a unit of its own length at most.
        return missing <= rounding + max(1000 * self.epsilon, 2 * self._coarsest if self.coarse else 0.0) * lengths()
