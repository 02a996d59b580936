"""RMSNorm, torch's own and those that transformers writes out: the normalised input meets the output gradient.

Whether a layer multiplies by w or, as Gemma's do, by 1 + w is the same to the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution.ghost.rule import LayerCall, layer_rule

_IN_SINGLE_PRECISION = (
    *("apertus.Apertus", "arcee.Arcee", "bamba.Bamba", "bitnet.BitNet", "cwm.Cwm", "deepseek_v2.DeepseekV2"),
    *("deepseek_v3.DeepseekV3", "ernie4_5.Ernie4_5", "exaone4.Exaone4", "falcon_h1.FalconH1", "flex_olmo.FlexOlmo"),
    *("gemma.Gemma", "gemma2.Gemma2", "gemma3.Gemma3", "gemma3n.Gemma3n", "glm.Glm", "glm4.Glm4", "gpt_oss.GptOss"),
    *("granite.Granite", "granitemoe.GraniteMoe", "helium.Helium", "jamba.Jamba", "lfm2.Lfm2", "llama.Llama"),
    *("llama4.Llama4Text", "mamba.Mamba", "mamba2.Mamba2", "minimax.MiniMax", "mistral.Mistral", "mixtral.Mixtral"),
    *("olmo2.Olmo2", "olmo3.Olmo3", "olmoe.Olmoe", "phi3.Phi3", "qwen2.Qwen2", "qwen2_moe.Qwen2Moe", "qwen3.Qwen3"),
    *("qwen3_moe.Qwen3Moe", "qwen3_next.Qwen3Next", "recurrent_gemma.RecurrentGemma", "seed_oss.SeedOss"),
    *("smollm3.SmolLM3", "t5gemma.T5Gemma", "vaultgemma.VaultGemma", "zamba.Zamba", "zamba2.Zamba2"),
)
_MEAN_SQUARE_ALONE = (
    *("longt5.LongT5", "mt5.MT5", "pix2struct.Pix2Struct", "pop2piano.Pop2Piano"),
    *("switch_transformers.SwitchTransformers", "t5.T5", "udop.Udop", "umt5.UMT5"),
)


def _named(families: Sequence[str], suffix: str) -> list[str]:
    split = [family.split(".") for family in families]
    return [f"transformers.models.{package}.modeling_{package}.{name}{suffix}" for package, name in split]


@layer_rule(nn.RMSNorm, linear=True)
def rms_norm(layer: nn.Module, call: LayerCall) -> None:
    """Weight: ``"p f, p f -> f"`` of normalised input and output gradient."""
    assert isinstance(layer, nn.RMSNorm)
    normalised = functional.rms_norm(call.inputs, layer.normalized_shape, eps=layer.eps)
    _scale(layer.weight, call, normalised)


@layer_rule(*_named(_IN_SINGLE_PRECISION, "RMSNorm"))
def rms_norm_in_single_precision(layer: nn.Module, call: LayerCall) -> None:
    """As `rms_norm`, but normalised in float32 whatever the input's precision."""
    single = call.inputs.float()
    normalised = single * _reciprocal_root(layer, single)
    _scale(layer._parameters.get("weight"), call, normalised.to(call.inputs.dtype))


@layer_rule(*_named(_MEAN_SQUARE_ALONE, "LayerNorm"))
def t5_layer_norm(layer: nn.Module, call: LayerCall) -> None:
    """As `rms_norm`, with only the mean square in float32."""
    _scale(layer._parameters.get("weight"), call, call.inputs * _reciprocal_root(layer, call.inputs.float()))


def _reciprocal_root(layer: nn.Module, inputs: Tensor) -> Tensor:
    epsilon: float = layer.variance_epsilon if hasattr(layer, "variance_epsilon") else layer.eps  # type: ignore[assignment]
    return torch.rsqrt(inputs.pow(2).mean(-1, keepdim=True) + epsilon)


def _scale(weight: Tensor | None, call: LayerCall, normalised: Tensor) -> None:
    if weight is not None and call.wants(weight):
        call.add_sums(weight, normalised.to(weight.dtype) * call.output_gradient.to(weight.dtype))
