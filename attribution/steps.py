"""The path of a run as rows: what each optimizer step, or segment of several, did to the losses, and who did it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from attribution.errors import RecordError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_FLOATS = ("loss_before", "loss_after", "values", "house", "gap")
_INTEGERS = ("nodes", "rows", "length")

# What `improvement` is, for the manifest.
TELESCOPING = (
    "the validation loss before the run minus the loss after it, since every segment ends at the loss at which the "
    "next begins; values + house + gap sum to it, in every segment and over the run"
)
NOT_TELESCOPING = (
    "the sum over segments of loss_before minus loss_after, both on the segment's own validation batch; a segment's "
    "loss_after is not the next one's loss_before, so the sum is not the loss before the run minus the loss after it; "
    "values + house + gap sum to it, in every segment and over the run"
)


@dataclass(frozen=True)
class Step:
    """One segment of the path: what it did to each task's loss, and who did it. All losses and values in nats."""

    index: int  # of the segment
    loss_before: Floats  # [tasks]
    loss_after: Floats  # [tasks]
    values: Floats  # [contributors, tasks]; positive = lowered the loss
    house: Floats  # [tasks]
    gap: Floats  # [tasks]
    nodes: int  # places on the path at which validation gradients were used
    rows: Integers  # [contributors]
    length: int = 1  # optimizer steps covered; 0 for an edit of the parameters by hand between two steps


@dataclass(frozen=True)
class Steps(Sequence[Step]):
    """All segments of a run: a sequence of `Step`, and the same figures as arrays with the segment as first axis.

    A segment is one optimizer step unless `length` says that it covers more, or, as an edit by hand, none. Raises
    `RecordError` when the arrays differ in length, or a length is negative.
    """

    loss_before: Floats  # [segments, tasks]
    loss_after: Floats  # [segments, tasks]
    values: Floats  # [segments, contributors, tasks]
    house: Floats  # [segments, tasks]
    gap: Floats  # [segments, tasks]
    nodes: Integers  # [segments]
    rows: Integers  # [segments, contributors]
    length: Integers = None  # type: ignore[assignment]  # [segments]; 1 each where not given

    def __post_init__(self) -> None:
        if self.length is None:
            object.__setattr__(self, "length", np.ones(len(self.nodes)))
        for name in _FLOATS:
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.float64))
        for name in _INTEGERS:
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.int64))
        count = len(self.nodes)
        for name in (*_FLOATS, "rows", "length"):
            if len(getattr(self, name)) != count:
                raise RecordError(f"steps: {name} has {len(getattr(self, name))} rows where nodes has {count}")
        if self.length.shape != (count,) or (self.length < 0).any():
            raise RecordError(f"steps: a length is the number of optimizer steps that a row covers, not {self.length}")

    @classmethod
    def of(cls, rows: Sequence[Step], contributors: int, tasks: int) -> Steps:
        """The segments `rows`, of which there may be none, in a run of so many contributors and tasks."""
        if rows:
            return cls(**{name: np.array([getattr(row, name) for row in rows]) for name in (*_FLOATS, *_INTEGERS)})
        empty: dict[str, Any] = {name: np.zeros((0, tasks)) for name in ("loss_before", "loss_after", "house", "gap")}
        empty |= {name: np.zeros(0) for name in ("nodes", "length")}
        empty |= {"values": np.zeros((0, contributors, tasks)), "rows": np.zeros((0, contributors))}
        return cls(**empty)

    @cached_property
    def first(self) -> Integers:
        """The optimizer step with which each segment begins, counted from 0, int64 [segments]."""
        return frozen_array(np.cumsum(self.length) - self.length, np.int64)

    def improvement(self, telescopes: bool) -> Floats:
        """What all segments did to the losses, float64 [tasks], nats; positive = lowered them.

        Loss before the first less loss after the last; unless the segments telescope, the sum of their own
        improvements.
        """
        if telescopes and len(self):
            return frozen_array(self.loss_before[0] - self.loss_after[-1], np.float64)
        return frozen_array((self.loss_before - self.loss_after).sum(axis=0), np.float64)

    def __len__(self) -> int:
        return len(self.nodes)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> list[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | list[Step]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return Step(
            i,
            self.loss_before[i],
            self.loss_after[i],
            self.values[i],
            self.house[i],
            self.gap[i],
            int(self.nodes[i]),
            self.rows[i],
            int(self.length[i]),
        )

    def __iter__(self) -> Iterator[Step]:
        return (self[i] for i in range(len(self)))


def frozen_array(array: npt.ArrayLike, dtype: type) -> npt.NDArray[Any]:
    """A read-only copy of `array`."""
    copy: npt.NDArray[Any] = np.array(array, dtype=dtype)
    copy.setflags(write=False)
    return copy
