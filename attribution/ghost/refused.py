"""Modules that cannot be metered, each with the reason and what to use instead."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from attribution.errors import UnsupportedLayerError


def refuse_unsupported(model: nn.Module) -> None:
    """Raise `UnsupportedLayerError`, naming the module, if `model` holds one that no rule or fallback can divide."""
    for name, module in model.named_modules():
        reason = _reason(module)
        if reason is not None:
            raise UnsupportedLayerError(name or "(the model)", type(module).__name__, *reason)


def refuse_row_mixing(model: nn.Module) -> None:
    """Raise `UnsupportedLayerError` for a module that at present mixes the rows of a batch, or is compiled."""
    for name, module in model.named_modules():
        if module._compiled_call_impl is not None:
            raise UnsupportedLayerError(
                name or "(the model)",
                type(module).__name__,
                "it was compiled in place, and compiled code need not run hooks",
                "compile it after the metered run (until then: module._compiled_call_impl = None)",
            )
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            if isinstance(module, nn.modules.instancenorm._InstanceNorm):
                continue
            raise UnsupportedLayerError(
                name or "(the model)",
                type(module).__name__,
                "it mixes the rows of a batch, so no row has a gradient of its own",
                "use GroupNorm or LayerNorm, or put it in eval() mode with frozen statistics",
            )


def _reason(module: nn.Module) -> tuple[str, str] | None:
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return "it spreads a batch over several processes or devices", "meter the module inside it on one device"
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted code runs no hooks", "meter the module that it was scripted from"
    if type(module).__module__.startswith("torch._dynamo"):  # importing that package takes seconds
        return "compiled code runs no hooks", "meter the module that was compiled (its _orig_mod)"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        if module.max_norm is not None:
            return "max_norm changes weights in the forward pass", "set max_norm=None"
        if module.sparse:
            return "its gradient is sparse", "set sparse=False"
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module._parameters.values()):
        return "its parameters have no shape yet", "run the model once before metering it"
    return None
