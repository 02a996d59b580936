"""Parts of a gradient, one buffer a part and parameter; what nobody wrote to counts as zero without being zeroed.

Small parameters that are bundled share one buffer a bundle; theirs is zero where nobody wrote to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from attribution.parameters import Bundle, ParameterSpace, Place


class Parts:
    """``[parts, n]`` for each parameter of n elements, made when it is first needed."""

    def __init__(self, space: ParameterSpace, count: int) -> None:
        self._space, self.count = space, count
        self._tensors: dict[str, Tensor] = {}
        self._written: dict[str, set[int]] = {}
        self._bundled = {place.name: bundle for bundle in space.bundles for place in bundle.places}
        self._beside: dict[int, Tensor] = {}  # by id of the bundle

    def clear(self, place: Place | None = None) -> None:
        """Everything, or one parameter's parts, is zero from now on."""
        if place is None:
            self._written.clear()
            for tensor in self._beside.values():
                tensor.zero_()
        elif self._written.pop(place.name, None) and place.name in self._bundled:
            self._tensors[place.name].zero_()

    def untouched(self, place: Place) -> bool:
        """Whether all parts of this parameter are zero because nobody wrote to them."""
        return not self._written.get(place.name)

    def of(self, part: int, place: Place) -> Tensor:
        """One part ``[n]``, to be added to in place."""
        row, fresh = self._row(part, place)
        return row.zero_() if fresh and place.name not in self._bundled else row

    def add_product(self, part: int, place: Place, left: Tensor, right: Tensor) -> None:
        """Add the matrix product ``left @ right``, which has the parameter's shape, to one part."""
        row, fresh = self._row(part, place)
        torch.addmm(matrix := row.view(place.parameter.shape), left, right, beta=0 if fresh else 1, out=matrix)

    def add_rows(self, parts: Sequence[int], place: Place, rows: Tensor) -> None:
        """Add ``rows[i]`` to part ``parts[i]``, all of them different; `rows` is ``[len(parts), n]``."""
        tensor, written = self._buffer(place), self._written.setdefault(place.name, set())
        index = torch.tensor(parts, device=tensor.device)
        if written.isdisjoint(parts):
            tensor.index_copy_(0, index, rows)
        else:
            for part in set(parts) - written:
                tensor[part].zero_()
            tensor.index_add_(0, index, rows)
        written.update(parts)

    def dense(self, place: Place) -> Tensor:
        """All parts ``[parts, n]``, zeros written out."""
        if len(self._written.get(place.name, ())) < self.count:
            for part in set(range(self.count)) - self._written.get(place.name, set()):
                self.of(part, place)
        return self._tensors[place.name]

    def beside(self, bundle: Bundle) -> Tensor:
        """All parts ``[parts, n]`` of the parameters of a bundle."""
        for place in bundle.places:
            self._written[place.name] = set(range(self.count))
        return self._bundle(bundle)

    def total(self, place: Place) -> Tensor:
        """The sum over the parts ``[n]``."""
        parts = sorted(self._written.get(place.name, ()))
        if not parts:
            return torch.zeros(place.stop - place.start, dtype=self._space.dtype, device=self._space.device)
        tensor, first, last = self._tensors[place.name], parts[0], parts[-1]
        if last - first + 1 == len(parts):
            return tensor[first : last + 1].sum(0)
        total = tensor[first] + tensor[parts[1]]
        for part in parts[2:]:
            total.add_(tensor[part])
        return total

    def length(self, place: Place) -> float:
        """The sum of the parts' norms."""
        rows = self._written.get(place.name, ())
        return float(sum(float(self._tensors[place.name][part].norm()) for part in rows))

    def add(self, other: Parts) -> None:
        """Add the parts of `other`, which is used up: where nothing was here its buffers are taken over."""
        for place in self._space.places:
            if other.untouched(place):
                continue
            if self.untouched(place):
                self.replace(place, other)
                continue
            for part in other._written[place.name]:
                self.of(part, place).add_(other._tensors[place.name][part])
            other.clear(place)
            if place.name not in self._bundled:
                other._tensors.pop(place.name)

    def replace(self, place: Place, other: Parts) -> None:
        """Let the parts of this parameter be those of `other`, which is used up."""
        self.clear(place)
        if other.untouched(place):
            return
        if place.name in self._bundled:
            self._buffer(place).copy_(other._tensors[place.name])
            self._written[place.name] = set(other._written[place.name])
            other.clear(place)
        else:
            self._tensors[place.name] = other._tensors.pop(place.name)
            self._written[place.name] = other._written.pop(place.name)

    def _row(self, part: int, place: Place) -> tuple[Tensor, bool]:
        written = self._written.setdefault(place.name, set())
        fresh = part not in written
        written.add(part)
        return self._buffer(place)[part], fresh

    def _buffer(self, place: Place) -> Tensor:
        if place.name not in self._tensors:
            if place.name in self._bundled:
                self._bundle(self._bundled[place.name])
                return self._tensors[place.name]
            shape = (self.count, place.stop - place.start)
            self._tensors[place.name] = torch.empty(shape, dtype=self._space.dtype, device=self._space.device)
        return self._tensors[place.name]

    def _bundle(self, bundle: Bundle) -> Tensor:
        if id(bundle) not in self._beside:
            shape = (self.count, bundle.size)
            self._beside[id(bundle)] = torch.zeros(shape, dtype=self._space.dtype, device=self._space.device)
            for place in bundle.places:
                self._tensors[place.name] = self._beside[id(bundle)][:, bundle.columns[place.name]]
        return self._beside[id(bundle)]
