"""GPT-2's Conv1D of transformers: a linear layer whose weight is stored transposed."""

from __future__ import annotations

from torch import Tensor, nn

from attribution.ghost.rule import LayerCall, flat, layer_rule


@layer_rule("transformers.pytorch_utils.Conv1D")
def conv1d(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"p i, p o -> i o"``; bias: ``"p o -> o"``."""
    for part in call.parts():
        if (weight := part.gradient(_parameter(layer, "weight"))) is not None:
            b, a = flat(part.output_gradient, weight.dtype), flat(part.inputs, weight.dtype)
            weight.addmm_(a.t(), b)
        if (bias := part.gradient(_parameter(layer, "bias"))) is not None:
            bias.add_(flat(part.output_gradient, bias.dtype).sum(0))


def _parameter(layer: nn.Module, name: str) -> nn.Parameter | None:
    parameter: Tensor | None = layer._parameters.get(name)
    return parameter if isinstance(parameter, nn.Parameter) else None
