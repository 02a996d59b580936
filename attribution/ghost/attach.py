"""Contributors' gradients of a layer in place of autograd's own, which is their sum: none is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

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
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (inputs,) = ctx.saved_tensors
        return gradient, None, None, *ctx.take(inputs, gradient)


class Detached:
    """Parameters that autograd is not to differentiate while their layer runs."""

    def __init__(self) -> None:
        self._open: list[tuple[nn.Module, list[nn.Parameter]]] = []

    def before(self, layer: nn.Module, parameters: list[nn.Parameter]) -> None:
        """The call of `layer` begins."""
        for parameter in parameters:
            parameter.requires_grad_(False)
        self._open.append((layer, parameters))

    def after(self, layer: nn.Module) -> list[nn.Parameter]:
        """The call of `layer` is over; its parameters that were detached in it."""
        if not self._open or self._open[-1][0] is not layer:
            return []
        _, parameters = self._open.pop()
        for parameter in parameters:
            parameter.requires_grad_(True)
        return parameters

    def release(self) -> None:
        """Give back what calls that ended in an exception left detached."""
        while self._open:
            self.after(self._open[-1][0])


def attach(output: Tensor, inputs: Tensor, parameters: list[nn.Parameter], take: Take) -> Tensor:
    """`output` such that the gradients of `parameters` are what `take(inputs, output gradient)` returns for each."""
    attached: Tensor = _Attached.apply(output, inputs.detach(), take, *parameters)  # type: ignore[no-untyped-call]
    return attached
