"""Values of absence from one run: against closed forms and replays, and what they promise whatever the curvature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import Counterfactual, InRunShapley, Valuation, replay
from attribution.counterfactual.game import Batch
from attribution.counterfactual.sketch import Sketch
from attribution.counterfactual.weighted_training import WeightedTraining
from attribution.errors import AttributionError, OptionError, UnsupportedOptimizerError
from tests.attribution.counterfactual.carried import as_batch, carried, tangents
from tests.attribution.counterfactual.quadratics import Diagonal, General
from tests.attribution.counterfactual.weighted import NAMES, OPTIMIZERS, as_batches, row_losses
from tests.attribution.runs import batches, classifier, drawn, objective

CURVATURES = ["sketch", "kronecker", "companions", "exact"]
LINEAR = {"kronecker": 1e-9, "companions": 1e-5, "exact": 1e-9}  # to what they are linear in the gradients, relative
CARRIED = [name for name in OPTIMIZERS if "amsgrad" not in name]
ROOM = 2e-6  # of the improvement, for the path tolerance that the runs here have


def value(
    data: Sequence[Batch],
    curvature: str = "exact",
    optimizer: str = "AdamW",
    *,
    model: nn.Module | None = None,
    seed: int = 0,
    **options: Any,
) -> Valuation:
    model = model or classifier()
    meter = carried(
        model, OPTIMIZERS[optimizer](list(model.parameters())), data, Counterfactual(curvature, seed=seed), **options
    )
    return meter.finish().beside["counterfactual"]


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


# What loops do


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
    assert np.isfinite(found.values).all()


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


# What is refused


class Unknown(torch.optim.SGD):
    """Of a kind that nobody knows."""


REFUSED: dict[str, tuple[dict[str, Any], type[AttributionError], str]] = {
    "ghost memory": ({"memory": "ghost"}, OptionError, "counterfactual values need memory='buffered'"),
    "no path for each step": ({"every": "run"}, OptionError, "a path for each step"),
    "paths of two steps": ({"every": (2, "run")}, OptionError, "a path for each step"),
    "enumerated": ({"method": "exact"}, OptionError, "not method 'exact'"),
    "no option": ({"counterfactual": "sketch"}, OptionError, "counterfactual is True, False or"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_meter_that_cannot_is_refused(case: str) -> None:
    options, error, message = REFUSED[case]
    model = classifier()
    with pytest.raises(error, match=message):
        InRunShapley(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            objective(),
            NAMES,
            **({"counterfactual": True} | options),
        )


@pytest.mark.parametrize("kind", [torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam, torch.optim.RAdam])
def test_an_optimizer_without_tangents_is_refused_by_name(kind: type[torch.optim.Optimizer]) -> None:
    model = classifier()
    optimizer = kind(model.parameters(), lr=0.01)
    with pytest.raises(UnsupportedOptimizerError, match=rf"optimizer {kind.__name__}, for counterfactual values"):
        InRunShapley(model, optimizer, objective(), NAMES, counterfactual=True)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_amsgrad_is_refused(kind: Callable[..., torch.optim.Optimizer]) -> None:
    model = classifier()
    with pytest.raises(OptionError, match="no amsgrad=True"):
        InRunShapley(model, kind(model.parameters(), amsgrad=True), objective(), NAMES, counterfactual=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curvature": "newton"}, "curvature 'newton' is not one of sketch, kronecker, companions, exact"),
        ({"reduction": "none"}, "reduction 'none' is not one of mean, sum"),
        ({"reach": 0.0}, "reach must be a part above 0 and below 1"),
        ({"reach": 1.0}, "reach must be a part above 0 and below 1"),
        ({"reach": float("nan")}, "reach must be a part above 0 and below 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Counterfactual(**options)
