"""Outputs without a row axis, such as position embeddings looked up once for the whole batch.

Autograd sums their gradient over the rows when they are added to the batch, before any hook sees it. Expanded to one
copy a row they are the same numbers, and each row's gradient can be had.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from attribution.ghost.calls import RootCall


class StandIns:
    """The modules whose rowless output is expanded, and along which axis: decided for each kind of call on its own.

    What is right for a batch of sequences would be wrong for documents packed into one, whose rows are its tokens.
    """

    def __init__(self) -> None:
        self.rows = 0  # of the batch at hand
        self._axes: dict[tuple[Any, ...], int] = {}
        self._within: tuple[Any, ...] = ()

    def begins(self, root: RootCall) -> None:
        """What follows are the calls made by `root`."""
        self._within = root.beginning()

    def decide(self, module: nn.Module, shape: tuple[int, ...], axis: int | None) -> None:
        """Outputs of `module` of this `shape`, in calls like the present one, are expanded along `axis`, or not."""
        if axis is None:
            self._axes.pop(self._key(module, shape), None)
        else:
            self._axes[self._key(module, shape)] = axis

    def instead_of(self, module: nn.Module, output: Any) -> tuple[Tensor, int] | None:
        """What `module` is to return instead of `output`, and the axis of its rows; None if it is not expanded."""
        if not self._axes or not isinstance(output, Tensor):
            return None
        axis = self._axes.get(self._key(module, tuple(output.shape)))
        if axis is None:
            return None
        if output.dim() > axis and output.shape[axis] == 1:
            return output.expand(*output.shape[:axis], self.rows, *output.shape[axis + 1 :]), axis
        return output.unsqueeze(axis).expand(*output.shape[:axis], self.rows, *output.shape[axis:]), axis

    def _key(self, module: nn.Module, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return module, shape, self.rows, self._within

    @staticmethod
    def candidates(shape: tuple[int, ...]) -> list[int]:
        """The axes along which an output of this shape, its last axis features, might be expanded."""
        return [axis for axis, length in enumerate(shape[:-1]) if length == 1] or [0]


class StandInOnly:
    """Observes a repeated call only to put the expanded outputs in place."""

    def __init__(self, stand_ins: StandIns) -> None:
        self._stand_ins = stand_ins

    def before(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Nothing to do."""

    def after(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
        """The expanded output, where there is one."""
        expanded = self._stand_ins.instead_of(module, output)
        return None if expanded is None else expanded[0]
