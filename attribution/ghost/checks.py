"""Which parameters' sums are checked in a batch: all of a small model's, those of a large one in turn."""

from __future__ import annotations

from attribution.parameters import ParameterSpace

CHECK_ALL = 1 << 20  # elements of all parts together up to which every parameter's sum is checked in every batch
CHECK_ALWAYS = 1 << 15  # elements of a parameter up to which it is checked in every batch, unless it is bundled
CHECK_BUNDLED = 8  # one in so many bundled parameters is checked a batch, in turn
CHECK_SHARE = 32  # beyond that, one in so many elements a batch, in turn


def due(number: int, batch: int) -> bool:
    """Whether the bundled parameter with this number is checked in this batch or step of a large model."""
    return (number + batch) % CHECK_BUNDLED == 0


class Checks:
    """The choice of the batch under way, for a gradient in so many parts."""

    def __init__(self, space: ParameterSpace, parts: int) -> None:
        self._space, self._parts = space, parts
        self.chosen: set[str] = set()  # names of parameters
        self._bundled = {place.name for bundle in space.bundles for place in bundle.places}
        self._suspected: set[str] = set()
        self._next = self._batches = 0

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
        self._batches += 1
        self.chosen, self._suspected, large, elements = self._suspected, set(), [], 0
        for number, place in enumerate(places):
            if place.name in self._bundled:
                if due(number, self._batches):
                    self.chosen.add(place.name)
            elif place.stop - place.start <= CHECK_ALWAYS:
                self.chosen.add(place.name)
            else:
                large.append(place)
        for _ in large:
            if elements >= self._space.size // CHECK_SHARE:
                break
            place = large[self._next % len(large)]
            self._next += 1
            self.chosen.add(place.name)
            elements += place.stop - place.start

    def suspect(self, name: str) -> None:
        """Check the parameter of this name in the next batch too."""
        self._suspected.add(name)
