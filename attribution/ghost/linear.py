"""Linear: contributor c's weight gradient is the product over c's positions only."""

from __future__ import annotations

from torch import nn

from attribution.ghost.rule import LayerCall, flat, layer_rule


@layer_rule(nn.Linear, nn.modules.linear.NonDynamicallyQuantizableLinear)
def linear(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"p o, p i -> o i"``; bias: ``"p o -> o"``."""
    assert isinstance(layer, nn.Linear)
    for part in call.parts():
        if (weight := part.gradient(layer.weight)) is not None:
            b, a = flat(part.output_gradient, weight.dtype), flat(part.inputs, weight.dtype)
            weight.addmm_(b.t(), a)
        if (bias := part.gradient(layer.bias)) is not None:
            bias.add_(flat(part.output_gradient, bias.dtype).sum(0))
