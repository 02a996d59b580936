"""Values of a finished run: the meter's own, had it been told of the objective."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from attribution import InRunShapley, Objective
from attribution.afterwards import value_afterwards
from attribution.displacements import Displacements
from attribution.errors import OptionError, RecordError
from attribution.objective import Loss
from attribution.record import RunRecord
from tests.attribution.runs import OPTIMIZERS, batches, classifier, objective

NAMES = ["alice", "bob", "carol", "dave"]


def goals() -> dict[str, Loss]:
    return {"first": objective(1), "second": objective(2)}


def run(optimizer: str) -> tuple[nn.Module, Displacements, RunRecord]:
    torch.manual_seed(4)
    model = classifier()
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    options = {"every": "run", "keep_displacements": "run", "tolerance": 1e-9}
    meter = InRunShapley(model, chosen, goals(), NAMES, **options)
    for inputs, targets, who in batches(6, 4):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        chosen.step()
        chosen.zero_grad()
    return model, meter.run_displacements, meter.finish()


@pytest.mark.parametrize("optimizer", ["SGD", "SGD, momentum", "AdamW"])
def test_values_are_those_that_the_meter_finds_by_one_path_over_the_run(optimizer: str) -> None:
    model, kept, record = run(optimizer)
    found = value_afterwards(model, kept, goals(), tolerance=1e-9)
    assert found.values == pytest.approx(record.values, rel=1e-7, abs=1e-10)
    assert found.house == pytest.approx(record.house, rel=1e-7, abs=1e-10)
    assert found.loss_before - found.loss_after == pytest.approx(record.improvement)
    assert abs(record.values).min() > 1e-4


def test_the_model_stays_where_it_was_and_frozen_parameters_count_too() -> None:
    model, kept, record = run("AdamW")
    before = [p.detach().clone() for p in model.parameters()]
    first = next(model.parameters()).requires_grad_(False)
    found = value_afterwards(model, kept, goals(), tolerance=1e-9)
    assert not first.requires_grad
    assert found.values == pytest.approx(record.values, rel=1e-7, abs=1e-10)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_large_objective_may_come_in_batches() -> None:
    model, kept, _ = run("SGD")
    rows, targets = torch.randn(12, 6), torch.arange(12) % 3

    def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1])

    whole = value_afterwards(model, kept, lambda model: loss(model, (rows, targets)), tolerance=1e-9)
    cut = Objective(loss, [(rows[:5], targets[:5]), (rows[5:], targets[5:])])
    assert value_afterwards(model, kept, cut, tolerance=1e-9).values == pytest.approx(whole.values, rel=1e-9)


def test_a_looser_tolerance_needs_fewer_gradients_and_leaves_a_gap_within_it() -> None:
    model, kept, _ = run("AdamW")
    counted: list[int] = []
    tight = value_afterwards(model, kept, goals(), tolerance=1e-9, advance=counted.append)
    assert sum(counted) == tight.nodes
    loose = value_afterwards(model, kept, goals(), tolerance=0.5)
    assert loose.nodes < tight.nodes
    assert (abs(loose.gap) <= 0.5 * abs(loose.loss_before - loose.loss_after)).all()


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.nan, math.inf])
def test_a_tolerance_that_is_none_is_refused(tolerance: float) -> None:
    model, kept, _ = run("SGD")
    with pytest.raises(OptionError, match="tolerance"):
        value_afterwards(model, kept, goals(), tolerance=tolerance)


def test_another_model_is_refused() -> None:
    model, kept, _ = run("SGD")
    with pytest.raises(RecordError, match="no parameter"):
        value_afterwards(nn.Linear(2, 2), kept, goals())
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    with pytest.raises(RecordError, match="miss its last parameters"):
        value_afterwards(model, kept, goals())


def test_a_loss_that_is_not_finite_on_the_way_has_no_values() -> None:
    model, kept, _ = run("SGD")
    with pytest.raises(RecordError, match="not finite"):
        value_afterwards(model, kept, lambda model: sum(p.sum() for p in model.parameters()) * math.nan)
