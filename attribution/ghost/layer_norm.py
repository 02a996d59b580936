"""LayerNorm: the normalised input, recomputed, meets the output gradient element by element."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

from attribution.ghost.rule import LayerCall, layer_rule


@layer_rule(nn.LayerNorm, linear=True)
def layer_norm(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"p f, p f -> f"`` of normalised input and output gradient; bias: ``"p f -> f"``."""
    assert isinstance(layer, nn.LayerNorm)
    if call.wants(layer.weight):
        normalised = functional.layer_norm(call.inputs, layer.normalized_shape, eps=layer.eps)
        call.add_sums(layer.weight, normalised.to(layer.weight.dtype) * call.output_gradient.to(layer.weight.dtype))
    call.add_sums(layer.bias, call.output_gradient)
