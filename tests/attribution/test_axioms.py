"""The Shapley axioms hold for every optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from attribution import InRunShapley
from attribution.exact import step_values
from tests.attribution.runs import OPTIMIZERS, batches, classifier, drawn, objective, run

NAMES = ["alice", "bob", "carol", "dave"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_efficiency_every_nat_is_accounted_for(optimizer: str) -> None:
    record = run(optimizer, batches(15, 3), NAMES, nodes=8)
    total = record.values.sum(0) + record.house
    assert total == pytest.approx(record.improvement, rel=1e-7)
    assert record.gap == pytest.approx(record.improvement - total, abs=1e-14)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_null_player_gets_exactly_nothing(optimizer: str) -> None:
    record = run(optimizer, batches(10, 3), NAMES)
    assert record.rows[3] == 0
    assert (record.values[3] == 0).all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_identical_rows_get_equal_values(optimizer: str) -> None:
    data = []
    for inputs, targets, _ in batches(10, 2, rows=4):
        doubled = torch.cat([inputs, inputs, inputs[:2]]), torch.cat([targets, targets, targets[:2]])
        data.append((*doubled, torch.tensor([0] * 4 + [1] * 4 + [2] * 2)))
    values = run(optimizer, data, NAMES).values
    assert values[0] == pytest.approx(values[1], rel=1e-10)
    assert values[0] != pytest.approx(values[2], rel=1e-2)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_splitting_a_contributor_changes_no_total(optimizer: str) -> None:
    data = batches(12, 3)
    merged = run(optimizer, data, NAMES)
    rng = torch.Generator().manual_seed(0)
    split = []
    for inputs, targets, who in data:
        second = (who == 0) & (torch.rand(len(who), generator=rng) < 0.5)
        split.append((inputs, targets, torch.where(second, 3, who)))
    parts = run(optimizer, split, NAMES)
    assert parts.values[0] + parts.values[3] == pytest.approx(merged.values[0], rel=1e-9)
    assert parts.values[1:3] == pytest.approx(merged.values[1:3], rel=1e-9)


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_values_of_a_weighted_objective_are_the_weighted_values_of_its_tasks(optimizer: str) -> None:
    one, two = objective(5), objective(6)
    both = run(optimizer, batches(12, 3), NAMES, nodes=4, goal={"one": one, "two": two})
    summed = run(optimizer, batches(12, 3), NAMES, nodes=4, goal=lambda m: 0.25 * one(m) + 0.75 * two(m))
    assert both.tasks == ["one", "two"]
    assert both.values @ np.array([0.25, 0.75]) == pytest.approx(summed.values[:, 0], rel=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_many_nodes_equal_the_integral_of_the_definition(optimizer: str) -> None:
    model = classifier()
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    trained = [p for p in model.parameters() if p.requires_grad]
    loss_of = objective()
    meter = InRunShapley(model, chosen, loss_of, NAMES, nodes=9, keep_displacements=True)
    for inputs, targets, who in batches(3, 3):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        start = torch.cat([p.detach().reshape(-1).clone() for p in trained])
        chosen.step()
        chosen.zero_grad()
    record, parts = meter.finish(), meter.displacements
    displacement = parts.sum(0)
    expected = np.zeros(len(parts))
    panels = 400  # midpoint rule: error O(panels⁻²), an oracle that shares nothing with Gauss-Lobatto
    for s in (np.arange(panels) + 0.5) / panels:
        torch.nn.utils.vector_to_parameters(start + s * displacement, trained)
        gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss_of(model), trained)])
        expected -= (parts @ gradient).numpy() / panels
    assert record.steps[-1].values[:, 0] == pytest.approx(expected[:-1], rel=1e-5, abs=1e-10)
    assert record.steps[-1].house[0] == pytest.approx(expected[-1], rel=1e-5, abs=1e-10)


@pytest.mark.parametrize("optimizer", ["SGD", "SGD, Nesterov, weight decay", "AdamW"])
def test_on_a_quadratic_loss_the_path_value_is_the_shapley_value(optimizer: str) -> None:
    torch.manual_seed(1)
    model = torch.nn.Linear(6, 3)
    x, y = drawn(30, 8)
    target = functional.one_hot(y, 3).double()
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))

    def loss_of(m):
        return (m(x) - target).square().mean()

    meter = InRunShapley(model, chosen, loss_of, NAMES, nodes=3, keep_displacements=True)
    for inputs, targets, who in batches(4, 4):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        start = torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])
        chosen.step()
        chosen.zero_grad()
    record, parts = meter.finish(), meter.displacements

    def losses_at(theta):
        torch.nn.utils.vector_to_parameters(theta, model.parameters())
        with torch.no_grad():
            return [loss_of(model).item()]

    exact = step_values(losses_at, start, parts)
    assert np.vstack([record.steps[-1].values, record.steps[-1].house]) == pytest.approx(exact, rel=1e-9, abs=1e-12)
