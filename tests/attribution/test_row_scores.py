"""Scores of single samples."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from attribution import InRunShapley, RunRecord
from attribution.errors import BatchError, OptionError, RecordError
from attribution.scores import ROW_GROUP, score_totals
from tests.alone import alone
from tests.attribution.oracle import contributor_gradients
from tests.attribution.runs import OPTIMIZERS, classifier, objective
from tests.attribution.scored import MODELS, NAMES, ROWS, WHO, built, goals, loss_of, prepared, sums, train


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", MODELS)
def test_under_sgd_the_scores_of_a_contributors_samples_sum_to_its_value(kind: str, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)
    model, draw = built(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    record = train(model, optimizer, draw, accumulate=2, clip=0.7)
    scale = np.abs(record.values).max()
    assert sums(record) == pytest.approx(record.values, abs=(1e-6 if dtype is torch.float32 else 1e-10) * scale)
    difference = np.array(record.manifest["samples"]["values_less_scores"])
    assert difference == pytest.approx(record.values - sums(record), abs=1e-12 * scale)
    assert record.manifest["samples"]["scores"] == 6 * ROWS


def averaged(model: nn.Module, goal: Callable[[nn.Module], Tensor], start: Tensor, end: Tensor, panels: int) -> Tensor:
    """The goal's gradient ``[P]`` averaged from `start` to `end`, by the midpoint rule; the model is left there."""
    average, own = torch.zeros_like(start), list(model.parameters())
    for s in (torch.arange(panels) + 0.5) / panels:
        nn.utils.vector_to_parameters(torch.lerp(start, end, s), own)
        average += torch.cat([g.reshape(-1) for g in torch.autograd.grad(goal(model), own)]) / panels
    nn.utils.vector_to_parameters(end, own)
    return average


def lives(optimizer: str, gradients: list[Tensor], step: int) -> Tensor | float:
    """How far one unit of the gradient of `step` moves a parameter in this and all steps to come, the scaling as it is.

    `gradients` ``[P]`` are those of all steps up to this one. By the optimizers' documented updates.
    """
    if optimizer == "SGD":
        return -0.1
    if optimizer == "SGD, momentum":
        return -0.05 * sum(0.9**k for k in range(2000))
    if optimizer == "SGD, Nesterov, weight decay":
        return -0.05 * (1 + 0.9 * sum(0.9**k for k in range(2000)))
    second = torch.zeros_like(gradients[0])
    for gradient in gradients:
        second = 0.999 * second + 0.001 * gradient**2
    scaling = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
    return -0.01 * sum(0.1 * 0.9 ** (t - step) / (1 - 0.9 ** (t + 1)) for t in range(step, step + 2000)) / scaling


@pytest.mark.parametrize("kind", ["linear, layer norm", "tied embeddings", "one-dimensional convolution", "LSTM"])
@pytest.mark.parametrize("optimizer", ["SGD", "SGD, momentum", "SGD, Nesterov, weight decay", "AdamW"])
def test_a_samples_score_is_what_its_own_gradient_does_over_its_life_under_the_averaged_gradient(
    optimizer: str, kind: str, tmp_path: Path
) -> None:
    model, draw = built(kind)
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    held_out = goals(draw)
    meter = InRunShapley(model, chosen, held_out, NAMES, nodes=9, scores=tmp_path / "scores.parquet")
    expected, gradients = [], []

    def flat() -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in model.parameters()])

    for step in range(2):
        inputs = draw()
        single = contributor_gradients(model, inputs, loss_of, torch.arange(ROWS), ROWS)
        rows = torch.cat([single[name].reshape(ROWS, -1) for name, _ in model.named_parameters()], dim=1)
        with meter.batch(WHO, samples=[f"sample {row}" for row in range(ROWS)]):
            loss_of(model(inputs)).backward()
        start = flat()
        gradients.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
        chosen.step()
        chosen.zero_grad()
        end = flat()
        for goal in held_out.values():
            coarse, fine = (averaged(model, goal, start, end, panels) for panels in (20, 40))
            expected.append(-(rows * lives(optimizer, gradients, step)) @ ((4 * fine - coarse) / 3))
    record = meter.finish()
    table = pq.read_table(record.scores)
    assert table["step"].to_pylist() == [step for step in range(2) for _ in range(ROWS)]
    assert table["sample"].to_pylist() == [f"sample {row}" for row in range(ROWS)] * 2
    assert table["contributor"].to_pylist() == [NAMES[who] for who in WHO] * 2
    for task, name in enumerate(held_out):
        found = table[name].to_numpy()
        assert found == pytest.approx(torch.cat(expected[task::2]).numpy(), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW", "SGD, groups"])
def test_what_scores_leave_of_the_values_is_in_the_manifest_by_contributor_and_task(optimizer: str) -> None:
    model, draw = built("linear, layer norm")
    record = train(model, OPTIMIZERS[optimizer](list(model.parameters())), draw)
    difference = np.array(record.manifest["samples"]["values_less_scores"])
    assert difference == pytest.approx(record.values - sums(record), rel=1e-9, abs=1e-15)
    assert np.abs(difference[:3]).max() > 1e-6
    assert (difference[3] == 0).all()


@pytest.mark.parametrize("memory", ["buffered", "ghost"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_with_and_without_samples_may_follow_each_other(accumulate: int, memory: str) -> None:
    def trained(*chosen: int) -> RunRecord:
        return train(
            *prepared("tied embeddings"),
            steps=4,
            accumulate=accumulate,
            names=lambda batch: list("abcdef") if batch in chosen else None,
            memory=memory,
        )

    values, record = trained(), trained(1, 2, 5)
    assert record.values == pytest.approx(values.values, rel=1e-12)
    table = pq.read_table(record.scores)
    assert table["step"].to_pylist() == [b // accumulate for b in (1, 2, 5) if b < 4 * accumulate for _ in range(ROWS)]
    # Only steps whose every row was named can be compared, and under SGD there they agree.
    assert np.abs(record.manifest["samples"]["values_less_scores"]).max() <= 1e-10 * np.abs(record.values).max()


@pytest.mark.parametrize(
    "names",
    [[3, 1, 2, 9, 8, 7], list("abcdef"), torch.arange(6), np.arange(6), ("α", "b", "c", "d", "e", "long " * 50)],
)
def test_samples_are_named_by_whole_numbers_or_by_text(names: Sequence[object]) -> None:
    record = train(*prepared("linear, layer norm"), names=lambda batch: names)
    plain = names.tolist() if isinstance(names, (Tensor, np.ndarray)) else list(names)
    assert pq.read_table(record.scores)["sample"].to_pylist() == plain * 3
    assert sum(score_totals(record.scores)["times"].to_pylist()) == 18


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([1, 2, 3], "each of the 6 rows, not 3"),
        ([1, 2, 3, 4, 5, "six"], "all whole numbers .* or all text"),
        ([1.5] * 6, "all whole numbers .* or all text"),
        (torch.ones(6, 2), "all whole numbers .* or all text"),
    ],
)
def test_samples_that_are_no_names_are_refused(names: Sequence[object], message: str) -> None:
    with pytest.raises(BatchError, match=message):
        train(*prepared("linear, layer norm"), names=lambda batch: names)


def test_names_of_another_kind_than_before_are_refused() -> None:
    with pytest.raises(BatchError, match="in every batch"):
        train(*prepared("linear, layer norm"), names=lambda batch: list("abcdef") if batch else list(range(6)))


@pytest.mark.parametrize("options", [{"every": 2}, {"every": "run"}, {"every": ("run", 1)}, {"method": "exact"}])
def test_samples_are_refused_where_a_step_has_no_path_of_its_own(options: dict) -> None:
    with pytest.raises(OptionError, match="every=1"):
        train(*prepared("linear, layer norm"), **options)


@pytest.mark.parametrize("options", [{"every": (1, "run")}, {"method": "first_order"}, {"method": "second_order"}])
def test_samples_go_with_a_path_for_each_step_whatever_else_there_is(options: dict) -> None:
    record = train(*prepared("linear, layer norm"), **options)
    assert sums(record) == pytest.approx(record.values, rel=1e-9)


def test_a_step_that_is_skipped_has_no_scores() -> None:
    model, optimizer, draw = prepared("linear, layer norm")
    torch.manual_seed(11)
    meter = InRunShapley(model, optimizer, goals(draw), NAMES)
    for step in range(3):
        with meter.batch(WHO, samples=list(range(6))):
            loss_of(model(draw())).backward()
        if step != 1:
            optimizer.step()
        optimizer.zero_grad()
    record = meter.finish()
    assert record.manifest["skipped_steps"] == 1
    assert pq.read_table(record.scores)["step"].to_pylist() == [0] * 6 + [1] * 6


def test_scores_are_kept_by_the_record_and_only_where_samples_were_named(tmp_path: Path) -> None:
    without = train(*prepared("linear, layer norm"), names=lambda batch: None)
    assert without.scores is None
    assert "samples" not in without.manifest
    record = train(*prepared("linear, layer norm"))
    loaded = RunRecord.load(record.save(tmp_path / "record"))
    assert loaded.scores == tmp_path / "record" / "scores.parquet"
    assert sums(loaded) == pytest.approx(record.values, rel=1e-9)


@alone
def test_the_memory_for_scores_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    rows, model = 1 << 15, nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, who = torch.randn(rows, 2), torch.arange(rows) % 2
    meter = InRunShapley(
        model, optimizer, lambda m: m(inputs[:9]).square().mean(), NAMES, scores=tmp_path / "s.parquet"
    )

    def peak_of(steps: range) -> int:
        tracemalloc.start()
        for step in steps:
            with meter.batch(who, samples=np.arange(step * rows, (step + 1) * rows)):
                model(inputs).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            assert not meter._scores.pending
            assert meter._scores._writer._rows < ROW_GROUP
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    few, many = peak_of(range(3)), peak_of(range(3, 15))
    assert many < 1.2 * few
    assert meter.finish().manifest["samples"]["scores"] == 15 << 15


def test_a_file_of_scores_that_exists_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    path.write_text("somebody's")
    model = classifier()
    with pytest.raises(RecordError, match=r"scores\.parquet: exists"):
        InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.1), objective(), ["alice"], scores=path)
    assert path.read_text() == "somebody's"
