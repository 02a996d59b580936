"""Values of absence from one run: against closed forms and replays, and what they promise whatever the curvature."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attribution import Counterfactual, replay
from attribution.counterfactual.game import Batch
from attribution.counterfactual.weighted_training import WeightedTraining
from tests.attribution.counterfactual.carried import CURVATURES, LINEAR, as_batch, carried, tangents, value
from tests.attribution.counterfactual.quadratics import Diagonal, General
from tests.attribution.counterfactual.weighted import NAMES, OPTIMIZERS, as_batches
from tests.attribution.runs import batches, classifier, drawn, objective

CARRIED = [name for name in OPTIMIZERS if "amsgrad" not in name]
ROOM = 2e-6  # of the improvement, for the path tolerance that the runs here have


# Against closed forms and replays


def of_flow(
    make: Callable[[], torch.optim.Optimizer], problem: Diagonal, rates: Sequence[float], model: nn.Module
) -> np.ndarray:
    meter = carried(
        model,
        make(),
        [problem.batch(rate) for rate in rates],
        Counterfactual("exact", reduction="sum"),
        goal=problem.objective,
        nodes=2,
    )
    return meter.finish().beside["counterfactual"].values[:, 0]


SCHEDULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": lambda part: np.ones_like(part),
    "falling": lambda part: 2 * (1 - part),
    "warming up, then falling": lambda part: np.where(part < 0.25, part * 4, 4 / 3 * (1 - part)) * 1.0,
}


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_in_small_steps_they_are_the_closed_form_of_gradient_flow(schedule: str, momentum: float) -> None:
    problem, time = Diagonal(), 1.5
    errors = []
    for steps in (40, 80, 160):
        shape = SCHEDULES[schedule]((np.arange(steps) + 0.5) / steps)
        rates = time * shape / shape.sum()
        model = problem.model()

        def make(model: nn.Module = model) -> torch.optim.Optimizer:
            return torch.optim.SGD(model.parameters(), lr=1.0, momentum=momentum, dampening=momentum)

        errors.append(np.abs(of_flow(make, problem, rates.tolist(), model) - problem.values(time)).max())
    assert errors[2] < 0.05 * np.abs(problem.values(time)).max()
    assert errors[0] > 1.6 * errors[1] > 2.5 * errors[2]


@pytest.mark.parametrize(("momentum", "first"), [(0.0, 15), (0.5, 60)])
def test_they_approach_the_replayed_ones_as_the_learning_rate_falls(momentum: float, first: int) -> None:
    """Momentum delays what a step does by a step or two more."""
    problem, errors = General(), []
    for steps in (first, 2 * first, 4 * first):
        data = [problem.batch()] * steps

        def start(rate: float = 6.0 / steps) -> tuple[nn.Module, torch.optim.Optimizer]:
            model = problem.model()
            return model, torch.optim.SGD(model.parameters(), lr=rate * (1 - momentum), momentum=momentum)

        expected = replay(*start(), data, problem.objective, NAMES, nodes=12).values
        meter = carried(*start(), data, Counterfactual("exact"), goal=problem.objective)
        found = meter.finish().beside["counterfactual"].values
        errors.append(np.abs(found - expected).max() / np.abs(expected).max())
    assert errors[2] < 0.005
    assert errors[0] > 1.4 * errors[1] > 2 * errors[2]


def test_what_the_optimizer_remembers_from_before_the_meter_belongs_to_no_weight() -> None:
    for name in ("SGD, momentum", "SGD, Nesterov, weight decay", "SGD, dampening, weight decay", "Adam", "AdamW"):
        before, after = as_batches(batches(3, 3)), as_batches(batches(4, 3, seed=2))
        model = classifier()
        optimizer = OPTIMIZERS[name]([*model.parameters()])
        if "SGD" not in name:
            optimizer.param_groups[0]["amsgrad"] = False
        for batch in before:
            batch.losses(model).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        expected = WeightedTraining(model, optimizer, after, len(NAMES), own=True).end(1.0, tangents=True).tangents
        found = tangents(carried(model, optimizer, after, Counterfactual("exact")))
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), name


# Promises


@pytest.mark.parametrize("optimizer", CARRIED)
@pytest.mark.parametrize("curvature", CURVATURES)
def test_they_sum_to_the_improvement(curvature: str, optimizer: str) -> None:
    model = classifier()
    meter = carried(
        model, OPTIMIZERS[optimizer](list(model.parameters())), as_batches(batches(8, 3)), Counterfactual(curvature)
    )
    record = meter.finish()
    found = record.beside["counterfactual"]
    assert found.values.sum(axis=0) + found.house + found.gap == pytest.approx(record.improvement, abs=1e-12)
    assert np.abs(found.gap) <= ROOM * np.abs(record.improvement)
    assert (found.house == record.house).all()


def silent(data: Sequence[Batch], who: int) -> list[Batch]:
    """The same with losses of one contributor that do not depend on the model."""

    def without(batch: Batch) -> Batch:
        heard = torch.as_tensor(batch.who) != who
        return Batch(batch.who, lambda model: torch.where(heard, batch.losses(model), 0.1))

    return [without(batch) for batch in data]


@pytest.mark.parametrize("optimizer", ["SGD", "SGD, momentum", "AdamW"])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_who_adds_nothing_gets_exactly_nothing(curvature: str, optimizer: str) -> None:
    found = value(silent(as_batches(batches(6, 3)), 1), curvature, optimizer)
    assert found.values[1] == 0
    assert (found.values[[0, 2]] != 0).all()


def with_twins(count: int = 5) -> list[Batch]:
    """Batches in which ann and bob have the same rows."""
    found = []
    for step in range(count):
        (x, y), (other, theirs) = drawn(3, step), drawn(4, 50 + step)
        who = torch.tensor([0] * 3 + [1] * 3 + [2] * 4)
        found.append(as_batch(torch.cat([x, x, other]), torch.cat([y, y, theirs]), who))
    return found


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("curvature", CURVATURES)
def test_equals_are_paid_alike(curvature: str, optimizer: str) -> None:
    values = value(with_twins(), curvature, optimizer).values[:, 0]
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    assert abs(values[2] - values[0]) > 1e-3


@pytest.mark.parametrize("optimizer", ["SGD, Nesterov, weight decay", "AdamW"])
@pytest.mark.parametrize("curvature", LINEAR)
def test_splitting_a_contributor_changes_no_sum(curvature: str, optimizer: str) -> None:
    data = batches(6, 3)
    split = [(x, y, torch.where((who == 2) & (torch.arange(len(who)) % 2 == 0), 3, who)) for x, y, who in data]
    whole = value(as_batches(data), curvature, optimizer).values[:, 0]
    parts = value(as_batches(split), curvature, optimizer, names=[*NAMES, "dot"]).values[:, 0]
    assert [*parts[:2], parts[2] + parts[3]] == pytest.approx(whole, rel=LINEAR[curvature], abs=LINEAR[curvature])
    assert abs(parts[3]) > 1e-3


@pytest.mark.parametrize("curvature", CURVATURES)
def test_tasks_add_up(curvature: str) -> None:
    one, other = objective(5), objective(6)
    goals: dict[str, Callable[[nn.Module], Tensor]] = {
        "one": one,
        "other": other,
        "both": lambda model: one(model) + 3 * other(model),
    }
    values = value(as_batches(batches(6, 3)), curvature, goal=goals, nodes=4).values
    assert values[:, 2] == pytest.approx(values[:, 0] + 3 * values[:, 1], rel=1e-9)


@pytest.mark.parametrize("optimizer", ["SGD, Nesterov, weight decay", "AdamW"])
def test_weight_decay_is_the_houses(optimizer: str) -> None:
    data = silent(silent(silent(as_batches(batches(4, 3)), 0), 1), 2)
    model = classifier()
    data = [Batch(b.who, lambda model, b=b: b.losses(model) + 0 * model(torch.ones(8, 6)).sum(1)) for b in data]
    record = carried(
        model, OPTIMIZERS[optimizer](list(model.parameters())), data, Counterfactual("exact"), goal=objective()
    ).finish()
    found = record.beside["counterfactual"]
    assert not found.values.any()
    assert found.house == pytest.approx(record.improvement, rel=1e-5)
    assert abs(float(record.improvement[0])) > 1e-4
