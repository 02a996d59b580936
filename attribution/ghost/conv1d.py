"""GPT-2's Conv1D of transformers: a linear layer whose weight is stored transposed."""

from __future__ import annotations

from torch import nn

from attribution.ghost.rule import LayerCall, flat, layer_rule


@layer_rule("transformers.pytorch_utils.Conv1D", dear=True, linear=True)
def conv1d(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"p i, p o -> i o"``; bias: ``"p o -> o"``."""
    weight = layer._parameters["weight"]
    if weight is not None and call.wants(weight):
        for part in call.parts():
            b, a = flat(part.output_gradient, weight.dtype), flat(part.inputs, weight.dtype)
            part.add_product(weight, a.t(), b)
    call.add_sums(layer._parameters["bias"], call.output_gradient)
