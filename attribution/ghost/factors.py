"""What single rows' scores need of a batch: each layer's inputs and output gradients, kept until the step is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from attribution.ghost.calls import ModuleCall
from attribution.ghost.partition import Layout
from attribution.ghost.rows import CallFindings
from attribution.ghost.rule import Kind, flat
from attribution.ghost.tangents import tangents
from attribution.parameters import Place
from attribution.undisturbed import buffers_kept


@dataclass(frozen=True)
class RuleFactor:
    """One call of a layer with a rule: the layer is linear in its parameters, or known by its derivative."""

    module: nn.Module
    kind: Kind
    inputs: Tensor
    output_gradient: Tensor
    layout: Layout
    places: dict[str, Place]  # by the parameter's name within the module

    def scores(self, direction: Tensor, rows: int) -> Tensor:
        """What each row's part of the gradient, times `direction` ``[P]``, comes to, float64 ``[rows]``."""
        dtype = next(iter(self.places.values())).parameter.dtype
        inputs = self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs
        replaced = {name: place.of(direction).view(place.parameter.shape) for name, place in self.places.items()}
        gradient = self.output_gradient
        if isinstance(self.module, nn.Embedding) and self.module.padding_idx is not None:
            gradient = gradient.masked_fill((inputs == self.module.padding_idx).unsqueeze(-1), 0)
        if self.kind.linear:
            if set(self.places) == {"weight"} and isinstance(self.module, nn.Linear):
                return self._of_matrix(inputs, replaced["weight"].to(dtype), gradient, rows)
            output = _forward(self.module, replaced, inputs)
        else:
            call = ModuleCall(self.module, "", (inputs,), {}, torch.get_rng_state())
            output = tangents(self.module, call, {self.places[n].parameter: d for n, d in replaced.items()})[0]
        return _by_row(output.to(dtype) * gradient.to(dtype), self.layout, rows)

    def _of_matrix(self, inputs: Tensor, weight: Tensor, gradient: Tensor, rows: int) -> Tensor:
        """``"p o, o i, p i -> p"``, by the smaller of the two products that there are on the way."""
        a, b = flat(inputs, weight.dtype), flat(gradient, weight.dtype)
        by_position = (
            torch.linalg.vecdot(b @ weight, a)
            if len(weight) > weight.shape[1]
            else (torch.linalg.vecdot(a @ weight.t(), b))
        )
        return _by_row(by_position.view(gradient.shape[:-1]), self.layout, rows)


@dataclass(frozen=True)
class FallbackFactor:
    """One call of a module without a rule."""

    model: nn.Module
    call: ModuleCall
    findings: CallFindings
    places: dict[str, Place]

    def scores(self, direction: Tensor, rows: int) -> Tensor:
        """As `RuleFactor.scores`, by the derivative of the whole module."""
        wanted = {p.parameter: p.of(direction).view(p.parameter.shape) for p in self.places.values()}
        found = torch.zeros(rows, dtype=torch.float64, device=direction.device)
        outputs = tangents(self.model, self.call, wanted)
        for index, gradient in self.call.gradients.items():
            layout = self.findings.outputs[index]
            assert isinstance(layout, Layout)
            found += _by_row(outputs[index].to(direction.dtype) * gradient.to(direction.dtype), layout, rows)
        return found


@dataclass
class KeptBatch:
    """The factors of one batch, whose rows they are, and the names of its samples if it has any."""

    who: Tensor  # [rows]
    samples: Sequence[Any] | npt.NDArray[Any] | None
    factors: list[RuleFactor | FallbackFactor] = field(default_factory=list)

    def scores(self, directions: Tensor) -> Tensor:
        """What each row's part of the training gradient, times `directions` ``[tasks, P]``, comes to.

        Float64 ``[rows, tasks]``.
        """
        rows = len(self.who)
        found = torch.zeros(rows, len(directions), dtype=torch.float64, device=directions.device)
        with torch.no_grad():
            for factor in self.factors:
                for task, direction in enumerate(directions):
                    found[:, task] += factor.scores(direction, rows)
        return found.cpu()


def _forward(module: nn.Module, replaced: dict[str, Tensor], inputs: Tensor) -> Tensor:
    """What `module` gives for `inputs` with other tensors in place of its trained parameters, zeros for the rest."""
    own = dict(module._parameters)
    try:
        for name, parameter in own.items():
            if parameter is not None:
                module._parameters[name] = replaced.get(name, torch.zeros_like(parameter))  # type: ignore[assignment]
        with buffers_kept(module):
            output: Tensor = module.forward(inputs)
    finally:
        module._parameters.update(own)
    return output


def _by_row(terms: Tensor, layout: Layout, rows: int) -> Tensor:
    others = [axis for axis in range(terms.dim()) if axis != layout.axis]
    by_position = (terms.sum(others) if others else terms).double()
    known = (layout.rows >= 0).to(by_position.device)
    found = torch.zeros(rows, dtype=torch.float64, device=by_position.device)
    found.index_add_(0, layout.rows.to(by_position.device)[known], by_position[known])
    return found
