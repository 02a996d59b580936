"""The methods beside the path: second order, the Shapley value by its definition; and task weights after the fact."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from attribution import InRunShapley
from attribution.errors import ObjectiveError, OptionError
from attribution.exact import Game, enumerated, step_values
from ledger.axioms import check_axioms
from tests.attribution import models
from tests.attribution.replay import Replay, against, replay
from tests.attribution.runs import Batch, batches, classifier, drawn, objective, run

NAMES = ["alice", "bob", "carol", "dave"]


def gap_of_one_step(method: str, learning_rate: float) -> float:
    found = replay(lambda p: torch.optim.SGD(p, lr=learning_rate), batches(1, 3), NAMES, method=method)
    return abs(float(found.record.gap[0]))


@pytest.mark.parametrize(("method", "order"), [("first_order", 2), ("second_order", 3)])
def test_the_gap_of_a_taylor_method_falls_with_its_order_when_the_step_is_halved(method: str, order: int) -> None:
    gaps = [gap_of_one_step(method, 0.08 / 2**halving) for halving in range(4)]
    orders = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert orders[-1] == pytest.approx(order, abs=0.05)
    assert orders == pytest.approx([order] * 3, abs=0.4)


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_second_order_is_first_order_less_half_of_the_hessian_between_part_and_whole(optimizer: str) -> None:
    goals = {"one": objective(5), "two": objective(6)}
    model = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3))
    found = replay(optimizer, batches(3, 3), NAMES, goal=goals, model=model, method="second_order")
    for step, start in enumerate(found.starts):
        parts, whole = found.parts[step], found.ends[step] - start
        for task, goal in enumerate(goals.values()):
            hessian = torch.stack(
                torch.func.jacrev(lambda t, g=goal: gradient_of(model, g, t))(start).unbind()  # [P, P]
            )
            expected = against(parts, found.gradient(goal, start) + hessian @ whole / 2)
            assert found.record.steps[step].values[:, task] == pytest.approx(expected[:-1], rel=1e-9, abs=1e-14)
            assert found.record.steps[step].house[task] == pytest.approx(expected[-1], rel=1e-9, abs=1e-14)
        assert found.record.steps[step].nodes == 1


def gradient_of(model: nn.Module, goal: Callable[[nn.Module], Tensor], theta: Tensor) -> Tensor:
    """The gradient ``[P]`` of a goal as a function of the flat parameters, to be differentiated once more."""

    def loss(vector: Tensor) -> Tensor:
        pieces = dict(
            zip(
                [name for name, _ in model.named_parameters()],
                vector.split([p.numel() for p in model.parameters()]),
                strict=True,
            )
        )
        shaped = {name: piece.view_as(model.get_parameter(name)) for name, piece in pieces.items()}
        return goal(lambda x: torch.func.functional_call(model, shaped, (x,)))

    return torch.func.grad(loss)(theta)


def test_second_order_over_several_steps_is_one_expansion_at_their_start() -> None:
    goal = objective()
    model = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3))
    found = replay("SGD, momentum", batches(4, 3), NAMES, goal=goal, model=model, method="second_order", every=4)
    start, whole, parts = found.starts[0], found.ends[-1] - found.starts[0], found.parts.sum(0)
    hessian = torch.func.jacrev(lambda t: gradient_of(model, goal, t))(start)
    expected = against(parts, found.gradient(goal, start) + hessian @ whole / 2)
    assert found.record.values[:, 0] == pytest.approx(expected[:-1], rel=1e-9, abs=1e-14)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.out = nn.LSTM(models.WIDTH, 6, batch_first=True), nn.Linear(6, models.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inside(x)[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.out = nn.MultiheadAttention(models.WIDTH, 2, batch_first=True), nn.Linear(models.WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.inside(x, x, x, need_weights=False)[0]))


def series() -> Tensor:
    return torch.randn(6, 4, models.WIDTH)


def ids() -> Tensor:
    return torch.randint(1, models.VOCABULARY, (6, 4))


TWICE: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "LSTM": (Recurrent, series),
    "attention by one kernel": (models.TiedLanguageModel, ids),
    "MultiheadAttention": (Attending, series),
    "encoder layer": (models.ClassToken, lambda: torch.randn(6, 4, 4)),
    "convolutions": (models.Convolutional, lambda: torch.randn(6, 1, 8, 8)),
}


@pytest.mark.parametrize("kind", TWICE)
def test_second_order_works_on_the_models_that_people_have(kind: str) -> None:
    build, draw = TWICE[kind]
    model, held_out = build(), draw()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

    def goal(m: nn.Module) -> Tensor:
        return m(held_out).square().mean()

    gaps = {}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inputs = draw()
    for method in ("first_order", "second_order"):
        model.load_state_dict(state)
        meter = InRunShapley(model, optimizer, goal, NAMES, method=method)
        with meter.batch([0, 1, 2, 0, 1, 2]):
            model(inputs).square().mean().backward()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            optimizer.step()
        optimizer.zero_grad()
        gaps[method] = abs(meter.finish().gap[0])
    assert torch.backends.mkldnn.enabled
    assert gaps["second_order"] < 0.3 * gaps["first_order"]


class OnceOnly(torch.autograd.Function):
    """Squares, as a kernel would whose backward pass nobody wrote a derivative for."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(context, gradient):
        return 2 * context.saved_tensors[0] * gradient


def test_a_model_that_cannot_be_differentiated_twice_is_refused_by_name_and_the_run_ends() -> None:
    model = classifier()
    x, y = drawn(20, 3)
    goals = {"plain": objective(), "fused": lambda m: functional.cross_entropy(OnceOnly.apply(m(x)), y)}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, goals, NAMES, method="second_order")
    inputs, targets, who = batches(1, 3)[0]
    with meter.batch(who):
        functional.cross_entropy(model(inputs), targets).backward()
    with pytest.raises(ObjectiveError, match=r"'fused' cannot be differentiated twice .* method='path'"):
        optimizer.step()
    record = meter.finish()
    assert not record.complete
    assert "fused" in record.stopped
    assert len(record.steps) == 0


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("optimizer", ["SGD, weight decay", "SGD, momentum", "AdamW"])
def test_exact_is_the_shapley_value_of_each_paths_game_the_house_included(optimizer: str, every: int) -> None:
    goals = {"one": objective(5), "two": objective(6)}
    found = replay(optimizer, batches(3, 3), NAMES, goal=goals, method="exact", every=every)
    losses_at = found.losses_at(*goals.values())
    for row, first in zip(found.record.steps, range(0, 3, every), strict=True):
        parts = found.parts[first : first + every].sum(0)
        expected = step_values(losses_at, found.starts[first], parts)
        assert np.vstack([row.values, row.house]) == pytest.approx(expected, rel=1e-9, abs=1e-14)
    assert found.record.values[3] == pytest.approx([0, 0], abs=0)  # dave supplied nothing
    assert found.record.gap == pytest.approx([0, 0], abs=1e-12)
    assert found.record.standard_errors is None


CROWD = [f"contributor {number}" for number in range(14)]


def crowded(permutations: int, seed: int = 0, **options: object) -> Replay:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3))
    inputs, targets = drawn(26, 1)
    data: list[Batch] = [(inputs, targets, torch.arange(26) % 13)]
    options = {"method": "exact", "permutations": permutations, "seed": seed, **options}
    return replay(lambda p: torch.optim.SGD(p, lr=4.0, weight_decay=0.01), data, CROWD, model=model, **options)


@pytest.fixture(scope="module")
def crowd_truth() -> np.ndarray:
    """Shapley values of 13 contributors and the house over all 2¹⁴ coalitions, many models at a time."""
    torch.set_default_dtype(torch.float64)
    found = crowded(4)
    parts = found.parts[0][[*range(13), 14]]
    x, y = drawn(40, 77)

    def evaluate(masks: np.ndarray) -> np.ndarray:
        theta = found.starts[0] + torch.from_numpy(masks).double() @ parts
        a, b, c, d = theta.split([18, 3, 9, 3], dim=1)
        hidden = torch.tanh(torch.einsum("ni, moi -> mno", x, a.view(-1, 3, 6)) + b[:, None])
        logits = torch.einsum("mni, moi -> mno", hidden, c.view(-1, 3, 3)) + d[:, None]
        losses = functional.cross_entropy(logits.transpose(1, 2), y.expand(len(theta), -1), reduction="none").mean(1)
        return -losses.numpy()

    values = enumerated(Game(evaluate, 14))
    torch.set_default_dtype(torch.float32)
    return values


def test_beyond_twelve_who_moved_the_model_permutations_are_sampled_and_cover_the_truth(
    crowd_truth: np.ndarray,
) -> None:
    record = crowded(128).record
    sampled, errors = record.values[:13, 0], record.standard_errors[:13, 0]
    off = np.abs(sampled - crowd_truth[:13]) / errors
    assert (off < 4).all()
    assert (off < 2).mean() > 0.8
    assert record.house[0] == pytest.approx(crowd_truth[13], abs=4 * errors.max())
    assert record.gap == pytest.approx([0], abs=1e-12)
    assert record.values[13, 0] == record.standard_errors[13, 0] == 0  # supplied nothing
    assert record.manifest["method"]["permutations"] == 128


def test_standard_errors_shrink_with_the_root_of_the_permutations() -> None:
    few, many = (crowded(permutations).record.standard_errors[:13, 0] for permutations in (32, 512))
    assert np.sqrt((few**2).mean() / (many**2).mean()) == pytest.approx(4, rel=0.25)


def test_sampled_values_repeat_by_their_seed_and_only_by_it() -> None:
    one, same, other = (crowded(8, seed).record.values for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_standard_errors_of_several_paths_add_up_in_squares() -> None:
    torch.manual_seed(5)
    inputs, targets = drawn(26, 1)
    data = [(inputs, targets, torch.arange(26) % 13)] * 2
    records = []
    for part in (data[:1], data):
        model = classifier()
        records.append(run("SGD", part, CROWD, model=model, method="exact", permutations=16))
    one, two = (record.standard_errors for record in records)
    assert (two[:13] > one[:13]).all()


def test_twelve_contributors_without_a_house_are_enumerated() -> None:
    inputs, targets = drawn(24, 1)
    names = CROWD[:12]
    model = nn.Linear(6, 3)
    record = run("SGD", [(inputs, targets, torch.arange(24) % 12)], names, model=model, method="exact")
    assert record.standard_errors is None
    assert record.steps[0].nodes == 1 << 12


@pytest.mark.parametrize("permutations", [2, 5])
def test_permutations_that_do_not_come_in_pairs_are_refused(permutations: int) -> None:
    with pytest.raises(OptionError, match="pairs"):
        run("SGD", batches(1, 3), NAMES, method="exact", permutations=permutations)


@pytest.mark.parametrize("method", ["first_order", "second_order", "path", "exact"])
def test_the_ledgers_axioms_hold_of_what_every_method_leaves(method: str) -> None:
    record = run("AdamW", batches(3, 3), NAMES, method=method, goal={"one": objective(5), "two": objective(6)})
    findings = check_axioms(record)
    assert all(finding.ok for finding in findings), findings
    assert record.manifest["method"]["name"] == method


@pytest.mark.parametrize("method", ["path", "first_order", "second_order", "exact"])
def test_task_weights_after_the_fact_are_those_of_metering_with_them(method: str) -> None:
    goals = {"one": objective(5), "two": objective(6)}
    options = {"nodes": 4} if method == "path" else {}
    plain, weighted = (
        run("AdamW", batches(6, 3), NAMES, goal=goals, method=method, task_weights=weights, **options)
        for weights in (None, {"one": 0.9, "two": 0.1})
    )
    later = plain.with_weights({"one": 0.9, "two": 0.1})
    assert (later.weights == weighted.weights).all()
    assert (later.values == weighted.values).all()
    assert later.values @ later.weights == pytest.approx(weighted.values @ weighted.weights, rel=1e-12)
    assert (later.gap == weighted.gap).all()
    assert later.manifest["reweighted"]["from"] == plain.identity
