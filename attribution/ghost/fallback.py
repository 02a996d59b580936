"""Any module without a rule: repeat it, and pull each contributor's output gradients back through it.

Slower than a rule and right for every module that treats the rows of a batch independently. Where the repeated call
can be cut to a contributor's rows it is; where it can't (it draws random numbers, say), the whole call is repeated
and the gradients of the other contributors' rows are zeroed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from attribution.ghost.calls import ModuleCall
from attribution.ghost.partition import Layout, Partition
from attribution.ghost.rows import CallFindings, Finding, Mixed, Rowless
from attribution.ghost.trees import map_tensors, tensors_in

Add = Callable[[int, nn.Parameter, Tensor], None]


def divisible(findings: CallFindings, call: ModuleCall) -> bool:
    """Whether every output that received a gradient has a row axis."""
    return all(isinstance(findings.outputs[index], Layout) for index in call.gradients)


def pull_back(
    model: nn.Module,
    call: ModuleCall,
    findings: CallFindings,
    who: Tensor,
    parameters: Sequence[nn.Parameter],
    add: Add,
    *,
    cut: bool,
) -> bool:
    """Give `add` each contributor's gradient of each of `parameters` in this call.

    With `cut` the call is repeated on each contributor's rows; returns False, having added nothing, where that is
    not possible. Otherwise it is repeated once and pulled back once a contributor.
    """
    indices = sorted(call.gradients)
    partitions = {i: Partition(_layout(findings.outputs[i]), who) for i in indices}
    if cut:
        found = _cut(model, call, findings, who, parameters, partitions)
    else:
        found = _masked(model, call, parameters, partitions)
    if found is None:
        return False
    for contributor, gradients in found:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                add(contributor, parameter, gradient)
    return True


_Gradients = list[tuple[int, Sequence[Tensor | None]]]


def _layout(finding: Finding) -> Layout:
    assert isinstance(finding, Layout)
    return finding


def _detached(tree: Any) -> Any:
    return map_tensors(lambda tensor: tensor.detach(), tree)


def _masked(
    model: nn.Module, call: ModuleCall, parameters: Sequence[nn.Parameter], partitions: dict[int, Partition]
) -> _Gradients:
    found: _Gradients = []
    with torch.enable_grad(), call.repeated(model):
        arguments, keywords = _detached((call.arguments, call.keywords))
        outputs = tensors_in(call.module(*arguments, **keywords))
        for contributor in _present(partitions):
            cotangents = []
            for index, partition in partitions.items():
                positions = dict(partition.positions()).get(contributor)
                gradient = call.gradients[index]
                cotangents.append(
                    torch.zeros_like(gradient) if positions is None else partition.masked(gradient, positions)
                )
            found.append((contributor, _gradients([outputs[i] for i in partitions], parameters, cotangents)))
    return found


def _cut(
    model: nn.Module,
    call: ModuleCall,
    findings: CallFindings,
    who: Tensor,
    parameters: Sequence[nn.Parameter],
    partitions: dict[int, Partition],
) -> _Gradients | None:
    if any(isinstance(finding, Mixed) for finding in findings.inputs) or not _plain((call.arguments, call.keywords)):
        return None
    given = {
        id(tensor): Partition(finding, who)
        for tensor, finding in zip(call.inputs(), findings.inputs, strict=True)
        if not isinstance(finding, Rowless) and isinstance(finding, Layout)
    }
    found: _Gradients = []
    for contributor in _present(partitions):

        def rows_of(tensor: Tensor, contributor: int = contributor) -> Tensor:
            partition = given.get(id(tensor))
            if partition is None:
                return tensor.detach()
            positions = dict(partition.positions()).get(contributor, slice(0, 0))
            return partition.select(tensor.detach(), positions)

        with torch.enable_grad(), call.repeated(model):
            arguments, keywords = map_tensors(rows_of, (call.arguments, call.keywords))
            try:
                outputs = tensors_in(call.module(*arguments, **keywords))
            except (RuntimeError, ValueError, IndexError):
                return None  # it counts on the batch's size
            if not torch.equal(torch.get_rng_state(), call.random_state):
                return None  # other rows would have drawn other numbers
            cotangents = []
            for index, partition in partitions.items():
                positions = dict(partition.positions()).get(contributor, slice(0, 0))
                cotangents.append(partition.select(call.gradients[index], positions))
            if any(o.shape != g.shape for o, g in zip((outputs[i] for i in partitions), cotangents, strict=True)):
                return None
            found.append((contributor, _gradients([outputs[i] for i in partitions], parameters, cotangents)))
    return found


def _present(partitions: dict[int, Partition]) -> list[int]:
    return sorted({contributor for partition in partitions.values() for contributor, _ in partition.positions()})


def _gradients(
    outputs: list[Tensor], parameters: Sequence[nn.Parameter], cotangents: list[Tensor]
) -> Sequence[Tensor | None]:
    pairs = [(o, g) for o, g in zip(outputs, cotangents, strict=True) if o.requires_grad]
    if not pairs:
        return [None] * len(parameters)
    return torch.autograd.grad(
        [o for o, _ in pairs], list(parameters), [g for _, g in pairs], retain_graph=True, allow_unused=True
    )


def _plain(tree: Any) -> bool:
    """Whether the arguments are tensors and switches only: a number might be the batch's size."""
    if isinstance(tree, (list, tuple)):
        return all(_plain(item) for item in tree)
    if isinstance(tree, dict):
        return all(_plain(item) for item in tree.values())
    return tree is None or isinstance(tree, (Tensor, bool, str))
