"""Sums of rows' gradients with random signs, one a contributor: divided as the gradient is, by the same rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from attribution.ghost.calls import ModuleCall
from attribution.ghost.partition import Layout
from attribution.ghost.parts import Parts
from attribution.ghost.rows import CallFindings
from attribution.parameters import ParameterSpace


class SignedParts:
    """``Σ_{r of c} ε_r g_r`` for each contributor c, of the batches of a step whose calls have been seen before.

    The first batch of its shapes is left out: its division may have to be found out in several attempts. `seed` is that
    of the signs.
    """

    def __init__(self, space: ParameterSpace, contributors: int, seed: int) -> None:
        self.parts = Parts(space, contributors)
        self._draw = torch.Generator().manual_seed(seed)
        self._signs = torch.ones(0)

    def redraw(self, rows: int) -> None:
        """New signs for a batch of `rows`."""
        self._signs = 2.0 * torch.randint(0, 2, (rows,), generator=self._draw) - 1

    def of(self, gradient: Tensor, layout: Layout) -> Tensor:
        """The gradient of an output, each row's times its sign."""
        known = layout.rows >= 0
        signs = torch.where(known, self._signs[layout.rows.clamp(min=0)], 1.0)
        shape = [1] * gradient.dim()
        shape[layout.axis] = -1
        return gradient * signs.to(gradient.device, gradient.dtype).view(shape)

    def calls(self, calls: Iterable[tuple[ModuleCall, CallFindings]]) -> Iterable[tuple[ModuleCall, CallFindings]]:
        """The calls, with the gradients of their outputs so signed; those without a row axis are left out."""
        for call, found in calls:
            layouts = {index: found.outputs[index] for index in call.gradients}
            if all(isinstance(layout, Layout) for layout in layouts.values()):
                signed = {i: self.of(g, layouts[i]) for i, g in call.gradients.items()}  # type: ignore[arg-type]
                yield replace(call, gradients=signed), found
