"""Linear: contributor c's weight gradient is the product over c's positions only."""

from __future__ import annotations

from torch import nn

from attribution.ghost.rule import LayerCall, layer_rule


@layer_rule(nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear, dear=True, linear=True)
def linear(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"p o, p i -> o i"``; bias: ``"p o -> o"``."""
    assert isinstance(layer, nn.Linear)
    call.add_products(layer.weight, call.output_gradient, call.inputs)
    call.add_sums(layer.bias, call.output_gradient)
