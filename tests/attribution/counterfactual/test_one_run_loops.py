"""Values of absence from one run, in the loops that people have: clipped, accumulating, climbing, overflowing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import Counterfactual, InRunShapley
from attribution.counterfactual.game import Batch
from attribution.counterfactual.sketch import Sketch
from tests.attribution.counterfactual.carried import CURVATURES, LINEAR, as_batch, carried, value
from tests.attribution.counterfactual.weighted import NAMES, OPTIMIZERS, as_batches, row_losses
from tests.attribution.runs import batches, classifier, objective


def clipped(at: float) -> tuple[list[float], Callable[[int, nn.Module, torch.optim.Optimizer], None]]:
    factors: list[float] = []

    def clip(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), at))
        factors.append(min(1.0, at / (norm + 1e-6)))

    return factors, clip


@pytest.mark.parametrize("curvature", ["kronecker", "companions", "exact"])
def test_clipped_gradients_are_those_of_a_lower_learning_rate(curvature: str) -> None:
    data = batches(6, 3)
    factors, clip = clipped(0.3)
    found = value(as_batches(data), curvature, "SGD", before_step=clip)
    assert min(factors) < 0.7
    slower = [as_batch(*batch, rate=0.3 * factor) for batch, factor in zip(data, factors, strict=True)]
    assert found.values == pytest.approx(value(slower, curvature, "SGD").values, rel=1e-6)


def test_adam_takes_no_notice_of_gradients_that_are_all_scaled_alike() -> None:
    def halve(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for parameter in model.parameters():
            parameter.grad *= 0.5

    data = as_batches(batches(6, 3))
    assert value(data, before_step=halve).values == pytest.approx(value(data).values, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
@pytest.mark.parametrize("curvature", LINEAR)
def test_accumulated_batches_are_one(curvature: str, optimizer: str) -> None:
    data = batches(4, 3)
    halves = [
        Batch(
            who[part], lambda model, x=x[part], y=y[part]: functional.cross_entropy(model(x), y, reduction="none") / 8
        )
        for x, y, who in data
        for part in (slice(0, 5), slice(5, 8))
    ]
    whole = value(as_batches(data), curvature, optimizer).values
    assert value(halves, curvature, optimizer, accumulated=2).values == pytest.approx(whole, rel=1e-6)


def test_groups_of_the_same_options_are_one() -> None:
    model, data = classifier(), as_batches(batches(6, 3))
    first, *rest = model.parameters()
    parted = torch.optim.AdamW([{"params": [first]}, {"params": rest}], lr=0.03, weight_decay=0.1)
    found = carried(model, parted, data, Counterfactual("exact")).finish().beside["counterfactual"]
    assert found.values == pytest.approx(value(data).values, rel=1e-9)


def test_a_parameter_that_gets_no_gradient_changes_nothing() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = classifier(), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    data = as_batches(batches(6, 3))
    for curvature in LINEAR:
        found = value(data, curvature, "SGD", model=Idle())
        assert found.values == pytest.approx(value(data, curvature, "SGD").values, rel=LINEAR[curvature])


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_climbing_the_negative_of_a_loss_is_descending_it(
    kind: Callable[..., torch.optim.Optimizer], curvature: str
) -> None:
    data = as_batches(batches(6, 3))
    mirrored = [Batch(b.who, lambda model, b=b: -b.losses(model), b.rate) for b in data]
    found = {}
    for uphill, given in ((False, data), (True, mirrored)):
        model = classifier()
        optimizer = kind(list(model.parameters()), lr=0.03, maximize=uphill)
        meter = carried(model, optimizer, given, Counterfactual(curvature))
        found[uphill] = meter.finish().beside["counterfactual"].values
    assert found[True] == pytest.approx(found[False], rel=1e-9)


def test_a_gradient_zeroed_before_the_step_makes_no_progress() -> None:
    def zero(step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for parameter in model.parameters() if step == 3 else ():
            assert parameter.grad is not None
            parameter.grad.zero_()

    found = value(as_batches(batches(6, 3)), "sketch", "SGD, momentum", before_step=zero)
    assert abs(found.gap).max() < 1e-5 * found.values.sum()  # what progress shares is still shared


def blown_up(monkeypatch: pytest.MonkeyPatch, by: float) -> None:
    """Let the curvature of every step be `by` times too strong, and of the wrong sign."""
    product = Sketch.product

    def wrong(self: Sketch, *arguments: Any) -> Callable[..., Tensor]:
        right = product(self, *arguments)
        return lambda place, span: -by * right(place, span)

    monkeypatch.setattr(Sketch, "product", wrong)


def test_tangents_that_overflow_cost_the_run_nothing_but_its_counterfactual_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blown_up(monkeypatch, 1e200)
    model = classifier()
    with pytest.warns(RuntimeWarning, match="not finite at step"):
        meter = carried(model, OPTIMIZERS["SGD"](list(model.parameters())), as_batches(batches(6, 3)), True)
    record = meter.finish()
    assert not record.beside
    assert "not finite" in record.manifest["counterfactual"]["stopped"]
    other = classifier()
    plain = carried(other, OPTIMIZERS["SGD"](list(other.parameters())), as_batches(batches(6, 3)), False).finish()
    assert record.values == pytest.approx(plain.values, rel=1e-9)


def test_values_that_dwarf_the_improvement_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    blown_up(monkeypatch, 1e3)
    with pytest.warns(RuntimeWarning, match="do not pay by them"):
        value(as_batches(batches(6, 3)), "sketch", "SGD")


def test_steps_whose_gradients_were_thrown_away_leave_no_trace() -> None:
    data = batches(5, 3)
    for curvature in LINEAR:
        model = classifier()
        optimizer = OPTIMIZERS["AdamW"](list(model.parameters()))
        meter = InRunShapley(
            model, optimizer, objective(), NAMES, counterfactual=Counterfactual(curvature), tolerance=1e-6
        )
        for step, (x, y, who) in enumerate(data):
            for thrown in (True, False) if step == 2 else (False,):
                losses = row_losses(10 * x, y) if thrown else row_losses(x, y)
                with meter.batch(who, losses=losses):
                    losses(model).sum().backward()
                if not thrown:
                    optimizer.step()
                optimizer.zero_grad()
        found = meter.finish().beside["counterfactual"]
        assert found.values == pytest.approx(value(as_batches(data), curvature).values, rel=1e-9), curvature
