"""What changes the objective besides the metered optimizer, and optimizers that write over their gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from attribution import InRunShapley
from attribution.errors import OptionError
from tests.attribution.runs import batches, classifier, objective

NAMES = ["alice", "bob", "carol"]


def two_optimizers(first: int, **options) -> tuple[float, InRunShapley]:
    """A run in which biases have an optimizer of their own, stepped before or after; the true improvement."""
    model, goal = classifier(), objective()
    matrices = [p for p in model.parameters() if p.dim() == 2]
    chosen = torch.optim.SGD(matrices, lr=0.1)
    other = torch.optim.SGD([p for p in model.parameters() if p.dim() == 1], lr=0.1)
    meter = InRunShapley(model, chosen, goal, NAMES, **options)
    before = goal(model).item()
    for inputs, targets, who in batches(6, 3):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        for optimizer in (chosen, other) if first else (other, chosen):
            optimizer.step()
            optimizer.zero_grad()
    return before - goal(model).item(), meter


def test_what_a_second_optimizer_does_is_the_house_s() -> None:
    improvement, meter = two_optimizers(first=0)
    record = meter.finish()
    first_edit = record.steps[0].loss_before[0]
    assert record.improvement[0] == pytest.approx(
        improvement - (objective()(classifier()).item() - first_edit), rel=1e-9
    )
    assert record.house[0] != 0
    assert abs(record.gap[0]) < 1e-3 * record.improvement[0]


def test_a_second_optimizer_within_a_longer_path_is_refused_by_name() -> None:
    with pytest.raises(OptionError, match=r"'0\.bias' was changed by something else"):
        two_optimizers(first=1, every=3)


class Tracking(nn.Module):
    """A layer whose buffer moves with every training pass, and which evaluation reads."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)
        self.register_buffer("shift", torch.zeros(3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.inner(inputs)
        if self.training:
            with torch.no_grad():
                self.shift.add_(0.05)
        return outputs - self.shift * torch.arange(3)


def test_a_buffer_that_training_moves_is_the_house_s_and_the_improvement_stays_true() -> None:
    model, goal = Tracking(), objective()
    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, chosen, goal, NAMES)
    losses = []
    for inputs, targets, who in batches(6, 3):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        losses.append(goal(model.eval()).item())
        model.train()
        chosen.step()
        chosen.zero_grad()
    record = meter.finish()
    model.eval()
    assert record.improvement[0] == pytest.approx(losses[0] - goal(model).item(), rel=1e-9)
    assert abs(record.gap[0]) < 1e-3 * abs(record.improvement[0])
    assert (record.steps.length == 0).sum() == 5


@pytest.mark.parametrize("foreach", [False, True])
def test_an_optimizer_may_write_over_its_gradient(foreach: bool) -> None:
    def run(metered: bool):
        model = classifier()
        chosen = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, foreach=foreach)
        meter = InRunShapley(model, chosen, objective(), NAMES) if metered else None
        for inputs, targets, who in batches(8, 3):
            if meter is None:
                functional.cross_entropy(model(inputs), targets).backward()
            else:
                with meter.batch(who):
                    functional.cross_entropy(model(inputs), targets).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.3)
            chosen.step()
            chosen.zero_grad()
        return model, meter

    plain, _ = run(metered=False)
    metered, meter = run(metered=True)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), metered.parameters(), strict=True))
    record = meter.finish()
    assert abs(record.gap[0]) <= 1e-3 * abs(record.improvement[0])
    assert abs(record.house[0]) < 1e-12
