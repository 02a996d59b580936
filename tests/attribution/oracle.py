"""The oracle of contributors' gradients: a backward pass of its own for each contributor."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Inputs = Tensor | Mapping[str, Tensor]


def outputs_of(model: nn.Module, inputs: Inputs) -> Tensor:
    """The model called with one tensor, or with several by name."""
    return model(inputs) if isinstance(inputs, Tensor) else model(**inputs)


def contributor_gradients(
    model: nn.Module,
    inputs: Inputs,
    loss_function: Callable[[Tensor], Tensor],
    who: Tensor,
    contributors: int,
    axis: int = 0,
) -> dict[str, Tensor]:
    """Each parameter's gradient by contributor ``[contributors, *shape]``: the output gradient of the others zeroed."""
    state = torch.get_rng_state()
    outputs = outputs_of(model, inputs)
    torch.set_rng_state(state)
    (output_gradient,) = torch.autograd.grad(loss_function(outputs), outputs, retain_graph=True)
    names, parameters = zip(*[(n, p) for n, p in model.named_parameters() if p.requires_grad], strict=True)
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    for contributor in range(contributors):
        shape = [1] * outputs.dim()
        shape[axis] = -1
        mask = (who == contributor).reshape(shape)
        gradients = torch.autograd.grad(
            outputs, parameters, output_gradient * mask, retain_graph=True, allow_unused=True
        )
        for name, parameter, gradient in zip(names, parameters, gradients, strict=True):
            found[name].append(torch.zeros_like(parameter) if gradient is None else gradient)
    return {name: torch.stack(parts) for name, parts in found.items()}
