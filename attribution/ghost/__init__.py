"""Contributors' gradients without per-sample gradients: capture, and one file a layer rule (DESIGN §3.4)."""

from attribution.ghost import (
    conv1d,
    convolution,
    embedding,
    group_norm,
    instance_norm,
    layer_norm,
    linear,
    rms_norm,
)
from attribution.ghost.rule import LayerCall, Part, layer_rule, rule_for

__all__ = [
    "LayerCall",
    "Part",
    "conv1d",
    "convolution",
    "embedding",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "layer_rule",
    "linear",
    "rms_norm",
    "rule_for",
]
