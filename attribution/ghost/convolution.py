"""Conv1d, Conv2d, Conv3d: the convolution's own weight gradient, over the contributor's rows of the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from attribution.ghost.channels import add_by_row
from attribution.ghost.masked import parts_along
from attribution.ghost.rule import LayerCall, layer_rule


@layer_rule(nn.Conv1d, nn.Conv2d, nn.Conv3d, dear=True, linear=True)
def convolution(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"n o *p, n (g i) *p+k -> o i *k"``, strided, dilated and in groups; bias: ``"n o *p -> o"``."""
    assert isinstance(layer, _ConvNd)
    spatial = len(layer.kernel_size)
    batched = call.output_gradient.dim() == spatial + 2
    rows = call.partition.layout.axis == 0 and len(call.output_gradient) == len(call.partition.layout.rows)
    if batched and rows and layer.bias is not None:
        add_by_row(call, layer.bias, call.output_gradient)
    for part in parts_along(call, 0 if batched else -1):
        a, b = (x if batched else x.unsqueeze(0) for x in (part.inputs, part.output_gradient))
        if (weight := part.gradient(layer.weight)) is not None:
            weight.add_(_weight_gradient(layer, a.to(weight.dtype), b.to(weight.dtype)))
        if not (batched and rows) and (bias := part.gradient(layer.bias)) is not None:
            bias.add_(b.to(bias.dtype).sum((0, *range(2, spatial + 2))))


def _weight_gradient(layer: _ConvNd, inputs: Tensor, output_gradient: Tensor) -> Tensor:
    padding = layer.padding
    if layer.padding_mode != "zeros" or isinstance(padding, str):
        # What the layer pads with by itself: other values than zeros, or one more on one side than on the other.
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        inputs = functional.pad(inputs, layer._reversed_padding_repeated_twice, mode=mode)
        padding = (0,) * len(layer.kernel_size)
    _, gradient, _ = torch.ops.aten.convolution_backward(
        output_gradient,
        inputs,
        layer.weight.to(inputs.dtype),
        None,
        layer.stride,
        padding,
        layer.dilation,
        False,
        [0] * len(layer.kernel_size),
        layer.groups,
        [False, True, False],
    )
    found: Tensor = gradient
    return found
