"""A fresh validation batch for each path: what then sums to what, and that the record says so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley, RunRecord
from attribution.errors import ObjectiveError, OptionError
from attribution.objective import Minibatches
from attribution.steps import NOT_TELESCOPING
from ledger.axioms import check_axioms
from tests.attribution.replay import Replay, against, replay
from tests.attribution.runs import batches, drawn, objective, run

NAMES = ["alice", "bob", "carol", "dave"]


def held_out() -> list[tuple[Tensor, Tensor]]:
    return [drawn(10, seed) for seed in range(200, 205)]


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


class Watched(Minibatches):
    """Notes which batch served each evaluation."""

    def __init__(self, seed: int = 0) -> None:
        self.used: list[list[int]] = []
        super().__init__(loss, held_out(), seed)

    def redraw(self) -> None:
        super().redraw()
        self.used.append([])

    def __call__(self, model: nn.Module) -> Tensor:
        self.used[-1].append(self._at)
        return super().__call__(model)


def batch_of(watched: Watched) -> list[int]:
    """The one batch of each path that was taken."""
    assert all(len(set(path)) == 1 for path in watched.used if path)
    return [path[0] for path in watched.used if path]


def watched_run(every: object = 1, seed: int = 0, steps: int = 7, **options: object) -> tuple[Replay, list[int]]:
    watched = Watched(seed)
    return replay("AdamW", batches(steps, 3), NAMES, goal=watched, every=every, **options), batch_of(watched)


@pytest.mark.parametrize("every", [1, 3, "run"])
def test_the_same_batch_serves_at_both_ends_of_a_path_and_between(every: object) -> None:
    found, chosen = watched_run(every, nodes=6)
    record = found.record
    assert len(chosen) == len(record.steps)
    for row, first, batch in zip(record.steps, record.steps.first, chosen, strict=True):
        losses_at = found.losses_at(lambda m, b=batch: loss(m, held_out()[b]))
        last = first + row.length - 1
        assert row.loss_before == pytest.approx(losses_at(found.starts[first]), rel=1e-12)
        assert row.loss_after == pytest.approx(losses_at(found.ends[last]), rel=1e-12)
        average = found.integral(lambda m, b=batch: loss(m, held_out()[b]), found.starts[first], found.ends[last], 100)
        expected = against(found.parts[first : last + 1].sum(0), average)
        assert [*row.values[:, 0], row.house[0]] == pytest.approx(expected, rel=1e-4, abs=1e-10)


@pytest.mark.parametrize("every", [1, 3])
def test_the_improvement_is_the_sum_of_the_paths_own_and_the_record_says_so(every: object, tmp_path) -> None:
    found, _ = watched_run(every, nodes=6)
    record = found.record
    assert not record.telescopes
    own = record.steps.loss_before - record.steps.loss_after
    assert record.improvement == pytest.approx(own.sum(0), rel=1e-12)
    assert record.improvement != pytest.approx(record.steps.loss_before[0] - record.steps.loss_after[-1], rel=1e-3)
    assert record.values.sum(0) + record.house == pytest.approx(record.improvement, rel=1e-6)
    assert record.manifest["telescopes"] is False
    assert record.manifest["improvement_is"] == NOT_TELESCOPING
    loaded = RunRecord.load(record.save(tmp_path / "record"))
    assert loaded.improvement == pytest.approx(record.improvement)
    findings = check_axioms(loaded)
    assert all(finding.ok for finding in findings), findings
    assert any("its own validation batch" in finding.detail for finding in findings)


def test_each_batch_is_taken_once_before_any_is_taken_again_and_the_seed_decides_the_order() -> None:
    one, same, other = (watched_run(seed=seed, steps=10) for seed in (1, 1, 2))
    assert sorted(one[1][4:9]) == list(range(5))  # the order's first batch is drawn before the first path
    assert one[1] == same[1] != other[1]
    assert (one[0].record.values == same[0].record.values).all()
    assert (one[0].record.values != other[0].record.values).any()


def test_the_tolerance_is_kept_of_what_the_paths_come_to() -> None:
    record = watched_run(steps=40)[0].record
    assert abs(record.gap[0]) <= 1e-3 * abs(record.improvement[0])


def test_a_task_in_minibatches_and_one_that_is_whole_go_together() -> None:
    whole = objective()
    record = run("SGD, momentum", batches(5, 3), NAMES, goal={"drawn": Watched(), "whole": whole}, nodes=5)
    alone = run("SGD, momentum", batches(5, 3), NAMES, goal=whole, nodes=5)
    assert not record.telescopes
    assert record.values[:, 1] == pytest.approx(alone.values[:, 0], rel=1e-9)
    assert record.improvement[1] == pytest.approx(alone.improvement[0], rel=1e-9)


def test_an_edit_by_hand_between_two_paths_is_on_neither_batch() -> None:
    def edit(step: int, model: nn.Module) -> None:
        if step == 3:
            with torch.no_grad():
                model[0].weight.mul_(1.5)

    found, _ = watched_run(nodes=6, before_batch=edit)
    assert len(found.record.steps) == 7
    assert found.record.values.sum(0) + found.record.house == pytest.approx(found.record.improvement, rel=1e-6)
    inside = watched_run("run", nodes=9, before_batch=edit)[0].record
    assert abs(inside.house[0]) > 10 * abs(found.record.house[0])


def test_samples_are_scored_on_the_batch_of_their_step() -> None:
    torch.manual_seed(0)
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, Watched(), NAMES)
    for step, (inputs, targets, who) in enumerate(batches(4, 3)):
        with meter.batch(who, samples=list(range(8 * step, 8 * step + 8))):
            functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    record = meter.finish()
    assert np.abs(record.manifest["samples"]["values_less_scores"]).max() <= 1e-12


def test_paths_of_several_lengths_need_one_objective() -> None:
    with pytest.raises(OptionError, match="use Objective"):
        run("SGD", batches(1, 3), NAMES, goal=Watched(), every=(1, "run"))


def test_minibatches_of_nothing_are_refused() -> None:
    with pytest.raises(ObjectiveError, match="at least one batch"):
        Minibatches(loss, [])
