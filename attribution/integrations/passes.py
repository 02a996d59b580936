"""A metered batch whose forward and backward passes are run by somebody else's loop."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor

from attribution.meter import InRunShapley


class Passes:
    """Enters and leaves the ``meter.batch`` block from hooks, where no ``with`` can stand around the passes."""

    def __init__(self, meter: InRunShapley) -> None:
        self._meter = meter
        self._block: AbstractContextManager[None] | None = None

    @property
    def under_way(self) -> bool:
        """Whether a batch has been opened and neither closed nor abandoned; so also while it is being closed."""
        return self._block is not None

    def open(self, who: Tensor) -> None:
        """Meter what comes from here on: row i belongs to contributor ``who[i]``, a LongTensor ``[rows]``."""
        block = self._meter.batch(who)
        block.__enter__()
        self._block = block

    def close(self) -> None:
        """The backward pass is over: divide its gradient."""
        assert self._block is not None
        try:
            # The engine's callbacks run without gradients, but the meter may have to repeat the batch.
            with torch.enable_grad():
                self._block.__exit__(None, None, None)
        finally:
            self._block = None

    def abandon(self) -> None:
        """No backward pass will come: nothing of the batch is counted. Does nothing between batches."""
        block, self._block = self._block, None
        if block is not None:
            error = _AbandonedError()
            block.__exit__(type(error), error, None)


class _AbandonedError(Exception):
    """Says to the block that its passes did not end well."""
