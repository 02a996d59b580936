"""GPT-2's Conv1D of transformers: a linear layer whose weight is stored transposed."""

from __future__ import annotations

from torch import nn

from attribution.ghost.rule import LayerCall, layer_rule


@layer_rule("transformers.pytorch_utils.Conv1D", dear=True, linear=True)
def conv1d(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"p i, p o -> i o"``; bias: ``"p o -> o"``."""
    call.add_products(layer._parameters["weight"], call.inputs, call.output_gradient)
    call.add_sums(layer._parameters["bias"], call.output_gradient)
