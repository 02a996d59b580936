"""Muon: its bfloat16 is the house's, as far as that format explains it, and no further."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim
from torch.nn import functional

from attribution import InRunShapley
from attribution.errors import ReconciliationError
from attribution.updates import Slot, rule_for
from tests.attribution.runs import batches, classifier, objective
from tests.attribution.updates.cases import CASES, NAMES, trace


def test_the_parts_sum_to_the_orthogonal_step_and_the_rounding_is_the_house_s() -> None:
    full_rank, _ = trace(CASES["Muon, plain momentum, matched"], oracle=False)
    for moment in full_rank[2:]:
        moved = moment.end - moment.start
        assert 1e-4 < float(moment.displacements[-1].norm() / moved.norm()) < 0.05
        singular = torch.linalg.svdvals(moment.displacements[:-1].sum(0))
        singular /= moment.options["lr"] * 0.2 * max(moved.shape) ** 0.5
        assert float(singular.min()) > 0.6
        assert float(singular.max()) < 1.25


def test_a_direction_without_a_gradient_is_moved_by_rounding_alone() -> None:
    _, output_layer = trace(CASES["Muon, plain momentum, matched"], oracle=False)
    everybody = torch.ones(1, 3)  # a softmax does not see what is added to all classes, nor has that a gradient
    for moment in output_layer:
        assert float((everybody @ moment.displacements[:-1]).norm()) < 1e-12
        assert float((everybody @ moment.displacements[-1]).norm()) > 1e-5


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (1.05, False), (1.25, True), (0.0, True)])
def test_a_step_that_bfloat16_does_not_explain_is_refused_by_parameter(factor: float, refused: bool) -> None:
    model = classifier()
    weights = [model[0].weight, model[2].weight]
    optimizer = optim.Muon(weights, lr=0.02, weight_decay=0.0)
    starts = [w.detach().clone() for w in weights]

    def tamper(*_: object) -> None:
        with torch.no_grad():
            for weight, start in zip(weights, starts, strict=True):
                weight.copy_(start + factor * (weight - start))

    optimizer.register_step_post_hook(tamper)
    meter = InRunShapley(model, optimizer, objective(), NAMES)
    inputs, targets, who = batches(1, 3)[0]
    with meter.batch(who):
        functional.cross_entropy(model(inputs), targets).backward()
    if refused:
        with pytest.raises(ReconciliationError, match=r"'0\.weight'"):
            optimizer.step()
    else:
        optimizer.step()
        assert len(meter.finish().steps) == 1


def test_what_a_momentum_of_one_never_takes_up_has_no_life() -> None:
    weight = nn.Parameter(torch.randn(2, 3))
    optimizer = optim.Muon([weight], momentum=1.0, weight_decay=0.0)
    weight.grad = torch.randn(2, 3)
    start = weight.detach().clone()
    optimizer.step()
    slot = Slot(
        options=optimizer.param_groups[0],
        shape=(2, 3),
        start=start.reshape(-1),
        end=weight.detach().reshape(-1),
        gradient=weight.grad.reshape(1, -1),
        memory=torch.zeros(1, 6),
        fresh=True,
        span=slice(0, 6),
        after=optimizer.state[weight],
        earlier={},
    )
    assert not rule_for(optimizer).divide(slot).credited(torch.eye(6)).any()


def test_a_momentum_of_nothing_moves_nothing() -> None:
    model = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Linear(4, 3, bias=False))
    optimizer = optim.Muon(model.parameters(), lr=0.02, weight_decay=0.0)
    meter = InRunShapley(model, optimizer, objective(), NAMES, keep_displacements=True)
    inputs, _, who = batches(1, 3)[0]
    with meter.batch(who):
        (0.0 * model(inputs)).sum().backward()
    optimizer.step()
    assert not meter.displacements.any()
    meter.finish()
