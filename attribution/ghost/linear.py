"""Linear: contributor c's weight gradient is the product over c's positions only."""

from __future__ import annotations

from torch import nn

from attribution.ghost.rule import LayerCall, flat, layer_rule


@layer_rule(nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear, dear=True, linear=True)
def linear(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"p o, p i -> o i"``; bias: ``"p o -> o"``."""
    assert isinstance(layer, nn.Linear)
    if call.wants(layer.weight):
        for part in call.parts():
            b, a = flat(part.output_gradient, layer.weight.dtype), flat(part.inputs, layer.weight.dtype)
            part.add_product(layer.weight, b.t(), a)
    call.add_sums(layer.bias, call.output_gradient)
