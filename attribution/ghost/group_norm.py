"""GroupNorm: the normalised input, recomputed, meets the output gradient channel by channel."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

from attribution.ghost.channels import scale_and_shift
from attribution.ghost.rule import LayerCall, layer_rule


@layer_rule(nn.GroupNorm, linear=True)
def group_norm(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"n c *p, n c *p -> c"`` of normalised input and output gradient; bias: ``"n c *p -> c"``."""
    assert isinstance(layer, nn.GroupNorm)
    normalised = functional.group_norm(call.inputs, layer.num_groups, eps=layer.eps)
    scale_and_shift(layer.weight, layer.bias, call, normalised, channels=1)
