"""Contributors' gradients of a layer in place of autograd's own, which is their sum: none is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attribution.errors import BatchError

Take = Callable[[Tensor, Tensor], Sequence[Tensor]]


class _Attached(torch.autograd.Function):
    """The layer's output as it is; on the way back `take(inputs, output gradient)` gives the parameters' gradients."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, inputs: Tensor, take: Take, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(inputs)  # so that activation checkpointing may throw it away and compute it again
        ctx.take = take
        ctx.mark_dirty(output)  # the same tensor goes on, and may be changed in place later
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled() and any(ctx.needs_input_grad[3:]):
            raise BatchError(
                "a gradient with create_graph=True cannot be divided, nor what is made of it: compute penalties on "
                "gradients outside meter.batch, where they are the house's"
            )
        (inputs,) = ctx.saved_tensors
        return gradient, None, None, *ctx.take(inputs, gradient)


class Detached:
    """The layers under way that are to be attached, their parameters not differentiated by autograd meanwhile."""

    def __init__(self) -> None:
        self._open: list[tuple[nn.Module, list[nn.Parameter]]] = []

    def before(self, layer: nn.Module, parameters: list[nn.Parameter]) -> None:
        """The call of `layer` begins."""
        for parameter in parameters:
            parameter.requires_grad_(False)
        self._open.append((layer, parameters))

    def after(self, layer: nn.Module) -> list[nn.Parameter] | None:
        """The call of `layer` is over; its parameters that were detached in it, None if it is not to be attached."""
        if not any(opened is layer for opened, _ in self._open):
            return None
        while True:  # calls that ended in an exception are still open above this one
            opened, parameters = self._open.pop()
            for parameter in parameters:
                parameter.requires_grad_(True)
            if opened is layer:
                return parameters

    def release(self) -> None:
        """Give back what calls that ended in an exception left detached."""
        while self._open:
            self.after(self._open[-1][0])


def attach(output: Tensor, inputs: Tensor, parameters: list[nn.Parameter], take: Take) -> Tensor:
    """`output` such that the gradients of `parameters` are what `take(inputs, output gradient)` returns for each.

    Nothing else holds the inputs, so that checkpointing saves the memory that it is there to save. Raises `BatchError`
    on the way back where that is to be differentiated itself.
    """
    base, shape = output._base, output.shape
    if base is None or base.numel() != output.numel() or base.data_ptr() == inputs.data_ptr():
        return _attached(output, inputs, parameters, take)
    if not (base.is_contiguous() and output.is_contiguous()):
        return _attached(output, inputs, parameters, take)
    # To change a view takes two copies of its gradient on the way back; what it is a view of is the layer's own.
    whole = _attached(base, inputs, parameters, lambda given, gradient: take(given, gradient.reshape(shape)))
    return whole.view(shape)


def _attached(output: Tensor, inputs: Tensor, parameters: list[nn.Parameter], take: Take) -> Tensor:
    attached: Tensor = _Attached.apply(output, inputs.detach(), take, *parameters)  # type: ignore[no-untyped-call]
    return attached
