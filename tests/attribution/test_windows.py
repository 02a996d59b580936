"""Paths over several steps, or the whole run: what they are worth, that they add up, and how they begin and end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley
from attribution.errors import NonFiniteError, OptionError
from ledger.axioms import check_axioms
from tests.attribution.replay import Goal, Replay, against, replay
from tests.attribution.runs import batches, classifier, objective, run

NAMES = ["alice", "bob", "carol", "dave"]
STEPS = 7
LENGTHS: dict[object, list[int]] = {1: [1] * 7, 3: [3, 3, 1], 7: [7], 10: [7], "run": [7]}


def expected(found: Replay, first: int, length: int, goal: Callable[[nn.Module], Tensor]) -> np.ndarray:
    """Each part's value over some steps, by the midpoint rule on the straight line from the first's start to the end.

    Whatever moved the parameters between two of the steps is the house's.
    """
    steps = slice(first, first + length)
    parts = found.parts[steps].sum(0)
    between = found.starts[steps][1:] - found.ends[steps][:-1]
    parts[-1] += between.sum(0)
    return against(parts, found.integral(goal, found.starts[first], found.ends[first + length - 1]))


@pytest.mark.parametrize("every", LENGTHS)
@pytest.mark.parametrize("optimizer", ["SGD", "SGD, Nesterov, weight decay", "AdamW"])
def test_a_path_is_worth_its_averaged_gradient_times_the_sum_of_the_displacements(
    optimizer: str, every: object
) -> None:
    goal = objective()
    found = replay(optimizer, batches(STEPS, 3), NAMES, goal=goal, every=every, nodes=9)
    assert found.record.steps.length.tolist() == LENGTHS[every]
    for row, first in zip(found.record.steps, found.record.steps.first, strict=True):
        values = expected(found, int(first), row.length, goal)
        assert [*row.values[:, 0], row.house[0]] == pytest.approx(values, rel=1e-5, abs=1e-10)


@pytest.mark.parametrize("every", [3, "run", (3, "run", 2), ("run", 1)])
@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW", "Muon"])
def test_every_nat_is_accounted_for_whatever_the_length_of_the_path(optimizer: str, every: object) -> None:
    data = batches(STEPS, 3)
    record = run(optimizer, data, NAMES, every=every, nodes=9)
    assert record.values.sum(0) + record.house == pytest.approx(record.improvement, rel=1e-7)
    for other in record.beside.values():
        assert other.gap == pytest.approx(record.improvement - other.values.sum(0) - other.house, abs=1e-13)
        assert other.gap == pytest.approx([0], abs=1e-7 * abs(record.improvement[0]))
    assert (record.values[3] == 0).all()
    assert record.rows.tolist() == [sum(int((who == c).sum()) for *_, who in data) for c in range(4)]
    assert all(finding.ok for finding in check_axioms(record))


def test_paths_of_several_lengths_side_by_side_are_those_of_separate_runs() -> None:
    together = run("AdamW", batches(STEPS, 3), NAMES, every=(1, "run", 5))
    assert set(together.beside) == {"run", "5 steps"}
    for every, name in ((1, None), ("run", "run"), (5, "5 steps")):
        alone = run("AdamW", batches(STEPS, 3), NAMES, every=every)
        found = together if name is None else together.beside[name]
        assert found.values == pytest.approx(alone.values, rel=1e-12)
        assert found.house == pytest.approx(alone.house, rel=1e-12)
        assert found.gap == pytest.approx(alone.gap, rel=1e-6, abs=1e-14)
        if name is not None:
            assert found.details == {"every": every, "method": "path"}
            assert found.nodes == alone.steps.nodes.sum()


@pytest.mark.parametrize("every", [2, "run"])
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_whole_smooth_run_needs_no_more_than_six_evaluations_in_all(optimizer: str, every: object) -> None:
    calls, goal = [0], objective()

    def counted(model: nn.Module) -> Tensor:
        calls[0] += 1
        return goal(model)

    record = run(optimizer, batches(60, 3), NAMES, goal=counted, every=every)
    assert abs(record.gap[0]) <= 1e-3 * abs(record.improvement[0])
    if every == "run":
        assert calls[0] <= 6
        assert calls[0] == record.steps.nodes.sum()
    else:
        assert calls[0] == 1 + (record.steps.nodes - 1).sum()  # ends are shared with the neighbouring paths


@pytest.mark.parametrize("every", [3, "run"])
@pytest.mark.parametrize("when", [1, 3])
def test_an_edit_by_hand_between_two_steps_is_the_house_s(every: object, when: int) -> None:
    goal = objective()

    def edit(step: int, model: nn.Module) -> None:
        if step == when:
            with torch.no_grad():
                model[0].weight.mul_(1.3)

    data = batches(6, 3)
    found = replay("SGD, momentum", data, NAMES, goal=goal, every=every, nodes=9, before_batch=edit)
    record = found.record
    assert record.gap == pytest.approx([0], abs=1e-7)
    between = every == 3 and when == 3
    assert record.steps.length.tolist() == ([3, 0, 3] if between else [3, 3] if every == 3 else [6])
    for row, first in zip(record.steps, record.steps.first, strict=True):
        if row.length:
            values = expected(found, int(first), row.length, goal)
            assert [*row.values[:, 0], row.house[0]] == pytest.approx(values, rel=1e-5, abs=1e-10)
        else:
            assert (row.values == 0).all()
            assert (row.rows == 0).all()
            assert row.house[0] == pytest.approx(row.loss_before[0] - row.loss_after[0], rel=1e-12)
    untouched = replay("SGD, momentum", data, NAMES, goal=goal, every=every, nodes=9).record
    assert untouched.house == pytest.approx([0], abs=1e-12)
    assert abs(record.house[0]) > 1e-4


@pytest.mark.parametrize("every", [2, 6, "run"])
@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_parameters_frozen_for_some_steps_of_a_path_are_valued_for_the_others(optimizer: str, every: object) -> None:
    goal = objective()

    def freeze(step: int, model: nn.Module) -> None:
        model[0].weight.requires_grad_(step not in (0, 3, 4, 5))
        model[2].bias.requires_grad_(step != 2)

    found = replay(optimizer, batches(6, 3), NAMES, goal=goal, every=every, nodes=9, before_batch=freeze)
    assert [p.requires_grad for p in found.parameters] == [False, True, True, True]
    for row, first in zip(found.record.steps, found.record.steps.first, strict=True):
        values = expected(found, int(first), row.length, goal)
        assert [*row.values[:, 0], row.house[0]] == pytest.approx(values, rel=1e-5, abs=1e-10)
    assert found.record.gap == pytest.approx([0], abs=1e-7)


def test_momentum_from_an_earlier_path_still_earns_in_a_later_one() -> None:
    data = [(x, y, torch.full_like(who, 0 if step < 3 else 1)) for step, (x, y, who) in enumerate(batches(6, 3))]
    with_momentum = run("SGD, momentum", data, NAMES, every=3, nodes=5)
    without = run("SGD", data, NAMES, every=3, nodes=5)
    assert with_momentum.steps.rows[1].tolist() == [0, 24, 0, 0]
    assert abs(with_momentum.steps.values[1, 0, 0]) > 1e-3
    assert without.steps.values[1, 0, 0] == 0


@pytest.mark.parametrize("every", [3, "run", (1, 3), (3, 1)])
def test_a_run_that_is_interrupted_within_a_path_values_what_there_was(every: object) -> None:
    goal = objective()
    found = replay("AdamW", batches(5, 3), NAMES, goal=goal, every=every, nodes=9, stopped="enough")
    record = found.record
    assert (record.complete, record.stopped) == (False, "enough")
    assert record.gap == pytest.approx([0], abs=1e-7)
    last = record.steps[-1]
    values = expected(found, 5 - last.length, last.length, goal)
    assert [*last.values[:, 0], last.house[0]] == pytest.approx(values, rel=1e-5, abs=1e-10)
    assert record.steps.length.sum() == 5
    assert all(other.gap == pytest.approx([0], abs=1e-7) for other in record.beside.values())


@pytest.mark.parametrize("broken", [2, 3, 4])
@pytest.mark.parametrize("every", [1, 2, 3, "run", (1, 3), (3, 1), (2, "run"), ("run", 2)])
def test_what_is_not_finite_ends_the_run_with_paths_that_are_whole(every: object, broken: int) -> None:
    goal, model = objective(), classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    meter = InRunShapley(model, optimizer, goal, NAMES, every=every, nodes=9)

    def loop() -> None:
        for step, (inputs, targets, who) in enumerate(batches(6, 3)):
            with meter.batch(who):
                functional.cross_entropy(model(inputs), targets).backward()
            if step == broken:
                optimizer.param_groups[0]["lr"] = torch.inf  # a finite gradient, a step that is not
            optimizer.step()
            optimizer.zero_grad()

    with pytest.raises(NonFiniteError):
        loop()
    record = meter.finish()
    assert not record.complete
    assert np.isfinite(record.values).all()
    assert record.gap == pytest.approx([0], abs=1e-7)
    assert record.steps.length.sum() <= broken
    first = every[0] if isinstance(every, tuple) else every
    if first != "run":
        assert record.steps.length.sum() >= broken - broken % first


def test_where_the_loss_at_the_end_of_a_path_is_not_finite_the_steps_before_the_last_are_still_valued() -> None:
    calls, goal, model = [0], objective(), classifier()

    def failing_goal(m: nn.Module) -> Tensor:
        calls[0] += 1
        return goal(m) * (torch.nan if calls[0] == 2 else 1.0)

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    meter = InRunShapley(model, optimizer, failing_goal, NAMES, every=3, nodes=9)
    with pytest.raises(NonFiniteError):
        three_steps(model, optimizer, meter)
    record = meter.finish()
    assert record.steps.length.tolist() == [2]
    assert record.gap == pytest.approx([0], abs=1e-7)


def three_steps(model: nn.Module, optimizer: torch.optim.Optimizer, meter: InRunShapley) -> None:
    for inputs, targets, who in batches(3, 3):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("every", [1, 3, ("run", 3), (3, "run"), (2, 3), (1, 3)])
def test_whichever_evaluation_fails_what_the_record_has_adds_up(every: object) -> None:
    for failing in range(1, 20, 2):
        calls, goal, model = [0], objective(), classifier()

        def failing_goal(m: nn.Module, n: int = failing, c: list[int] = calls, g: Goal = goal) -> Tensor:
            c[0] += 1
            return g(m) * (torch.nan if c[0] == n + 1 else 1.0)

        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        meter = InRunShapley(model, optimizer, failing_goal, NAMES, every=every, nodes=9)
        with suppress(NonFiniteError):
            for inputs, targets, who in batches(7, 3):
                with meter.batch(who):
                    functional.cross_entropy(model(inputs), targets).backward()
                optimizer.step()
                optimizer.zero_grad()
        record = meter.finish()
        assert record.complete == (calls[0] <= failing)
        assert record.gap == pytest.approx([0], abs=1e-7)
        for row in record.steps:
            assert row.rows.sum() == 8 * row.length


@pytest.mark.parametrize("every", [3, "run"])
@pytest.mark.parametrize("optimizer", ["SGD, Nesterov, weight decay", "AdamW"])
def test_splitting_a_contributor_changes_no_total_on_a_longer_path(optimizer: str, every: object) -> None:
    data = batches(STEPS, 3)
    merged = run(optimizer, data, NAMES, every=every)
    rng = torch.Generator().manual_seed(0)
    split = [
        (x, y, torch.where((who == 0) & (torch.rand(len(who), generator=rng) < 0.5), 3, who)) for x, y, who in data
    ]
    parts = run(optimizer, split, NAMES, every=every)
    assert parts.values[0] + parts.values[3] == pytest.approx(merged.values[0], rel=1e-9)
    assert parts.values[1:3] == pytest.approx(merged.values[1:3], rel=1e-9)


@pytest.mark.parametrize("every", [3, "run"])
@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_identical_rows_get_equal_values_and_none_get_nothing_on_a_longer_path(optimizer: str, every: object) -> None:
    data = []
    for inputs, targets, _ in batches(STEPS, 2, rows=4):
        doubled = torch.cat([inputs, inputs, inputs[:2]]), torch.cat([targets, targets, targets[:2]])
        data.append((*doubled, torch.tensor([0] * 4 + [1] * 4 + [2] * 2)))
    values = run(optimizer, data, NAMES, every=every).values
    assert values[0] == pytest.approx(values[1], rel=1e-10)
    assert values[0] != pytest.approx(values[2], rel=1e-2)
    assert (values[3] == 0).all()


@pytest.mark.parametrize("every", [3, "run"])
def test_values_on_a_sum_of_tasks_are_the_sums_of_the_tasks_on_a_longer_path(every: object) -> None:
    one, two = objective(5), objective(6)
    both = run("AdamW", batches(STEPS, 3), NAMES, nodes=4, every=every, goal={"one": one, "two": two})
    summed = run("AdamW", batches(STEPS, 3), NAMES, nodes=4, every=every, goal=lambda m: 0.25 * one(m) + 0.75 * two(m))
    assert both.values @ np.array([0.25, 0.75]) == pytest.approx(summed.values[:, 0], rel=1e-9)


@pytest.mark.parametrize("every", [3, "run"])
def test_learning_rates_that_change_from_step_to_step_are_those_of_the_displacements(every: object) -> None:
    goal = objective()

    def schedule(step: int, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * 0.5 ** (step + 1)

    found = replay(
        lambda p: torch.optim.SGD(p, lr=0.05),
        batches(5, 3),
        NAMES,
        goal=goal,
        every=every,
        nodes=9,
        after_step=schedule,
    )
    lengths = (found.ends - found.starts).norm(dim=1)
    assert lengths[-1] < 0.2 * lengths[0]
    for row, first in zip(found.record.steps, found.record.steps.first, strict=True):
        values = expected(found, int(first), row.length, goal)
        assert [*row.values[:, 0], row.house[0]] == pytest.approx(values, rel=1e-5, abs=1e-10)


def test_what_happens_to_the_model_after_the_last_step_is_not_part_of_the_run() -> None:
    model, goal = classifier(), objective()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, goal, NAMES, every="run", nodes=9)
    for inputs, targets, who in batches(3, 3):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = goal(model).item()
    with torch.no_grad():
        model[0].weight.zero_()
    record = meter.finish()
    assert record.steps.loss_after[-1, 0] == pytest.approx(after, rel=1e-12)
    assert (model[0].weight == 0).all()


def test_first_order_on_a_longer_path_is_the_gradient_at_its_start() -> None:
    goal = objective()
    found = replay("AdamW", batches(6, 3), NAMES, goal=goal, every=3, method="first_order")
    for row, first in zip(found.record.steps, (0, 3), strict=True):
        values = against(found.parts[first : first + 3].sum(0), found.gradient(goal, found.starts[first]))
        assert row.values[:, 0] == pytest.approx(values[:-1], rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("every", [0, -1, True, 1.5, "week", [], (1, 1), ("run", "run"), (1, None)])
def test_lengths_of_paths_that_make_no_sense_are_refused(every: object) -> None:
    with pytest.raises(OptionError, match="every"):
        run("SGD", batches(1, 3), NAMES, every=every)


def test_the_record_says_how_long_its_paths_are() -> None:
    record = run("SGD", batches(4, 3), NAMES, every=(2, "run"))
    assert record.manifest["method"]["every"] == 2
    assert record.manifest["beside"]["run"]["details"] == {"every": "run", "method": "path"}
    assert record.manifest["optimizer_steps"] == record.manifest["steps"] == 4
    assert record.manifest["segments"] == 2
