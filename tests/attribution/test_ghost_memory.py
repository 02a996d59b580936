"""Values without a buffer for each contributor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attribution import InRunShapley
from attribution.errors import OptionError, UnaccountedGradientError, UnscoredRowsError
from tests.attribution import models
from tests.attribution.runs import OPTIMIZERS, batches, classifier, objective
from tests.attribution.scored import MODELS, NAMES, WHO, built, goals, loss_of, prepared, train


def buffers(meter: InRunShapley) -> int:
    """Elements in all buffers that hold parts of gradients, momentum or displacements."""
    held = [*meter._gradient.parts._tensors.values(), *meter._steps.divider._slots._memory.values()]
    held += [window.displacements for window in meter._steps.windows if window.displacements is not None]
    return sum(tensor.numel() for tensor in held)


@pytest.mark.parametrize("kind", MODELS)
def test_under_sgd_ghost_memory_gives_the_buffered_values_on_every_kind_of_layer(kind: str) -> None:
    records = {}
    for memory in ("buffered", "ghost"):
        torch.manual_seed(5)
        model, draw = built(kind)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, weight_decay=0.1)
        records[memory] = train(
            model, optimizer, draw, accumulate=2, clip=0.7, names=lambda batch: None, memory=memory, nodes=5
        )
    buffered, ghost = records["buffered"], records["ghost"]
    assert ghost.values == pytest.approx(buffered.values, rel=1e-9, abs=1e-14)
    assert ghost.house == pytest.approx(buffered.house, rel=1e-9, abs=1e-14)
    assert ghost.gap == pytest.approx(buffered.gap, rel=1e-6, abs=1e-13)
    assert (ghost.steps.rows == buffered.steps.rows).all()
    assert ghost.manifest["method"]["memory"] == "ghost"


@pytest.mark.parametrize("edit", ["noise", "clipping by value", "a gradient from outside"])
def test_what_is_done_to_the_gradient_is_the_house_s_in_ghost_memory_too(edit: str) -> None:
    records = {}
    for memory in ("buffered", "ghost"):
        model, optimizer, draw = prepared("linear, layer norm")
        noise = [torch.randn_like(p) for p in model.parameters()]

        def change(model: nn.Module = model, noise: list[Tensor] = noise) -> None:
            if edit == "noise":
                for parameter, extra in zip(model.parameters(), noise, strict=True):
                    parameter.grad.add_(extra, alpha=0.1)
            elif edit == "clipping by value":
                nn.utils.clip_grad_value_(model.parameters(), 0.05)
            else:
                sum(p.square().sum() for p in model.parameters()).backward()

        records[memory] = train(
            model, optimizer, draw, names=lambda batch: None, memory=memory, nodes=5, before_step=change
        )
    assert np.abs(records["buffered"].house).max() > 1e-4
    assert records["ghost"].values == pytest.approx(records["buffered"].values, rel=1e-9)
    assert records["ghost"].house == pytest.approx(records["buffered"].house, rel=1e-9)


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW", "Muon"])
def test_with_momentum_the_gap_says_what_ghost_memory_cost_and_the_account_still_closes(optimizer: str) -> None:
    records = {}
    for memory in ("buffered", "ghost"):
        torch.manual_seed(5)
        model, draw = built("linear, layer norm")
        chosen = OPTIMIZERS[optimizer](list(model.parameters()))
        records[memory] = train(model, chosen, draw, names=lambda batch: None, memory=memory, nodes=5, steps=6)
    ghost, buffered = records["ghost"], records["buffered"]
    assert ghost.improvement == pytest.approx(buffered.improvement, rel=1e-12)
    assert ghost.house == pytest.approx(buffered.house, rel=1e-9, abs=1e-14)
    assert ghost.values.sum(0) + ghost.house + ghost.gap == pytest.approx(ghost.improvement, rel=1e-12)
    less = buffered.values.sum(0) - ghost.values.sum(0)
    assert ghost.gap - buffered.gap == pytest.approx(less, rel=1e-9)
    assert np.abs(ghost.gap).max() > 1e-5
    assert (ghost.values[3] == 0).all()


def test_ghost_memory_does_not_grow_with_ten_thousand_contributors() -> None:
    held, names = {}, [f"contributor {number}" for number in range(10_000)]
    for count in (10, 10_000):
        model = nn.Sequential(nn.Linear(models.WIDTH, 12), nn.Tanh(), nn.Linear(12, 3))
        optimizer = torch.optim.AdamW(model.parameters())
        inputs = torch.randn(20, models.WIDTH)
        meter = InRunShapley(model, optimizer, lambda m, x=inputs: m(x).square().mean(), names[:count], memory="ghost")
        footprint = meter.footprint.total
        for step in range(3):
            who = torch.randint(0, count, (20,), generator=torch.Generator().manual_seed(step))
            with meter.batch(who):
                model(inputs).cos().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        held[count] = buffers(meter), footprint
        record = meter.finish()
        assert record.values.sum(0) + record.house + record.gap == pytest.approx(record.improvement, rel=1e-9)
    assert held[10] == held[10_000]
    assert held[10][0] == 2 * 2 * sum(p.numel() for p in model.parameters())  # everybody's, the house's; and momentum


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("memory", ["ghost", "buffered"])
def test_a_parameter_used_where_no_rule_sees_it_stops_the_run(memory: str, first: int) -> None:
    model, optimizer, draw = prepared("linear, layer norm")
    meter = InRunShapley(model, optimizer, goals(draw), NAMES, memory=memory)

    def loop() -> None:
        for step in range(4):
            with meter.batch(WHO, samples=list(range(6))):
                loss = loss_of(model(draw()))
                if step >= first:
                    loss = loss + 0.5 * model.net[0].weight.square().sum()
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    with pytest.raises((UnscoredRowsError, UnaccountedGradientError)), meter:
        loop()
    record = meter.finish()
    assert not record.complete
    assert len(record.steps) == first


@pytest.mark.parametrize("options", [{"every": 2}, {"every": (1, "run")}, {"method": "exact"}, {"memory": "none"}])
def test_ghost_memory_is_refused_where_displacements_are_needed(options: dict) -> None:
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(OptionError, match="memory"):
        InRunShapley(model, optimizer, lambda m: m(batches(1, 1)[0][0]).sum(), NAMES, **{"memory": "ghost", **options})


def test_ghost_memory_has_no_displacements_to_keep() -> None:
    model = classifier()
    with pytest.raises(OptionError, match="keep_displacements"):
        InRunShapley(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            objective(),
            ["alice"],
            memory="ghost",
            keep_displacements=True,
        )
