"""Rows that are not computed, or have no axis: on large models one a contributor is what its others leave."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from attribution import InRunShapley
from attribution.errors import UnscoredRowsError
from attribution.ghost.factors import KeptBatch
from attribution.ghost.gradients import DividedGradient
from attribution.scores import score_totals
from attribution.step import StepDivider
from tests.attribution import models
from tests.attribution.runs import OPTIMIZERS
from tests.attribution.scored import MODELS, NAMES, WHO, built, goals, loss_of, prepared, sums, train


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


@pytest.mark.parametrize("first", [0, 2])
def test_what_no_rule_sees_is_not_hidden_in_a_row_that_is_spared(
    first: int, matrices_large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrices_large()
    # Both look at what is large in turn only.
    monkeypatch.setattr(DividedGradient, "verify", lambda *_: None)
    monkeypatch.setattr(StepDivider, "_reconcile", lambda *_: None)
    model, optimizer, draw = prepared("linear, layer norm")
    meter = InRunShapley(model, optimizer, goals(draw), NAMES)

    def loop() -> None:
        for step in range(4):
            with meter.batch(WHO, samples=list(range(6))):
                extra = 0.5 * model.net[0].weight.square().sum() if step >= first else 0.0
                (loss_of(model(draw())) + extra).backward()
            optimizer.step()
            optimizer.zero_grad()

    with pytest.raises(UnscoredRowsError), meter:
        loop()
    assert meter._steps.count == first


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
