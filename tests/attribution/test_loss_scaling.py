"""A loss scaler leaves every value as it is; a step that it skips is counted and worth nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.nn import functional

from attribution import InRunShapley, RunRecord
from attribution.errors import BatchError, NonFiniteError
from attribution.scores import score_columns
from tests.attribution.runs import OPTIMIZERS, Batch, batches, classifier, objective

NAMES = ["alice", "bob", "carol"]
SKIPPED = 3


def trained(
    optimizer: str,
    data: Sequence[Batch],
    *,
    scaled: bool = True,
    overflows: int | None = None,
    clipped: bool = False,
    accumulated: int = 1,
    set_to_none: bool = True,
    zeroed_inside: bool = False,
    samples: bool = False,
    growth: int = 1000,
    **options: Any,
) -> RunRecord:
    """The usual loop with a loss scaler, or without; the loss of step `overflows` is too large for its scale."""
    model = classifier()
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    meter = InRunShapley(model, chosen, objective(), NAMES, **options)
    # By powers of two, which changes no digit.
    scale = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=growth, enabled=scaled)
    for step in range(len(data) // accumulated):
        group = data[step * accumulated : (step + 1) * accumulated]
        for place, (inputs, targets, who) in enumerate(group):
            names = [f"{step}.{place}.{row}" for row in range(len(who))] if samples else None
            with meter.batch(who, samples=names):
                if place == 0 and zeroed_inside:
                    chosen.zero_grad(set_to_none=set_to_none)
                loss = functional.cross_entropy(model(inputs), targets) / accumulated
                scale.scale(loss * (torch.inf if step == overflows and place == 0 else 1.0)).backward()
        if clipped:
            scale.unscale_(chosen)
            nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        scale.step(chosen)
        scale.update()
        if not zeroed_inside:
            chosen.zero_grad(set_to_none=set_to_none)
    return meter.finish()


def assert_same(found: RunRecord, expected: RunRecord) -> None:
    for name in ("values", "house", "gap", "improvement"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9, abs=1e-12), name
    assert (found.steps.rows == expected.steps.rows).all()
    assert found.steps.values == pytest.approx(expected.steps.values, rel=1e-9, abs=1e-12)


KINDS = ["SGD, Nesterov, weight decay", "AdamW", "AdamW, fused", "Adagrad, fused"]
LOOPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale growing each step": {"growth": 1},
    "clipped": {"clipped": True},
    "accumulated, clipped": {"accumulated": 2, "clipped": True},
    "zeroed in place": {"set_to_none": False},
    "zeroed in place inside the block": {"set_to_none": False, "zeroed_inside": True, "accumulated": 2},
    "ghost": {"memory": "ghost"},
    "with samples": {"samples": True, "clipped": True},
    "one path for the run": {"every": "run"},
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("optimizer", KINDS)
def test_a_scaled_loss_gives_the_record_of_the_loss_itself(optimizer: str, loop: str) -> None:
    data, options = batches(8, 3), LOOPS[loop]
    found = trained(optimizer, data, **options)
    assert_same(found, trained(optimizer, data, scaled=False, **options))
    assert found.manifest["skipped_steps"] == 0


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("optimizer", KINDS)
def test_a_step_that_the_scaler_skips_is_counted_and_leaves_the_record_of_the_run_without_it(
    optimizer: str, loop: str
) -> None:
    options = LOOPS[loop]
    accumulated = options.get("accumulated", 1)
    data = batches(8 * accumulated, 3)
    rest = data[: SKIPPED * accumulated] + data[(SKIPPED + 1) * accumulated :]
    found = trained(optimizer, data, overflows=SKIPPED, **options)
    assert_same(found, trained(optimizer, rest, scaled=False, **options))
    assert found.complete
    assert (found.manifest["skipped_steps"], found.manifest["optimizer_steps"]) == (1, 7)


def test_the_rows_of_a_skipped_step_have_no_score() -> None:
    data = batches(8, 3)
    for inside in (False, True):
        found = trained("AdamW", data, overflows=SKIPPED, samples=True, zeroed_inside=inside)
        rest = trained("AdamW", data[:SKIPPED] + data[SKIPPED + 1 :], scaled=False, samples=True)
        scores, expected = (pq.read_table(record.scores) for record in (found, rest))
        assert not any(name.startswith(f"{SKIPPED}.") for name in scores["sample"].to_pylist())
        column = score_columns(found.tasks)[0]
        assert scores[column].to_numpy() == pytest.approx(expected[column].to_numpy(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW, fused"])
def test_the_first_step_and_the_last_may_be_skipped(optimizer: str, first: bool) -> None:
    data = batches(4, 3)
    found = trained(optimizer, data, overflows=0 if first else 3, zeroed_inside=True)
    assert_same(found, trained(optimizer, data[1:] if first else data[:-1], scaled=False))
    assert found.manifest["skipped_steps"] == 1


def test_without_a_scaler_it_is_the_step_with_infinite_gradients_that_fails() -> None:
    with pytest.raises(NonFiniteError, match="step 3"):
        trained("AdamW", batches(5, 3), scaled=False, overflows=SKIPPED)


def test_an_infinite_gradient_that_is_made_finite_by_hand_is_not_divided_for_all_that() -> None:
    model = classifier()
    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, chosen, objective(), NAMES)

    def loop() -> None:
        for step, (inputs, targets, who) in enumerate(batches(4, 3)):
            chosen.zero_grad()
            with meter.batch(who):
                loss = functional.cross_entropy(model(inputs), targets)
                (loss * (torch.inf if step == 2 else 1.0)).backward()
            for parameter in model.parameters():
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
            chosen.step()

    with pytest.raises(NonFiniteError, match="step 2"):
        loop()
    assert len(meter.finish().steps) == 2


@pytest.mark.parametrize("replacing", [False, True])
@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW", "AdamW, fused"])
def test_half_precision_under_a_scaler_books_what_single_precision_does(
    optimizer: str, replacing: bool, matrices_large: Callable[[], None]
) -> None:
    torch.set_default_dtype(torch.float32)
    if replacing:
        matrices_large()
    data = batches(8, 3, rows=32)

    def run(half: bool) -> RunRecord:
        model = classifier()
        chosen = OPTIMIZERS[optimizer](list(model.parameters()))
        chosen.param_groups[0]["weight_decay"] = 0.0
        meter = InRunShapley(model, chosen, objective(), NAMES)
        # So large that the first gradients overflow, which end at 65504: the batch is tried again.
        scale = torch.amp.GradScaler("cpu", init_scale=2.0**20, enabled=half)
        for inputs, targets, who in data:
            before = None
            while before is None or scale.get_scale() < before:
                before = scale.get_scale()
                with meter.batch(who), torch.autocast("cpu", torch.float16, enabled=half):
                    scale.scale(functional.cross_entropy(model(inputs).float(), targets)).backward()
                scale.step(chosen)
                scale.update()
                chosen.zero_grad()
        return meter.finish()

    found, expected = run(half=True), run(half=False)
    assert found.manifest["skipped_steps"] > 0
    assert found.manifest["optimizer_steps"] == len(data)
    largest = float(abs(expected.values).max())
    assert found.values == pytest.approx(expected.values, abs=0.01 * largest)  # ten bits a number
    assert abs(found.house).max() < 0.01 * largest


def test_counterfactual_values_of_half_precision_are_refused() -> None:
    torch.set_default_dtype(torch.float32)
    model = classifier()
    chosen = OPTIMIZERS["AdamW"](list(model.parameters()))
    meter = InRunShapley(model, chosen, objective(), NAMES, counterfactual=True)
    inputs, targets, who = batches(8, 3, rows=32)[0]
    with (
        pytest.raises(BatchError, match="float16: train in float32 or bfloat16"),
        meter.batch(who),
        torch.autocast("cpu", torch.float16),
    ):
        functional.cross_entropy(model(inputs).float(), targets).backward()
