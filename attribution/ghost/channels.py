"""Layers that normalise and then scale and shift each channel: what their rules share."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from attribution.ghost.masked import parts_along
from attribution.ghost.rule import LayerCall


def scale_and_shift(
    weight: Tensor | None, bias: Tensor | None, call: LayerCall, normalised: Tensor, channels: int
) -> None:
    """Weight: ``"n c *p, n c *p -> c"`` of normalised input and output gradient; bias: ``"n c *p -> c"``.

    `normalised` has the shape of the call's input, and its channels along the axis `channels`.
    """
    others = [axis for axis in range(normalised.dim()) if axis != channels]
    along = call.partition.layout.axis
    if along == 0 and channels == 1 and len(normalised) == len(call.partition.layout.rows):
        b = call.output_gradient
        if weight is not None:
            add_by_row(call, weight, normalised.to(weight.dtype) * b.to(weight.dtype))
        if bias is not None:
            add_by_row(call, bias, b)
        return
    for part in parts_along(replace(call, inputs=normalised), along if along in others else -1):
        b = part.output_gradient
        if (scale := part.gradient(weight)) is not None:
            scale.add_((part.inputs.to(scale.dtype) * b.to(scale.dtype)).sum(others))
        if (shift := part.gradient(bias)) is not None:
            shift.add_(b.to(shift.dtype).sum(others))


def add_by_row(call: LayerCall, parameter: Tensor, terms: Tensor) -> None:
    """Add to each contributor's gradient of `parameter` ``[c]`` the sum of its rows' `terms` ``[n, c, *p]``."""
    if call.wants(parameter):
        summed = terms.to(parameter.dtype).sum(list(range(2, terms.dim()))) if terms.dim() > 2 else terms
        call.add_sums(parameter, summed)
