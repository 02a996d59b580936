"""Which positions of an activation belong to which contributor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

Positions = slice | Tensor


@dataclass(frozen=True)
class Layout:
    """Where the batch's rows lie in one tensor: along `axis`, position i belongs to row ``rows[i]`` (−1: to none)."""

    axis: int
    rows: Tensor  # [length of the axis]

    @cached_property
    def key(self) -> tuple[int, bytes]:
        """Equal for equal layouts."""
        return self.axis, self.rows.numpy().tobytes()

    def completed(self, rows: int) -> Layout:
        """With the positions that depend on no row filled in, where the others show a regular order.

        Regular is row by row in equal runs (batch-major), or all rows in turn (time-major).
        """
        length = len(self.rows)
        if length % rows == 0:
            places = torch.arange(length)
            for regular in (places // (length // rows), places % rows):
                if bool(((self.rows == regular) | (self.rows < 0)).all()):
                    return Layout(self.axis, regular)
        return self

    def regular(self, rows: int) -> bool:
        """Whether the order is one of those that `completed` knows, and so not a matter of this batch's data."""
        completed = self.completed(rows)
        return len(self.rows) % rows == 0 and bool((self.rows == completed.rows).all()) and completed is not self


@dataclass(frozen=True)
class Partition:
    """A layout together with the contributor of each row ``[rows]``: the positions of each contributor."""

    layout: Layout
    who: Tensor

    @cached_property
    def _memberships(self) -> dict[tuple[torch.dtype, torch.device], Tensor]:
        return {}

    @cached_property
    def _positions(self) -> list[tuple[int, Positions]]:
        known = self.layout.rows >= 0
        owners = torch.where(known, self.who[self.layout.rows.clamp(min=0)], -1)
        found: list[tuple[int, Positions]] = []
        for contributor in torch.unique(owners).tolist():
            if contributor < 0:
                continue
            indices = (owners == contributor).nonzero().reshape(-1)
            first, last = int(indices[0]), int(indices[-1])
            adjacent = last - first + 1 == len(indices)
            found.append((contributor, slice(first, last + 1) if adjacent else indices))
        return found

    def positions(self) -> Iterator[tuple[int, Positions]]:
        """Each contributor in the tensor, with its positions along the axis; adjacent ones as a slice, uncopied."""
        return iter(self._positions)

    @cached_property
    def together(self) -> tuple[Tensor | None, list[tuple[int, slice]]]:
        """The positions in an order in which each contributor's are adjacent, and where they then lie; None: as is."""
        if all(isinstance(positions, slice) for _, positions in self._positions):
            return None, [(contributor, p) for contributor, p in self._positions if isinstance(p, slice)]
        places, spans, begin = torch.arange(len(self.layout.rows)), [], 0
        order = [places[positions] for _, positions in self._positions]
        for (contributor, _), mine in zip(self._positions, order, strict=True):
            spans.append((contributor, slice(begin, begin := begin + len(mine))))
        return torch.cat(order), spans

    def membership(self, like: Tensor) -> tuple[list[int], Tensor]:
        """The contributors in the tensor and, one row each ``[contributors, length of the axis]``, ones where they are.

        In the type and on the device of `like`.
        """
        contributors = [contributor for contributor, _ in self._positions]
        kind = (like.dtype, like.device)
        if kind not in self._memberships:
            ones = torch.zeros(len(contributors), len(self.layout.rows), dtype=like.dtype, device=like.device)
            for row, (_, positions) in zip(ones, self._positions, strict=True):
                row[positions if isinstance(positions, slice) else positions.to(like.device)] = 1
            self._memberships[kind] = ones
        return contributors, self._memberships[kind]

    def select(self, tensor: Tensor, positions: Positions) -> Tensor:
        """`tensor` at `positions` along the layout's axis; all of it where they are all that there are, since the only
        row of a batch may have lost its axis.
        """
        if isinstance(positions, slice):
            if positions.stop - positions.start == len(self.layout.rows):
                return tensor
            return tensor.narrow(self.layout.axis, positions.start, positions.stop - positions.start)
        return tensor.index_select(self.layout.axis, positions.to(tensor.device))

    def masked(self, tensor: Tensor, positions: Positions) -> Tensor:
        """`tensor` with zeros everywhere but at `positions`."""
        mask = torch.zeros(tensor.shape[self.layout.axis], dtype=tensor.dtype, device=tensor.device)
        mask[positions if isinstance(positions, slice) else positions.to(tensor.device)] = 1
        shape = [1] * tensor.dim()
        shape[self.layout.axis] = -1
        # where, not a product: 0 × inf must not become NaN
        return torch.where(mask.reshape(shape).bool(), tensor, 0)
