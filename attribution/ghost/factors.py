"""What single rows' scores need of a batch: each layer's inputs and output gradients, kept until the step is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from attribution.ghost.calls import ModuleCall
from attribution.ghost.conv1d import conv1d
from attribution.ghost.linear import linear
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

    def scores(self, direction: Tensor, rows: int, wanted: Tensor | None = None) -> Tensor:
        """What each row's part of the gradient, times `direction` ``[P]``, comes to, float64 ``[rows]``.

        Rows that are not `wanted` ``[rows]`` may be left at 0.
        """
        dtype = next(iter(self.places.values())).parameter.dtype
        inputs = self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs
        replaced = {name: place.of(direction).view(place.parameter.shape) for name, place in self.places.items()}
        gradient = self.output_gradient
        if isinstance(self.module, nn.Embedding) and self.module.padding_idx is not None:
            gradient = gradient.masked_fill((inputs == self.module.padding_idx).unsqueeze(-1), 0)
        if self.kind.linear:
            if self.kind.rule in (linear, conv1d) and "weight" in replaced and self.layout.axis < gradient.dim() - 1:
                numbers = {name: value.to(dtype) for name, value in replaced.items()}
                return self._of_matrix(inputs, numbers, gradient, rows, wanted)
            output = _forward(self.module, replaced, inputs)
        else:
            call = ModuleCall(self.module, "", (inputs,), {}, torch.get_rng_state())
            output = tangents(self.module, call, {self.places[n].parameter: d for n, d in replaced.items()})[0]
        return _by_row(output.to(dtype) * gradient.to(dtype), self.layout, rows)

    def sizes(self, rows: int) -> Tensor:
        """The sum of squares of each row's output gradient, float64 ``[rows]``."""
        return _by_row(self.output_gradient.double().square(), self.layout, rows)

    def _of_matrix(
        self, inputs: Tensor, direction: dict[str, Tensor], gradient: Tensor, rows: int, wanted: Tensor | None
    ) -> Tensor:
        """``"p o, o i, p i -> p"``, by the smaller of the two products that there are on the way; of a bias, too."""
        matrix = direction["weight"].t() if self.kind.rule is conv1d else direction["weight"]
        by_position = torch.zeros(gradient.shape[:-1], dtype=matrix.dtype, device=matrix.device)
        for run in self._runs(wanted):
            a, b = flat(inputs[run], matrix.dtype), flat(gradient[run], matrix.dtype)
            smaller = (b @ matrix, a) if len(matrix) > matrix.shape[1] else (a @ matrix.t(), b)
            terms = torch.linalg.vecdot(*smaller)
            if "bias" in direction:
                terms.addmv_(b, direction["bias"])
            by_position[run] = terms.view(by_position[run].shape)
        return _by_row(by_position, self.layout, rows)

    def _runs(self, wanted: Tensor | None) -> list[slice]:
        """Stretches of the first axis that hold the wanted rows, all of it where they do not lie along it."""
        if wanted is None or self.layout.axis != 0:
            return [slice(None)]
        rows = self.layout.rows
        held = ((rows >= 0) & wanted[rows.clamp(min=0)]).tolist()
        edges = [i for i, (one, other) in enumerate(pairwise([False, *held, False])) if one != other]
        return [slice(low, high) for low, high in zip(edges[::2], edges[1::2], strict=True)]


@dataclass(frozen=True)
class FallbackFactor:
    """One call of a module without a rule."""

    model: nn.Module
    call: ModuleCall
    findings: CallFindings
    places: dict[str, Place]

    def scores(self, direction: Tensor, rows: int, wanted: Tensor | None = None) -> Tensor:
        """As `RuleFactor.scores` of all rows, by the derivative of the whole module."""
        along = {p.parameter: p.of(direction).view(p.parameter.shape) for p in self.places.values()}
        found = torch.zeros(rows, dtype=torch.float64, device=direction.device)
        outputs = tangents(self.model, self.call, along)
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

    def scores(self, directions: Tensor, wanted: Tensor | None = None) -> Tensor:
        """What each row's part of the training gradient, times `directions` ``[tasks, P]``, comes to.

        Float64 ``[rows, tasks]``; rows that are not `wanted` ``[rows]`` are left at 0.
        """
        rows = len(self.who)
        found = torch.zeros(rows, len(directions), dtype=torch.float64, device=directions.device)
        with torch.no_grad():
            for factor in self.factors:
                for task, direction in enumerate(directions):
                    found[:, task] += factor.scores(direction, rows, wanted)
        if wanted is not None:
            found[~wanted] = 0
        return found.cpu()

    def tensors(self) -> Iterator[Tensor]:
        """All that is kept."""
        for factor in self.factors:
            if isinstance(factor, RuleFactor):
                yield from (factor.inputs, factor.output_gradient)
            else:
                yield from (*factor.call.inputs(), *factor.call.gradients.values())

    def sizes(self) -> Tensor:
        """How large each row's gradient is, by that of one layer's output and in no unit, ``[rows]``.

        0 for a row without one, and for all where no layer has a rule.
        """
        found = torch.zeros(len(self.who), dtype=torch.float64)
        small = min(
            (factor for factor in self.factors if isinstance(factor, RuleFactor)),
            key=lambda factor: factor.output_gradient.numel(),
            default=None,
        )
        return found if small is None else small.sizes(len(self.who)).cpu()


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
