"""Small parameters are divided side by side where they were treated alike, and each for itself where not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley, RunRecord
from attribution.errors import UnaccountedGradientError
from attribution.ghost import rule
from attribution.ghost.gradients import DividedGradient
from attribution.ghost.layer_norm import layer_norm
from attribution.parameters import ParameterSpace
from tests.attribution.runs import OPTIMIZERS, batches, classifier, objective

NAMES = ["alice", "bob", "carol"]
Change = Callable[[nn.Module, torch.optim.Optimizer, int], None]


def thaw(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """One parameter is trained from the third step on."""
    model[0].bias.requires_grad_(step >= 2)


def skipped(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """One parameter has no gradient in the second step."""
    if step == 1:
        model[2].weight.grad = None


def halved(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """One parameter's gradient is scaled, the others' are not."""
    model[2].bias.grad.mul_(0.5)


def moved(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """One parameter goes over to a group of its own before the third step."""
    if step == 2:
        last = optimizer.param_groups[0]["params"].pop()
        optimizer.add_param_group({"params": [last], "lr": 0.003})


def trained(optimizer: str, change: Change | None) -> tuple[RunRecord, list[Tensor]]:
    """Five steps, and what each part did to the parameters in each of them."""
    model = classifier()
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    meter = InRunShapley(model, chosen, objective(), NAMES, keep_displacements=True, every=(1, 2), nodes=5)
    found = []
    for step, (inputs, targets, who) in enumerate(batches(5, len(NAMES))):
        if change is thaw:
            change(model, chosen, step)
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        if change is not None and change is not thaw:
            change(model, chosen, step)
        chosen.step()
        chosen.zero_grad()
        displacements = meter.displacements
        assert displacements is not None
        found.append(displacements)
    return meter.finish(), found


@pytest.mark.parametrize("change", [None, thaw, skipped, halved, moved])
@pytest.mark.parametrize("optimizer", ["SGD, Nesterov, weight decay", "Adam, weight decay", "AdamW", "SGD, groups"])
def test_bundled_parameters_are_divided_as_each_would_be_alone(
    optimizer: str, change: Change | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, displacements = trained(optimizer, change)
    monkeypatch.setattr("attribution.parameters.SMALL", 0)
    alone, expected = trained(optimizer, change)
    for found, one in zip(displacements, expected, strict=True):
        assert torch.allclose(found, one, rtol=1e-9, atol=1e-14)
    assert record.values == pytest.approx(alone.values, rel=1e-9, abs=1e-13)
    assert record.house == pytest.approx(alone.house, rel=1e-9, abs=1e-13)
    assert record.gap == pytest.approx(alone.gap, rel=1e-6, abs=1e-13)


class Norm(nn.LayerNorm):
    """A normalisation of a class of its own."""


@pytest.mark.parametrize(("wrong", "batches_at_most"), [(1.01, 1), (1 + 1e-9, 2)])
def test_a_rule_that_goes_wrong_on_a_bundled_parameter_of_a_large_model_is_noticed(
    wrong: float, batches_at_most: int, matrices_large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [0]

    def drifts(layer: nn.Module, call: rule.LayerCall) -> None:
        layer_norm(layer, call)
        if batch[0] >= 10:
            for place in call.places.values():
                call.into.of(next(iter(dict(call.partition.positions()))), place).mul_(wrong)

    matrices_large()
    monkeypatch.setitem(rule._kinds, Norm, rule.Kind(drifts, dear=False, linear=True))
    model = nn.Sequential(nn.Linear(6, 20), Norm(20), nn.Tanh(), nn.Linear(20, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, objective(), NAMES)

    def loop() -> None:
        for inputs, targets, who in batches(30, len(NAMES)):
            with meter.batch(who):
                functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
            batch[0] += 1

    with pytest.raises(UnaccountedGradientError, match=r"'1\.(weight|bias)'"):
        loop()
    assert batch[0] - 10 < batches_at_most
    meter.finish()


def test_the_gradient_of_bundled_parameters_that_nobody_s_rows_explain_is_the_house_s(
    matrices_large: Callable[[], None],
) -> None:
    matrices_large()
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, objective(), NAMES, keep_displacements=True)
    for inputs, targets, who in batches(3, len(NAMES)):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        model[0].bias.grad.add_(1.0)
        before = model[0].bias.detach().clone()
        optimizer.step()
        optimizer.zero_grad()
        parts = meter.displacements
        assert parts is not None
        columns = slice(model[0].weight.numel(), model[0].weight.numel() + len(before))
        assert parts[-1, columns] == pytest.approx(torch.full_like(before, -0.1), rel=1e-9)
        assert parts[:, columns].sum(0) == pytest.approx(model[0].bias.detach() - before, rel=1e-9)
    meter.finish()


def test_rounding_of_bundled_parameters_is_the_house_s_in_batches_in_which_another_has_no_gradient(
    matrices_large: Callable[[], None],
) -> None:
    matrices_large()
    model = nn.Linear(4, 5)  # the weight is bundled too
    space = ParameterSpace(model, torch.optim.SGD(model.parameters(), lr=0.1))
    gradient = DividedGradient(space, len(NAMES))
    weight, bias = space.places
    model.weight.grad = torch.full((5, 4), 1e-16)
    model.weight.grad[0, 0] = 1.0
    gradient.parts.of(0, weight)[0] = 1.0
    gradient.note()
    gradient.checks.chosen = set()
    gradient.verify()
    assert gradient.parts.dense(weight)[-1].tolist() == [0.0] + [1e-16] * 19
    assert not gradient.parts.dense(bias).any()
    gradient.close()
