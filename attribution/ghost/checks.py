"""Which parameters' sums are checked in a batch: all of a small model's, large ones in turn."""

from __future__ import annotations

from attribution.parameters import ParameterSpace

CHECK_ALL = 1 << 22  # elements of all parts together up to which every parameter's sum is checked in every batch
CHECK_ALWAYS = 1 << 15  # elements of a parameter up to which it is checked in every batch in any case
CHECK_SHARE = 32  # beyond that, one in so many elements a batch, in turn


class Checks:
    """The choice of the batch under way, for a gradient in so many parts."""

    def __init__(self, space: ParameterSpace, parts: int) -> None:
        self._space, self._parts = space, parts
        self.chosen: set[str] = set()  # names of parameters
        self._next = 0

    @property
    def in_turn(self) -> bool:
        """Whether there is so much to check that large parameters are checked in turn."""
        return self._space.size * self._parts > CHECK_ALL

    def choose(self, *, all_of_them: bool = False) -> None:
        """Choose for the coming batch."""
        places = self._space.places
        if all_of_them or not self.in_turn:
            self.chosen = {place.name for place in places}
            return
        large = [place for place in places if place.stop - place.start > CHECK_ALWAYS]
        self.chosen, elements = {place.name for place in places} - {place.name for place in large}, 0
        for _ in large:
            if elements >= self._space.size // CHECK_SHARE:
                break
            place = large[self._next % len(large)]
            self._next += 1
            self.chosen.add(place.name)
            elements += place.stop - place.start
