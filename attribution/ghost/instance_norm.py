"""InstanceNorm1d, 2d, 3d: the normalised input, recomputed, meets the output gradient channel by channel."""

from __future__ import annotations

from torch import nn
from torch.nn import functional
from torch.nn.modules.instancenorm import _InstanceNorm

from attribution.ghost.channels import scale_and_shift
from attribution.ghost.rule import LayerCall, layer_rule


@layer_rule(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, linear=True)
def instance_norm(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"n c *p, n c *p -> c"`` of normalised input and output gradient; bias: ``"n c *p -> c"``.

    Tracked statistics are used in evaluation mode only; in training mode they are a buffer that nothing reads.
    """
    assert isinstance(layer, _InstanceNorm)
    channels = call.inputs.dim() - layer._get_no_batch_dim()  # type: ignore[no-untyped-call]
    batched = call.inputs if channels else call.inputs.unsqueeze(0)
    own = layer.training or not layer.track_running_stats
    mean, variance = (None, None) if own else (layer.running_mean, layer.running_var)
    normalised = functional.instance_norm(batched, mean, variance, use_input_stats=own, eps=layer.eps)
    scale_and_shift(layer.weight, layer.bias, call, normalised.reshape(call.inputs.shape), channels)
