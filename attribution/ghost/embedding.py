"""Embedding: a row of the table collects the output gradients of the positions that looked it up."""

from __future__ import annotations

from torch import nn

from attribution.ghost.rule import LayerCall, flat, layer_rule


@layer_rule(nn.Embedding, linear=True)
def embedding(layer: nn.Module, call: LayerCall) -> None:
    """Weight: scatter-add of ``[positions, features]`` by token; the padding row gets none."""
    assert isinstance(layer, nn.Embedding)
    for part in call.parts():
        if (weight := part.gradient(layer.weight)) is not None:
            tokens = part.inputs.reshape(-1)
            b = flat(part.output_gradient, weight.dtype)
            if layer.padding_idx is not None:
                used = tokens != layer.padding_idx
                tokens, b = tokens[used], b[used]
            weight.index_add_(0, tokens, b)
