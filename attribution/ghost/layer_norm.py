"""LayerNorm: the normalised input, recomputed, meets the output gradient element by element."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

from attribution.ghost.rule import LayerCall, layer_rule


@layer_rule(nn.LayerNorm)
def layer_norm(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"p f, p f -> f"`` of normalised input and output gradient; bias: ``"p f -> f"``."""
    assert isinstance(layer, nn.LayerNorm)
    shape = layer.normalized_shape
    for part in call.parts():
        b = part.output_gradient.reshape(-1, *shape)
        if (weight := part.gradient(layer.weight)) is not None:
            normalised = functional.layer_norm(part.inputs.reshape(-1, *shape), shape, eps=layer.eps)
            weight.add_((normalised.to(weight.dtype) * b.to(weight.dtype)).sum(0))
        if (bias := part.gradient(layer.bias)) is not None:
            bias.add_(b.to(bias.dtype).sum(0))
