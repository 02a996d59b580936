"""Scores of single samples, and values without a buffer for each contributor."""

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
from attribution.errors import BatchError, OptionError, RecordError, UnaccountedGradientError, UnscoredRowsError
from attribution.ghost.factors import KeptBatch
from attribution.scores import ROW_GROUP, score_totals
from tests.alone import alone
from tests.attribution import models
from tests.attribution.oracle import contributor_gradients
from tests.attribution.runs import OPTIMIZERS, batches, classifier, objective

NAMES = ["alice", "bob", "carol", "dave"]
ROWS = 6
WHO = torch.tensor([2, 0, 0, 2, 1, 0])


def vectors() -> Tensor:
    return torch.randn(ROWS, models.WIDTH)


def tokens() -> Tensor:
    return torch.randint(1, models.VOCABULARY, (ROWS, 4))


def padded() -> Tensor:
    found = tokens()
    for row in range(ROWS):
        found[row, row % 4 + 1 :] = 0
    return found


def images() -> Tensor:
    return torch.randn(ROWS, 1, 8, 8)


class Inside(nn.Module):
    """One layer between two others."""

    def __init__(self, layer: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.layer, self.after = nn.Linear(models.WIDTH, models.WIDTH), layer, nn.LazyLinear(3)
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.call(self.layer, torch.tanh(self.before(x))))


def series() -> Tensor:
    return torch.randn(ROWS, 4, models.WIDTH)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "linear, layer norm": (models.Perceptron, vectors),
    "tied embeddings": (models.TiedLanguageModel, tokens),
    "tied embeddings, positions as a parameter": (lambda: models.TiedLanguageModel("parameter"), tokens),
    "padding, borrowed weight": (models.BorrowedHead, padded),
    "convolutions, group norm": (models.Convolutional, images),
    "instance norm, RMS norm": (
        lambda: Inside(
            nn.Sequential(nn.InstanceNorm1d(4, affine=True), nn.RMSNorm(models.WIDTH)), lambda layer, x: layer(x)
        ),
        series,
    ),
    "one-dimensional convolution": (
        lambda: Inside(nn.Conv1d(4, 5, 3, padding=1), lambda layer, x: layer(x)),
        series,
    ),
    "LSTM": (lambda: Inside(nn.LSTM(models.WIDTH, 5, batch_first=True), lambda layer, x: layer(x)[0]), series),
    "GRU, time first": (
        lambda: Inside(nn.GRU(models.WIDTH, 5), lambda layer, x: layer(x.transpose(0, 1))[0].transpose(0, 1)),
        series,
    ),
    "attention": (
        lambda: Inside(nn.MultiheadAttention(models.WIDTH, 2, batch_first=True), lambda layer, x: layer(x, x, x)[0]),
        series,
    ),
    "class token, encoder layer": (models.ClassToken, lambda: torch.randn(ROWS, 4, 4)),
    "repeated, weight norm": (models.Repeated, vectors),
    "flattened": (lambda: models.Flattening(time_major=True), tokens),
    "packed": (models.Packed, padded),
}


def built(kind: str) -> tuple[nn.Module, Callable[[], Tensor]]:
    build, draw = MODELS[kind]
    model = build()
    model(draw())
    return model, draw


def loss_of(outputs: Tensor) -> Tensor:
    return (outputs - 0.5).square().mean() + 0.1 * outputs.cos().sum() / len(outputs)


def goals(draw: Callable[[], Tensor]) -> dict[str, Callable[[nn.Module], Tensor]]:
    one, two = draw(), draw()
    return {"one": lambda m: m(one).square().mean(), "two": lambda m: (m(two) - 0.3).cos().mean()}


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    draw: Callable[[], Tensor],
    *,
    steps: int = 3,
    accumulate: int = 1,
    clip: float | None = None,
    names: Callable[[int], Sequence[object] | None] = lambda batch: list(range(batch * ROWS, (batch + 1) * ROWS)),
    before_step: Callable[[], None] = lambda: None,
    **options: object,
) -> RunRecord:
    torch.manual_seed(11)
    meter = InRunShapley(model, optimizer, goals(draw), NAMES, **options)
    for step in range(steps):
        for part in range(accumulate):
            with meter.batch(WHO.roll(step), samples=names(step * accumulate + part)):
                (loss_of(model(draw())) / accumulate).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        before_step()
        optimizer.step()
        optimizer.zero_grad()
    return meter.finish()


def sums(record: RunRecord) -> np.ndarray:
    """Scores summed by contributor, ``[contributors, tasks]``."""
    totals = score_totals(record.scores)
    who = np.array([record.contributors.index(name) for name in totals["contributor"].to_pylist()])
    found = np.zeros(record.values.shape)
    np.add.at(found, who, np.stack([totals[task].to_numpy() for task in record.tasks], axis=1))
    return found


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


def prepared(kind: str) -> tuple[nn.Module, torch.optim.Optimizer, Callable[[], Tensor]]:
    torch.manual_seed(5)
    model, draw = built(kind)
    return model, torch.optim.SGD(model.parameters(), lr=0.02), draw


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


# On large models one row a contributor is what its part of the gradient comes to less its other rows.


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW", "SGD, Nesterov, weight decay"])
@pytest.mark.parametrize("kind", MODELS)
def test_a_row_that_is_spared_has_the_score_that_it_would_be_computed(
    kind: str, optimizer: str, matrices_large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def counting(batch: KeptBatch, directions: Tensor, wanted: Tensor | None = None) -> Tensor:
        computed.append(len(batch.who) if wanted is None else int(wanted.sum()))
        return scores(batch, directions, wanted)

    scores = KeptBatch.scores
    monkeypatch.setattr(KeptBatch, "scores", counting)
    matrices_large()
    tables = {}
    for worth in (2.0, 1 / 8):
        monkeypatch.setattr("attribution.row_scores.WORTH_SPARING", worth)
        torch.manual_seed(5)
        model, draw = built(kind)
        chosen = OPTIMIZERS[optimizer](list(model.parameters()))
        record = train(model, chosen, draw, accumulate=2, clip=0.7, tolerance=1e-6)
        tables[worth] = pq.read_table(record.scores)
    for task in ("one", "two"):
        found, expected = (tables[worth][task].to_numpy() for worth in (1 / 8, 2.0))
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-8 * np.abs(expected).max())
    # Three contributors have 12 rows a step; the first step computes all of them.
    assert (sum(computed[:6]), sum(computed[6:8]), sum(computed[8:])) == (36, 12, 18)


def test_a_row_without_a_gradient_is_not_the_one_that_is_spared(matrices_large: Callable[[], None]) -> None:
    matrices_large()
    model, optimizer, draw = prepared("linear, layer norm")
    meter = InRunShapley(model, optimizer, goals(draw), NAMES)
    counted = torch.tensor([1.0, 0, 1, 1, 1, 0]).unsqueeze(1)
    for _ in range(3):
        with meter.batch(WHO, samples=list(range(6))):
            (model(draw()).square() * counted).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    scores = pq.read_table(meter.finish().scores)["one"].to_numpy().reshape(3, 6)
    assert ((scores == 0) == [False, True, False, False, False, True]).all()


@pytest.mark.parametrize("batches_named", [(0, 1, 2, 3), (0, 1, 3)])
def test_rows_are_spared_only_in_steps_all_of_whose_rows_are_named(
    batches_named: tuple[int, ...], matrices_large: Callable[[], None]
) -> None:
    plain = train(*prepared("tied embeddings"), steps=2, accumulate=2)
    matrices_large()
    record = train(
        *prepared("tied embeddings"),
        steps=2,
        accumulate=2,
        names=lambda batch: list(range(6 * batch, 6 * batch + 6)) if batch in batches_named else None,
    )
    expected = dict(zip(*(score_totals(plain.scores)[name].to_pylist() for name in ("sample", "one")), strict=True))
    found = score_totals(record.scores)
    assert len(found) == 6 * len(batches_named)
    for sample, score in zip(found["sample"].to_pylist(), found["one"].to_pylist(), strict=True):
        assert score == pytest.approx(expected[sample], rel=1e-6, abs=1e-10)


class Single(nn.Module):
    """Layers that see the only row there is without an axis for rows."""

    def __init__(self, hidden: int, bias: bool) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(models.WIDTH, hidden, bias=bias), nn.Tanh(), nn.Linear(hidden, 3, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.squeeze(0)).unsqueeze(0)


@pytest.mark.filterwarnings("error:An output with one or more elements was resized")
@pytest.mark.parametrize("hidden", [5, 12])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("memory", ["buffered", "ghost"])
def test_a_batch_of_one_row_is_scored_where_layers_see_no_axis_of_rows(memory: str, bias: bool, hidden: int) -> None:
    model = Single(hidden, bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    held_out = torch.randn(1, models.WIDTH)
    meter = InRunShapley(model, optimizer, lambda m: m(held_out).square().mean(), NAMES, memory=memory)
    for step in range(3):
        with meter.batch([step % 2], samples=[step]):
            loss_of(model(torch.randn(1, models.WIDTH))).backward()
        optimizer.step()
        optimizer.zero_grad()
    record = meter.finish()
    assert sums(record) == pytest.approx(record.values, rel=1e-9)
    assert np.abs(record.values[:2]).min() > 1e-6


# memory="ghost"


def buffers(meter: InRunShapley) -> int:
    """Elements in all buffers that hold parts of gradients, momentum or displacements."""
    held = [*meter._gradient.parts._tensors.values(), *meter._steps.divider._memory.values()]
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


def test_a_file_of_scores_that_exists_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    path.write_text("somebody's")
    model = classifier()
    with pytest.raises(RecordError, match=r"scores\.parquet: exists"):
        InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.1), objective(), ["alice"], scores=path)
    assert path.read_text() == "somebody's"


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
