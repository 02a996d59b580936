"""The meter in a training loop: it disturbs nothing, books everything, and refuses what it cannot do."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional

from attribution import InRunShapley, Objective, RunRecord
from attribution.errors import (
    BatchError,
    NonFiniteError,
    ObjectiveError,
    OptionError,
    ReconciliationError,
    UnaccountedGradientError,
    UnsupportedOptimizerError,
)
from attribution.ghost.trees import tensors_in
from tests.attribution import models
from tests.attribution.runs import OPTIMIZERS, batches, classifier, drawn, objective, run

NAMES = ["alice", "bob", "carol"]


def train(model, optimizer, data, meter=None):
    """The same loop with and without a meter; returns losses and gradients of every step."""
    seen = []
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(data))
    for inputs, targets, who in data:
        if meter is None:
            loss = functional.cross_entropy(model(inputs), targets)
            loss.backward()
        else:
            with meter.batch(who):
                loss = functional.cross_entropy(model(inputs), targets)
                loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        seen.append((loss.item(), [p.grad.clone() for p in model.parameters() if p.requires_grad]))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_training_is_bit_for_bit_the_one_without_the_meter(optimizer: str, dtype: torch.dtype) -> None:
    torch.set_default_dtype(dtype)

    def build():
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(6, 10), nn.Dropout(0.3), nn.LayerNorm(10), nn.Tanh(), nn.Linear(10, 3))

    data = batches(8, 3)
    plain, metered = build(), build()
    torch.manual_seed(9)
    expected = train(plain, OPTIMIZERS[optimizer](list(plain.parameters())), data)
    chosen = OPTIMIZERS[optimizer](list(metered.parameters()))
    torch.manual_seed(9)
    found = train(metered, chosen, data, InRunShapley(metered, chosen, objective(), NAMES))
    for (loss, gradients), (metered_loss, metered_gradients) in zip(expected, found, strict=True):
        assert loss == metered_loss
        assert all(torch.equal(a, b) for a, b in zip(gradients, metered_gradients, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), metered.parameters(), strict=True))


def test_a_language_model_trains_bit_for_bit_the_same_with_its_positions_expanded() -> None:
    torch.set_default_dtype(torch.float32)
    ids = [torch.randint(1, models.VOCABULARY, (6, 5)) for _ in range(5)]

    def trained(meter_it: bool) -> list[torch.Tensor]:
        torch.manual_seed(4)
        model = models.TiedLanguageModel()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        meter = InRunShapley(model, optimizer, lambda m: m(ids[0]).square().mean(), NAMES) if meter_it else None
        for batch in ids:
            with meter.batch([0, 1, 2, 0, 1, 2]) if meter else warnings.catch_warnings():
                model(batch).logsumexp(-1).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return [p.detach().clone() for p in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(trained(False), trained(True), strict=True))


def test_the_losses_are_those_of_the_model_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    goal = objective()
    model.eval()
    before = goal(model).item()
    model.train()
    record = run("SGD", batches(3, 3), NAMES, model=model, goal=goal)
    model.eval()
    assert record.steps[0].loss_before[0] == before
    assert record.steps[-1].loss_after[0] == goal(model).item()


def test_no_hook_and_no_change_of_mode_is_left_behind() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 3))
    model[0].eval()
    record = run("AdamW", batches(3, 3), NAMES, model=model)
    assert len(record.steps) == 3
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    assert [m.training for m in model.modules()] == [True, False, True, True]
    assert all(not p._backward_hooks for p in model.parameters())


@pytest.mark.parametrize("mode", ["plain", "large layers", "samples", "large layers, samples", "ghost"])
@pytest.mark.parametrize("build", [models.TiedLanguageModel, models.BorrowedHead, models.Transposing])
def test_no_tensor_of_a_batch_outlives_its_step(
    build: type[nn.Module], mode: str, matrices_large: Callable[[], None]
) -> None:
    if "large" in mode:
        matrices_large()
    activations: list[StorageWeakRef] = []

    def note(module: nn.Module, arguments: object, output: object) -> None:
        if module.training:
            activations.extend(StorageWeakRef(t.untyped_storage()) for t in tensors_in(output) if t.requires_grad)

    def living() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    model, ids = build(), torch.randint(1, models.VOCABULARY, (6, 5))
    for module in model.modules():
        module.register_forward_hook(note)
    optimizer = torch.optim.AdamW(model.parameters())
    memory = "ghost" if mode == "ghost" else "buffered"
    meter = InRunShapley(model, optimizer, lambda m: m(ids).square().mean(), NAMES, memory=memory)
    counts = []
    batches_of = ([0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 2], [1] * 6, [2, 1, 0, 2, 1, 0], [1] * 6, [0, 1, 2, 0, 1, 2])
    for step, who in enumerate(batches_of):
        with meter.batch(torch.tensor(who), samples=range(6) if "samples" in mode else None):
            model(ids).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step in (1, len(batches_of) - 1):
            counts.append(living())
        assert activations
        assert all(storage.expired() for storage in activations)
        activations.clear()
    meter.finish()
    assert counts[0] == counts[1]


ORDERS = ("zeroed first", "zeroed between the passes", "zeroed between the passes, in place")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("optimizer", ["SGD, momentum", "SGD, Nesterov, foreach", "AdamW", "Adagrad, fused"])
def test_passes_inside_a_closure_give_the_record_of_the_plain_loop(optimizer: str, order: str) -> None:
    nesterov = partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True, foreach=True)
    build = {**OPTIMIZERS, "SGD, Nesterov, foreach": nesterov}[optimizer]

    def recorded(inside: bool) -> RunRecord:
        model = classifier()
        chosen = build(list(model.parameters()))
        meter = InRunShapley(model, chosen, objective(), NAMES)
        for inputs, targets, who in batches(6, 3):

            def closure(
                inputs: torch.Tensor = inputs, targets: torch.Tensor = targets, who: torch.Tensor = who
            ) -> torch.Tensor:
                if order == "zeroed first":
                    chosen.zero_grad()
                with meter.batch(who):
                    loss = functional.cross_entropy(model(inputs), targets)
                    if order != "zeroed first":
                        chosen.zero_grad(set_to_none="in place" not in order)
                    loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 0.3)
                return loss

            for parameter in model.parameters():  # left over from something else, and zeroed before it counts
                parameter.grad = torch.full_like(parameter, torch.nan)
            if inside:
                assert chosen.step(closure) > 0
            else:
                closure()
                chosen.step()
        return meter.finish()

    found, plain = recorded(True), recorded(False)
    assert found.values == pytest.approx(plain.values, rel=1e-9)
    assert found.house == pytest.approx(plain.house, rel=1e-9, abs=1e-12)
    assert (found.steps.rows == plain.steps.rows).all()
    assert found.manifest["skipped_steps"] == 0


def test_a_closure_that_gives_up_leaves_the_model_where_it_was() -> None:
    model = classifier()
    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, chosen, objective(), NAMES)
    before = [p.detach().clone() for p in model.parameters()]

    def closure() -> torch.Tensor:
        (model(batches(1, 3)[0][0]).sum() * torch.inf).backward()
        return torch.zeros(())

    with pytest.raises(NonFiniteError):
        chosen.step(closure=closure)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not meter.finish().complete


def test_finishing_takes_the_hooks_off_the_optimizer() -> None:
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with InRunShapley(model, optimizer, objective(), NAMES):
        assert optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_step_pre_hooks


def test_batches_accumulated_before_a_step_are_worth_what_one_batch_is() -> None:
    data = batches(6, 3)
    whole = run("SGD, momentum", data, NAMES, nodes=3)
    model = classifier()
    optimizer = OPTIMIZERS["SGD, momentum"](list(model.parameters()))
    meter = InRunShapley(model, optimizer, objective(), NAMES, nodes=3)
    for inputs, targets, who in data:
        for part in (slice(0, 3), slice(3, None)):
            with meter.batch(who[part]):
                loss = functional.cross_entropy(model(inputs[part]), targets[part], reduction="sum") / len(inputs)
                loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    record = meter.finish()
    assert record.values == pytest.approx(whole.values, rel=1e-9)
    assert (record.steps.rows == whole.steps.rows).all()


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_clipping_by_norm_scales_every_part_alike_and_leaves_the_house_nothing(optimizer: str) -> None:
    record = run(optimizer, batches(5, 3), NAMES, before_step=lambda m: nn.utils.clip_grad_norm_(m.parameters(), 0.05))
    assert record.house == pytest.approx([0.0], abs=1e-12)
    assert abs(record.values).max() > 1e-4


def test_noise_added_to_the_gradients_is_the_house_s() -> None:
    model = classifier()
    noise = [torch.randn_like(p) * 0.3 for p in model.parameters()]
    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, chosen, objective(), NAMES, keep_displacements=True)
    inputs, targets, who = batches(1, 3)[0]
    with meter.batch(who):
        functional.cross_entropy(model(inputs), targets).backward()
    clean = [p.grad.clone() for p in model.parameters()]
    for parameter, extra in zip(model.parameters(), noise, strict=True):
        parameter.grad.add_(extra)
    chosen.step()
    parts = meter.displacements
    flat_noise = torch.cat([n.reshape(-1) for n in noise])
    assert parts[-1] == pytest.approx(-0.1 * flat_noise, abs=1e-12)
    assert parts[:-1].sum(0) == pytest.approx(-0.1 * torch.cat([g.reshape(-1) for g in clean]), abs=1e-12)
    meter.finish()


def test_clipping_by_value_is_the_house_s() -> None:
    model = classifier()
    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, chosen, objective(), NAMES, keep_displacements=True)
    inputs, targets, who = batches(1, 3)[0]
    with meter.batch(who):
        functional.cross_entropy(model(inputs), targets).backward()
    clean = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
    nn.utils.clip_grad_value_(model.parameters(), float(clean.abs().median()))
    chosen.step()
    parts = meter.displacements
    assert parts[:-1].sum(0) == pytest.approx(-0.1 * clean, abs=1e-12)
    meter.finish()


def test_weight_decay_is_the_house_s_and_without_rows_it_is_all_there_is() -> None:
    model = classifier()
    chosen = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    meter = InRunShapley(model, chosen, objective(), NAMES, nodes=6)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    with pytest.warns(UserWarning, match="booked to the house"):
        chosen.step()
    record = meter.finish()
    assert (record.values == 0).all()
    assert record.house == pytest.approx(record.improvement, rel=1e-6)
    assert abs(record.house[0]) > 1e-4


def test_parameters_edited_by_hand_between_steps_move_the_house_only() -> None:
    model = classifier()
    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, chosen, objective(), NAMES, nodes=5)
    for step, (inputs, targets, who) in enumerate(batches(3, 3)):
        if step == 1:
            with torch.no_grad():
                model[0].weight.mul_(1.5)
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        chosen.step()
        chosen.zero_grad()
    record = meter.finish()
    assert len(record.steps) == 4
    edit = record.steps[1]
    assert (edit.values == 0).all()
    assert edit.house == pytest.approx(edit.loss_before - edit.loss_after)
    assert record.gap == pytest.approx([0.0], abs=1e-8)


def test_gradients_from_outside_the_batches_are_the_house_s() -> None:
    model = classifier()
    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, chosen, objective(), NAMES, keep_displacements=True)
    for inputs, targets, who in batches(3, 3):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        clean = torch.cat([p.grad.reshape(-1).clone() for p in model.parameters()])
        (0.1 * sum(p.square().sum() for p in model.parameters())).backward()
        start = torch.cat([p.detach().reshape(-1).clone() for p in model.parameters()])
        chosen.step()
        chosen.zero_grad()
        parts = meter.displacements
        assert parts[:-1].sum(0) == pytest.approx(-0.1 * clean, abs=1e-12)
        assert parts[-1] == pytest.approx(-0.1 * 0.2 * start, abs=1e-12)
    meter.finish()


def test_an_optimizer_with_a_past_leaves_its_momentum_to_the_house() -> None:
    model = classifier()
    chosen = torch.optim.AdamW(model.parameters(), lr=0.05)
    data = batches(6, 3)
    for inputs, targets, _ in data[:3]:
        functional.cross_entropy(model(inputs), targets).backward()
        chosen.step()
        chosen.zero_grad()
    meter = InRunShapley(model, chosen, objective(), NAMES, nodes=6)
    for inputs, targets, who in data[3:]:
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        chosen.step()
        chosen.zero_grad()
    record = meter.finish()
    assert abs(record.house[0]) > 1e-5
    assert record.gap == pytest.approx([0.0], abs=1e-8)


@pytest.mark.parametrize("where", ["loss", "gradient", "objective"])
def test_what_is_not_finite_stops_the_run_and_leaves_the_record_so_far(where: str, tmp_path) -> None:
    model = classifier()
    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    broken = [False]

    def goal(m: nn.Module) -> torch.Tensor:
        return objective()(m) * (torch.nan if broken[0] else 1.0)

    meter = InRunShapley(model, chosen, goal, NAMES)

    def loop() -> None:
        for step, (inputs, targets, who) in enumerate(batches(4, 3)):
            with meter.batch(who):
                scale = torch.inf if step == 2 and where == "loss" else 1.0
                (functional.cross_entropy(model(inputs), targets) * scale).backward()
            if step == 2:
                broken[0] = where == "objective"
                if where == "gradient":
                    model[0].weight.grad[0, 0] = torch.nan
            chosen.step()
            chosen.zero_grad()

    with pytest.raises(NonFiniteError, match="step 2"):
        loop()
    record = meter.finish()
    assert not record.complete
    assert "step 2" in record.stopped
    assert len(record.steps) == 2
    assert type(record).load(record.save(tmp_path / "record")).values == pytest.approx(record.values)


@pytest.mark.parametrize(
    ("inside", "message"), [("forward", r"backward\(\) inside"), ("backward", "forward pass inside")]
)
def test_half_a_batch_inside_the_block_is_refused_and_not_booked_to_the_house(inside: str, message: str) -> None:
    model = classifier()
    meter = InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.1), objective(), NAMES)
    inputs, targets, who = batches(1, 3)[0]
    loss = functional.cross_entropy(model(inputs), targets)
    half = {"forward": lambda: model(inputs), "backward": loss.backward}[inside]
    with pytest.raises(BatchError, match=message), meter.batch(who):
        half()
    meter.close()


@pytest.mark.parametrize("rows", [1, 4])
def test_a_batch_of_one_contributor_s_rows_is_held_to_the_same_rules(rows: int) -> None:
    model = classifier()
    meter = InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.1), objective(), NAMES)
    inputs, targets = drawn(rows, 1)
    with pytest.raises(BatchError, match=f"axis of {rows + 3} rows"), meter.batch([1] * (rows + 3)):
        functional.cross_entropy(model(inputs), targets).backward()
    model.zero_grad()
    with pytest.raises(UnaccountedGradientError), meter.batch([1] * rows):
        (functional.cross_entropy(model(inputs), targets) + model[0].weight.square().sum()).backward()
    model.zero_grad()
    with meter.batch([1] * rows):
        functional.cross_entropy(model(inputs), targets).backward()
    for place in meter._space.places:
        parts = place.of(meter._gradient.whole())
        assert torch.allclose(parts[1], place.parameter.grad.reshape(-1))
        assert not parts[[0, 2, 3]].any()
    meter.close()


def test_a_run_that_an_error_ended_is_partial() -> None:
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, objective(), NAMES)

    def loop() -> None:
        with meter:
            inputs, targets, who = batches(1, 3)[0]
            with meter.batch(who):
                functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        loop()
    record = meter.finish()
    assert (record.complete, len(record.steps)) == (False, 1)
    assert "the disk is full" in record.stopped


def test_an_optimizer_without_a_rule_is_refused_by_name() -> None:
    model = classifier()
    with pytest.raises(UnsupportedOptimizerError, match="Adafactor"):
        InRunShapley(model, torch.optim.Adafactor(model.parameters()), objective(), NAMES)


def test_an_optimizer_that_does_something_else_fails_the_reconciliation_by_parameter() -> None:
    model = classifier()
    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, chosen, objective(), NAMES)
    inputs, targets, who = batches(1, 3)[0]
    with meter.batch(who):
        functional.cross_entropy(model(inputs), targets).backward()

    def also_shrink(*_: object) -> None:
        with torch.no_grad():
            model[2].weight.mul_(0.9)

    chosen._optimizer_step_post_hooks[-1] = also_shrink
    chosen._optimizer_step_post_hooks.move_to_end(-1, last=False)
    with pytest.raises(ReconciliationError, match=r"'2\.weight'"):
        chosen.step()
    assert not meter.finish().complete


@pytest.mark.parametrize(
    ("who", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), "row 3"),
        (torch.tensor([0, -1]), "row 1"),
        (torch.tensor([0.0, 1.0]), "LongTensor"),
        (torch.tensor([[0, 1]]), "LongTensor"),
        (torch.tensor([], dtype=torch.long), "LongTensor"),
        (torch.tensor([0, 1, 2]), "axis of 3 rows"),
    ],
)
def test_contributor_indices_that_do_not_fit_are_refused(who: torch.Tensor, message: str) -> None:
    model = classifier()
    meter = InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.1), objective(), NAMES)
    x, y = drawn(8, 0)
    with pytest.raises(BatchError, match=message), meter.batch(who):
        functional.cross_entropy(model(x), y).backward()


@pytest.mark.parametrize(
    "options",
    [
        {"contributors": []},
        {"contributors": ["a", "a"]},
        {"contributors": ["a", ""]},
        {"method": "magic"},
        {"tolerance": 0},
        {"nodes": 1},
        {"nodes": 3, "method": "first_order"},
        {"task_weights": {"objective": 0.5}},
        {"task_weights": {"other": 1.0}},
        {"details": {"method": "mine"}},
        {"details": {"totals": 3}},
        {"details": {"seeds": {"torch": 2**60}}},
        {"details": {"learning_rate": float("nan")}},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict) -> None:
    model = classifier()
    with pytest.raises(OptionError):
        InRunShapley(
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            objective(),
            options.pop("contributors", NAMES),
            **options,
        )


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        (lambda m: 3.0, "scalar tensor"),
        (lambda m: m(drawn(4, 0)[0]), "scalar tensor"),
        (lambda m: m(drawn(4, 0)[0]).mean().detach(), "no_grad"),
    ],
)
def test_an_objective_that_is_no_loss_is_refused(goal: object, message: str) -> None:
    with pytest.raises(ObjectiveError, match=message):
        run("SGD", batches(1, 3), NAMES, goal=goal)


def test_a_parameter_that_the_model_does_not_own_is_refused() -> None:
    model = classifier()
    temperature = nn.Parameter(torch.ones(()))
    with pytest.raises(OptionError, match="does not own"):
        InRunShapley(model, torch.optim.SGD([*model.parameters(), temperature], lr=0.1), objective(), NAMES)


def test_values_and_losses_can_be_watched_while_the_run_goes_on() -> None:
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, objective(), NAMES)
    assert np.isnan(meter.losses).all()
    for inputs, targets, who in batches(3, 3):
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        seen = meter.values, meter.losses
    record = meter.finish()
    assert seen[0] == pytest.approx(record.values)
    assert (seen[1] == record.steps[-1].loss_after).all()


def test_an_objective_in_chunks_is_the_whole_objective() -> None:
    x, y = drawn(40, 77)
    chunks = [(x[i : i + 7], y[i : i + 7]) for i in range(0, 40, 7)]
    chunked = Objective(lambda m, batch: functional.cross_entropy(m(batch[0]), batch[1]), chunks)
    one, other = (run("AdamW", batches(5, 3), NAMES, goal=goal) for goal in (objective(), chunked))
    assert one.values == pytest.approx(other.values, rel=1e-9)
    assert one.improvement == pytest.approx(other.improvement, rel=1e-9)


def test_the_objective_disturbs_neither_random_numbers_nor_gradients_nor_buffers() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 3)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.layer(x)

    model = Counting()
    x, y = drawn(8, 0)

    def goal(m: nn.Module) -> torch.Tensor:
        noise = torch.randn(8, 6) * 0 + np.random.rand() * 0
        return functional.cross_entropy(m(x + noise), y)

    chosen = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, chosen, goal, NAMES)
    np.random.seed(0)
    torch.manual_seed(0)
    with meter.batch(torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])):
        functional.cross_entropy(model(x), y).backward()
    gradient = model.layer.weight.grad.clone()
    chosen.step()
    assert torch.equal(model.layer.weight.grad, gradient)
    assert model.calls == 1
    drawn_after = (torch.rand(()).item(), np.random.rand())
    torch.manual_seed(0)
    np.random.seed(0)
    assert drawn_after == (torch.rand(()).item(), np.random.rand())
    meter.finish()


def test_the_default_tolerance_is_met() -> None:
    record = run("SGD", batches(60, 3), NAMES)
    assert abs(record.gap) <= 1e-3 * abs(record.improvement)
    assert set(record.steps.nodes.tolist()) - {2}  # some steps needed more than the ends


def test_first_order_is_the_gradient_at_the_start_times_the_displacement() -> None:
    model = classifier()
    chosen = torch.optim.AdamW(model.parameters(), lr=0.05)
    goal = objective()
    meter = InRunShapley(model, chosen, goal, NAMES, method="first_order", keep_displacements=True)
    inputs, targets, who = batches(1, 3)[0]
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(goal(model), list(model.parameters()))])
    with meter.batch(who):
        functional.cross_entropy(model(inputs), targets).backward()
    chosen.step()
    parts = meter.displacements
    record = meter.finish()
    assert record.values[:, 0] == pytest.approx(-(parts[:-1] @ gradient).numpy())
    assert record.steps[0].nodes == 1


def test_the_record_says_what_was_run() -> None:
    details = {"seeds": {"torch": 3}, "data": {"alice": ["ab" * 32]}}
    record = run("AdamW", batches(2, 3), NAMES, details=details)
    manifest = record.manifest
    assert manifest["optimizer"]["class"] == "AdamW"
    assert manifest["optimizer"]["groups"][0]["lr"] == 0.01
    assert manifest["method"] == {"name": "path", "tolerance": 1e-3, "nodes": None, "every": 1, "memory": "buffered"}
    assert manifest["seeds"] == {"torch": 3}
    assert manifest["data"] == {"alice": ["ab" * 32]}
    assert manifest["parameters"]["initial"] != manifest["parameters"]["final"]
    assert manifest["versions"]["torch"] == metadata.version("torch")  # without what __version__ says of the build
    assert manifest["totals"]["values"] == record.values.tolist()
