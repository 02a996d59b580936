"""Metered runs that carry tangents along, and Hessians to hold their curvature against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from attribution import Counterfactual, InRunShapley, Valuation
from attribution.counterfactual.again import Pass, RandomState
from attribution.counterfactual.curvature import Curvature
from attribution.counterfactual.game import Batch, Losses
from attribution.parameters import ParameterSpace
from tests.attribution.counterfactual.weighted import NAMES, OPTIMIZERS, row_losses
from tests.attribution.runs import classifier, objective

CURVATURES = ["sketch", "kronecker", "companions", "exact"]
LINEAR = {"kronecker": 1e-9, "companions": 1e-5, "exact": 1e-9}  # to what they are linear in the gradients, relative

Loop = Callable[[int, nn.Module, torch.optim.Optimizer], None]


def carried(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Sequence[Batch],
    counterfactual: Counterfactual | bool,
    *,
    goal: Any = None,
    names: Sequence[str] = NAMES,
    accumulated: int = 1,
    before_step: Loop | None = None,
    **options: Any,
) -> InRunShapley:
    """The meter after training on `data`, a step every `accumulated` batches, each batch's rate being set first."""
    meter = InRunShapley(
        model, optimizer, goal or objective(), names, counterfactual=counterfactual, **({"tolerance": 1e-6} | options)
    )
    for count, batch in enumerate(data, 1):
        with meter.batch(batch.who, losses=batch.losses):
            batch.losses(model).sum().backward()
        if count % accumulated:
            continue
        if batch.rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = batch.rate
        if before_step is not None:
            before_step(count, model, optimizer)
        optimizer.step()
        optimizer.zero_grad()
    return meter


def tangents(meter: InRunShapley) -> Tensor:
    """What the meter carries, ``[contributors, P]``."""
    assert meter._absence is not None
    return meter._absence.tangents.tangents


def space_of(model: nn.Module) -> ParameterSpace:
    """All of the model's parameters."""
    return ParameterSpace(model, torch.optim.SGD(model.parameters(), lr=0.1))


def hessian(model: nn.Module, space: ParameterSpace, losses: Losses) -> Tensor:
    """Of the sum of `losses` at the model's parameters, ``[P, P]``, by autograd applied twice."""

    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self) -> Tensor:
            return losses(self.model).sum()

    caller = Caller()

    def of(flat: Tensor) -> Tensor:
        named = {f"model.{p.name}": p.of(flat).view(p.parameter.shape) for p in space.places}
        return functional_call(caller, named, ())

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.autograd.functional.hessian(of, space.snapshot())


def products(
    curvature: Curvature, space: ParameterSpace, along: Tensor, batches: Sequence[Batch], reach: float = 0.1
) -> Tensor:
    """What `curvature` gives for the tangents `along` ``[K, P]`` after `batches`, ``[K, P]``."""
    for batch in batches:
        curvature.batch(None, Pass(batch, RandomState.present()))
    torch.rand(3)  # others draw random numbers between the passes and the step
    rows = sum(len(batch.who) for batch in batches)
    product = curvature.product(space.snapshot(), along, torch.full((space.size,), reach), rows)
    found = torch.cat([product(place, slice(0, place.stop - place.start)) for place in space.places], dim=1)
    curvature.forget()
    return found


def as_batch(inputs: Tensor, targets: Tensor, who: Tensor, rate: float | None = None) -> Batch:
    """A batch of the mean cross-entropy."""
    return Batch(who, row_losses(inputs, targets), rate)


def value(
    data: Sequence[Batch],
    curvature: str = "exact",
    optimizer: str = "AdamW",
    *,
    model: nn.Module | None = None,
    seed: int = 0,
    **options: Any,
) -> Valuation:
    """Counterfactual values of a run on `data`, a step a batch."""
    model = model or classifier()
    meter = carried(
        model, OPTIMIZERS[optimizer](list(model.parameters())), data, Counterfactual(curvature, seed=seed), **options
    )
    return meter.finish().beside["counterfactual"]
