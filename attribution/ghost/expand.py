"""Outputs without a row axis, such as position embeddings looked up once for the whole batch.

Autograd sums their gradient over the rows when they are added to the batch, before any hook sees it. Expanded to one
copy a row they are the same numbers, and each row's gradient can be had.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class StandIns:
    """The modules whose rowless output is expanded, and along which axis."""

    def __init__(self) -> None:
        self.axes: dict[nn.Module, int] = {}
        self.rows = 0  # of the batch at hand

    def instead_of(self, module: nn.Module, output: Any) -> tuple[Tensor, int] | None:
        """What `module` is to return instead of `output`, and the axis of its rows; None if it is not expanded."""
        axis = self.axes.get(module)
        if axis is None or not isinstance(output, Tensor):
            return None
        if output.dim() > axis and output.shape[axis] == 1:
            return output.expand(*output.shape[:axis], self.rows, *output.shape[axis + 1 :]), axis
        return output.unsqueeze(axis).expand(*output.shape[:axis], self.rows, *output.shape[axis:]), axis

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
