"""The derivative of a module's outputs along a direction of its parameters (a Jacobian-vector product)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from attribution.errors import UnsupportedLayerError
from attribution.ghost.calls import ModuleCall
from attribution.ghost.trees import map_tensors, tensors_in
from attribution.objective import twice_differentiable

Directions = Mapping[nn.Parameter, Tensor]


def tangents(model: nn.Module, call: ModuleCall, directions: Directions) -> list[Tensor]:
    """The derivatives of the tensors that `call` returned along `directions` of its parameters, each of their shape.

    By forward differentiation or, where a module does not know it, by differentiating the backward pass.
    Raises `UnsupportedLayerError` where it knows neither.
    """
    for derivative in (_forward, _twice_backward):
        try:
            with call.repeated(model), twice_differentiable():
                return derivative(call, directions)
        except (NotImplementedError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
    raise UnsupportedLayerError(
        call.name,
        type(call.module).__name__,
        f"it cannot be differentiated along its parameters ({reason}), which scores of single rows need",
        "meter without samples and with memory='buffered'",
    )


def _dual(tensor: Tensor, tangent: Tensor) -> Tensor:
    make: Any = forward_ad.make_dual
    dual: Tensor = make(tensor, tangent)
    return dual


def _unpacked(tensor: Tensor) -> Any:
    unpack: Any = forward_ad.unpack_dual  # untyped, as is make_dual
    return unpack(tensor)


def _forward(call: ModuleCall, directions: Directions) -> list[Tensor]:
    with torch.no_grad(), forward_ad.dual_level():
        duals = {p: _dual(p.detach(), d.to(p.dtype)) for p, d in directions.items()}
        with _replaced(call.module, duals), _padding_still(call.module):
            arguments, keywords = map_tensors(lambda tensor: tensor.detach(), (call.arguments, call.keywords))
            outputs = tensors_in(call.module.forward(*arguments, **keywords))
        found = [_unpacked(output).tangent for output in outputs]
        return [torch.zeros_like(o) if t is None else t.clone() for o, t in zip(outputs, found, strict=True)]


def _twice_backward(call: ModuleCall, directions: Directions) -> list[Tensor]:
    with torch.enable_grad():
        copies = {p: p.detach().clone().requires_grad_() for p in directions}
        with _replaced(call.module, copies):
            arguments, keywords = map_tensors(lambda tensor: tensor.detach(), (call.arguments, call.keywords))
            outputs = tensors_in(call.module.forward(*arguments, **keywords))
        live = [output for output in outputs if output.requires_grad]
        weights = [torch.zeros_like(output, requires_grad=True) for output in live]
        gradients = torch.autograd.grad(live, list(copies.values()), weights, create_graph=True, allow_unused=True)
        pairs = [(g, d.to(g.dtype)) for g, d in zip(gradients, directions.values(), strict=True) if g is not None]
        found = torch.autograd.grad([g for g, _ in pairs], weights, [d for _, d in pairs], allow_unused=True)
    by_output = {id(o): t for o, t in zip(live, found, strict=True)}
    tangent = [by_output.get(id(output)) for output in outputs]
    return [torch.zeros_like(o) if t is None else t for o, t in zip(outputs, tangent, strict=True)]


@contextmanager
def _padding_still(module: nn.Module) -> Iterator[None]:
    """Let no embedding of a padding token have a derivative: its backward pass gives it none."""

    def still(embedding: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        padding = (arguments[0] == embedding.padding_idx).unsqueeze(-1)
        return torch.where(padding, _unpacked(output).primal, output)

    padded = [m for m in module.modules() if isinstance(m, nn.Embedding) and m.padding_idx is not None]
    handles = [embedding.register_forward_hook(still) for embedding in padded]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _replaced(module: nn.Module, others: Mapping[nn.Parameter, Tensor]) -> Iterator[None]:
    """Let `module` and all within it use `others` in place of its parameters."""
    own: list[tuple[nn.Module, str, nn.Parameter]] = []
    try:
        for inner in module.modules():
            for name, parameter in inner._parameters.items():
                if parameter is not None and parameter in others:
                    own.append((inner, name, parameter))
                    inner._parameters[name] = others[parameter]  # type: ignore[assignment]
        yield
    finally:
        for inner, name, parameter in own:
            inner._parameters[name] = parameter
