"""Prediction: sums of values against losses that are really reached, and what a keep list drops."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from attribution import InRunShapley
from attribution.record import RunRecord, Steps
from attribution.scores import ScoreWriter
from attribution.training import Source, TaskSource, TrainingConfiguration, train
from attribution.training.errors import KeepListError
from attribution.uses.curate import curate
from attribution.uses.curation import Rule
from attribution.uses.errors import MissingFromRunError, UseError
from attribution.uses.predict import Predicted, predict, predicted_losses, valuations
from tests.attribution.uses.test_curate import SENTENCE, synthetic, write
from tests.ledger.records import synthetic_record

NAMES = ["ann", "bob", "cat"]
TWO = ["one", "two"]
NOTHING = {"house": [0.0, 0.0], "gap": [0.0, 0.0]}


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    rows = torch.randn(12, 4, generator=draw, dtype=torch.float64)
    return rows, rows @ torch.tensor([1.0, -1.0, 0.5, 0.0], dtype=torch.float64), torch.arange(12) % 3


def trained(rate: float, steps: int, members: list[int], every: Any = None) -> tuple[float, RunRecord | None]:
    """The loss after training on the members' rows, nobody taking the others' place; metered where `every` is given."""
    rows, targets, owner = data()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, weight_decay=0.01 if every else 0)
    held = torch.randn(20, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def loss() -> torch.Tensor:
        return ((model(held)[:, 0] - held[:, 0]) ** 2).mean()

    meter = None
    if every is not None:
        meter = InRunShapley(model, optimizer, lambda _: loss(), NAMES, every=every)
    mine = torch.isin(owner, torch.tensor(members))
    for _ in range(steps):
        if meter is None:
            (((model(rows[mine])[:, 0] - targets[mine]) ** 2).sum() / 12).backward()
        else:
            with meter.batch(owner):
                ((model(rows)[:, 0] - targets) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    record = None if meter is None else meter.finish()
    with torch.no_grad():
        return float(loss()), record


def only(found: Predicted, by: str) -> float:
    (one,) = [prediction for prediction in found.predictions if prediction.by == by]
    return float(one.loss[0])


def test_with_everybody_the_loss_is_the_runs_and_with_nobody_the_first_one_less_house_and_gap() -> None:
    final, record = trained(0.1, 8, [0, 1, 2], every=[1, 3, "run"])
    assert record is not None
    found = predict(record, NAMES)
    assert [prediction.by for prediction in found.predictions] == ["1", "3", "run"]
    for prediction in found.predictions:
        assert prediction.loss + prediction.house + prediction.gap == pytest.approx(found.before, abs=1e-12)
        assert np.abs(prediction.house).max() > 1e-6  # there is weight decay to keep apart
    for values in valuations(record).values():
        everybody = np.ones((1, 3), dtype=bool)
        assert predicted_losses(values.values, found.after, everybody)[0] == pytest.approx(final, abs=1e-12)


def test_every_subset_is_the_final_loss_and_the_values_of_the_absent() -> None:
    values, after = np.array([[0.5, 1.0], [-0.25, 2.0], [4.0, 0.0]]), np.array([1.0, 3.0])
    members = np.array(list(product([False, True], repeat=3)))
    found = predicted_losses(values, after, members)
    for row, present in zip(found, members, strict=True):
        expected = after.copy()
        for contributor in range(3):
            if not present[contributor]:
                expected += values[contributor]
        assert row == pytest.approx(expected)


def test_for_one_small_step_it_is_the_loss_that_is_reached_up_to_the_second_order() -> None:
    errors = []
    for rate in (0.02, 0.01, 0.005):
        _, record = trained(rate, 1, [0, 1, 2], every=1)
        assert record is not None
        worst = 0.0
        for members in product([False, True], repeat=3):
            absent = [name for name, present in zip(NAMES, members, strict=True) if not present]
            if absent:
                reached, _ = trained(rate, 1, [c for c in range(3) if members[c]])
                house = float(record.house[0])  # plain retraining has no weight decay
                worst = max(worst, abs(only(predict(record, absent), "1") + house - reached))
        errors.append(worst)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


def test_values_of_one_length_of_path_can_be_chosen() -> None:
    _, record = trained(0.1, 6, [0, 1, 2], every=[1, "run"])
    assert record is not None
    (one,) = predict(record, ["bob"], by="run").predictions
    assert one.by == "run"
    (beside,) = record.beside.values()
    assert one.change == pytest.approx(beside.values[1])
    with pytest.raises(UseError, match="not valued by '5', only by '1', 'run'"):
        predict(record, ["bob"], by="5")


def test_sampled_values_come_with_the_most_that_their_errors_sum_to() -> None:
    record = synthetic_record(
        {"ann": [1.0], "bob": [0.5], "cat": [0.25]}, standard_errors={"ann": [0.1], "bob": [0.2], "cat": [0.4]}
    )
    (one,) = predict(record, ["ann", "cat"]).predictions
    assert one.change == pytest.approx([1.25])
    assert one.standard_error == pytest.approx([0.5])


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Source], Path, RunRecord]:
    """A run by plain SGD, whose scores sum to its values."""
    folder = tmp_path_factory.mktemp("texts")
    ann = write(folder / "ann.jsonl", [SENTENCE.format(n) for n in range(40)])
    bob = write(folder / "bob.jsonl", [f"a dog {n} ran and ran after the ball" for n in range(40)])
    held = write(folder / "held.jsonl", [SENTENCE.format(500 + n) for n in range(30)])
    sources = [Source("ann", (ann,), ("a1",)), Source("bob", (bob,), ("b1",))]
    tasks = [TaskSource("cats", (held,), 1.0, "t1")]
    configuration = TrainingConfiguration(
        layers=1,
        width=16,
        heads=2,
        vocabulary=300,
        context=16,
        batch_rows=4,
        validation_rows=4,
        threads=1,
        scores=True,
        every=(1, "run"),
        optimizer="sgd",
        momentum=0.0,
        learning_rate=0.05,
        max_steps=20,
    )
    return sources, folder / "run", train(sources, tasks, configuration, folder / "run")


def keep_only(source: Path, target: Path, keeps: Any) -> Path:
    table = pq.read_table(source)
    keep = [keeps(row) for row in table.to_pylist()]
    pq.write_table(table.set_column(table.schema.get_field_index("keep"), "keep", [keep]), target)
    return target


def test_dropping_all_of_someones_records_is_leaving_them_out(
    texts: tuple[list[Source], Path, RunRecord], tmp_path: Path
) -> None:
    _, run, record = texts
    made = curate(record, run, tmp_path / "out").path / "keep.parquet"
    keep = keep_only(made, tmp_path / "keep.parquet", lambda row: row["contributor"] != "bob")
    found = predict(record, [], run=run, keep=keep)
    assert [one.by for one in found.predictions] == ["1"]
    # The values of the tokens of bob's last, half-filled block are nobody's: he has none.
    assert found.predictions[0].change == pytest.approx(
        predict(record, ["bob"], by="1").predictions[0].change, rel=1e-4
    )
    assert found.records is not None
    assert {one.name: one.dropped.units for one in found.records} == {"ann": 0, "bob": 40}
    # and who is left out anyway is not counted twice
    both = predict(record, ["bob"], run=run, keep=keep)
    assert both.predictions[0].change == pytest.approx(predict(record, ["bob"], by="1").predictions[0].change)
    assert [one.name for one in both.records or []] == ["ann"]


def test_a_keep_list_costs_what_curation_says_that_it_drops(
    texts: tuple[list[Source], Path, RunRecord], tmp_path: Path
) -> None:
    _, run, record = texts
    curated = curate(record, run, tmp_path / "out", Rule(share=0.3))
    dropped = sum(contributor.dropped.score for contributor in curated.contributors)
    (one,) = predict(record, [], run=run, keep=curated.path / "keep.parquet").predictions
    assert one.change == pytest.approx([dropped])


def test_samples_of_a_loop_of_ones_own_are_dropped_by_their_names(tmp_path: Path) -> None:
    scores = [(0, "a", 0, [2.0, -1.0]), (0, "b", 1, [-3.0, 1.0]), (1, "a", 0, [1.0, -1.0]), (1, "c", 1, [0.5, -0.25])]
    record = synthetic(tmp_path / "s.parquet", scores, ["one", "two"])
    run = synthetic_record({"ann": [1.0, 0.0], "bob": [0.0, 1.0]}, tasks=TWO, weights=[0.5, 0.5], **NOTHING)
    scored = RunRecord(
        run.contributors, run.tasks, run.weights, run.steps, {"method": {"every": 1}}, scores=record.scores
    )
    keep = curate(scored, tmp_path, tmp_path / "out").path / "keep.parquet"  # drops b, whose mean is -1
    (one,) = predict(scored, [], run=tmp_path, keep=keep).predictions
    assert one.change == pytest.approx([-3.0, 1.0])
    with ScoreWriter(tmp_path / "t.parquet", ["ann", "bob"], ["one", "two"]) as writer:
        writer.add(0, ["z"], [0], [[1.0, 1.0]])
    other = RunRecord(
        run.contributors, run.tasks, run.weights, run.steps, {"method": {"every": 1}}, scores=tmp_path / "t.parquet"
    )
    with pytest.raises(KeepListError, match="nothing of sample 'z'"):
        predict(other, [], run=tmp_path, keep=keep)


def test_what_cannot_be_predicted_is_refused_by_name(
    texts: tuple[list[Source], Path, RunRecord], tmp_path: Path
) -> None:
    _, run, record = texts
    keep = curate(record, run, tmp_path / "out").path / "keep.parquet"
    with pytest.raises(UseError, match="no contributor 'eve', only 'ann', 'bob'"):
        predict(record, ["eve"])
    with pytest.raises(UseError, match="name who"):
        predict(record, [])
    with pytest.raises(UseError, match="paths of one step"):
        predict(record, [], by="run", run=run, keep=keep)
    with pytest.raises(KeepListError, match="no keep list"):
        predict(record, [], run=run, keep=tmp_path / "none.parquet")
    bare = synthetic_record({"ann": [1.0], "bob": [0.5]}, method={"name": "path", "every": 1})
    with pytest.raises(MissingFromRunError, match="--scores"):
        predict(bare, [], run=run, keep=keep)
    with pytest.raises(UseError, match="took no step"):
        predict(RunRecord(["ann"], ["one"], np.ones(1), Steps.of([], 1, 1)), ["ann"])
    other = Source("ann", (write(tmp_path / "a.jsonl", [SENTENCE.format(n) for n in range(60)]),), ("a2",))
    tasks = [TaskSource("cats", (write(tmp_path / "h.jsonl", [SENTENCE.format(n) for n in range(90, 120)]),), 1.0, "t")]
    configuration = TrainingConfiguration(
        layers=1,
        width=16,
        heads=2,
        vocabulary=300,
        context=16,
        batch_rows=4,
        validation_rows=4,
        threads=1,
        scores=True,
        max_steps=2,
    )
    elsewhere = train([other], tasks, configuration, tmp_path / "elsewhere")
    with pytest.raises(KeepListError, match="nothing of dataset a2 of 'ann' as this run read it"):
        predict(elsewhere, [], run=tmp_path / "elsewhere", keep=keep)
