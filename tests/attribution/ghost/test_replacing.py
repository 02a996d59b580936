"""Large layers' gradients are the sum of their parts: the training is the one without the meter, and mistakes show."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from attribution import InRunShapley
from attribution.errors import BatchError, ReconciliationError, UnaccountedGradientError
from attribution.ghost import rule
from attribution.ghost.linear import linear
from tests.attribution.ghost.metered import WHO, assert_equal, parts_of, tokens, vectors
from tests.attribution.models import CLASSES, WIDTH, ClassToken, Convolutional, Perceptron, Repeated, TiedLanguageModel
from tests.attribution.oracle import contributor_gradients


@pytest.fixture
def large(matrices_large: Callable[[], None]) -> None:
    """Throughout a test."""
    matrices_large()


class Blocks(nn.Module):
    """Blocks with activations in place, recomputed in the backward pass or not; `inside` is what they compute."""

    def __init__(self, reentrant: bool | None = None, depth: int = 3) -> None:
        super().__init__()
        block = [nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.ReLU(inplace=True), nn.Linear(WIDTH, WIDTH)]
        self.blocks = nn.ModuleList([nn.Sequential(*(type(m)(*_sizes(m)) for m in block)) for _ in range(depth)])
        self.first, self.out, self.reentrant = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES), reentrant
        self.inside: list[StorageWeakRef] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            step = self._observed(block)
            x = (
                step(x)
                if self.reentrant is None or not self.training
                else checkpoint(step, x, use_reentrant=self.reentrant)
            )
        return self.out(x)

    def _observed(self, block: nn.Sequential) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            for layer in list(block)[:-1]:
                x = layer(x)
                self.inside.append(StorageWeakRef(x.untyped_storage()))
            return block[-1](x)

        return run


def _sizes(module: nn.Module) -> tuple[object, ...]:
    return (True,) if isinstance(module, nn.ReLU) else (WIDTH,) if isinstance(module, nn.LayerNorm) else (WIDTH, WIDTH)


def once(model: nn.Module, inputs: Tensor) -> None:
    model(inputs).cos().mean().backward()


def twice_backward(model: nn.Module, inputs: Tensor) -> None:
    loss = model(inputs).cos().mean()
    loss.backward(retain_graph=True)
    loss.backward()


def two_terms(model: nn.Module, inputs: Tensor) -> None:
    outputs = model(inputs)
    outputs.cos().mean().backward(retain_graph=True)
    outputs.square().mean().backward()


def two_calls(model: nn.Module, inputs: Tensor) -> None:
    (model(inputs).cos().mean() + model(inputs.flip(-1)).square().mean()).backward()


def without_gradient_too(model: nn.Module, inputs: Tensor) -> None:
    with torch.no_grad():
        target = model(inputs)
    (model(inputs) - 0.5 * target).square().mean().backward()


LOOPS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], Callable[[nn.Module, Tensor], None]]] = {
    "mlp": (Perceptron, vectors, once),
    "two backward passes": (Perceptron, vectors, twice_backward),
    "a loss of two terms, one after the other": (TiedLanguageModel, tokens, two_terms),
    "two calls of the model": (Perceptron, vectors, two_calls),
    "a pass without gradients": (Perceptron, vectors, without_gradient_too),
    "tied": (TiedLanguageModel, tokens, once),
    "several calls of a layer": (Repeated, vectors, once),
    "images": (Convolutional, lambda: torch.randn(6, 1, 8, 8), once),
    "attention": (ClassToken, lambda: torch.randn(6, 4, 4), once),
    "activations in place": (Blocks, vectors, once),
    "checkpointed": (lambda: Blocks(False), vectors, once),
    "checkpointed, reentrant": (lambda: Blocks(True), vectors, once),
    "checkpointed, two backward passes": (lambda: Blocks(False), vectors, two_calls),
}


def trained(case: str, metered: bool) -> tuple[nn.Module, list[int]]:
    """The model after five steps of accumulation and clipping, and how often a gradient was accumulated."""
    build, draw, passes = LOOPS[case]
    torch.manual_seed(5)
    model, accumulated = build(), [0]
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: accumulated.__setitem__(0, accumulated[0] + 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    held_out = draw()
    meter = InRunShapley(model, optimizer, lambda m: m(held_out).square().mean(), [*"abcd"]) if metered else None
    for step in range(5):
        for _ in range(1 + step % 2):
            inputs = draw()
            if meter is None:
                passes(model, inputs)
            else:
                with meter.batch(WHO):
                    passes(model, inputs)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
    if meter is not None:
        record = meter.finish()
        assert record.gap == pytest.approx([0.0], abs=1e-3 * abs(record.improvement[0]))
    return model, accumulated


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("case", LOOPS)
def test_the_training_is_the_one_without_the_meter_to_rounding(case: str) -> None:
    (plain, expected), (model, accumulated) = trained(case, False), trained(case, True)
    for (name, found), parameter in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(found, parameter, rtol=1e-9, atol=1e-11), name
    assert accumulated == expected


@pytest.mark.usefixtures("large")
def test_a_batch_costs_no_matrix_product_more_than_without_the_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attribution.ghost.checks.CHECK_SHARE", 1 << 60)
    model, inputs, costs = nn.Sequential(nn.Linear(WIDTH, 12), nn.Tanh(), nn.Linear(12, CLASSES)), vectors(), []
    with FlopCounterMode(display=False) as plain:
        model(inputs).square().mean().backward()
    model.zero_grad()
    meter = InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda m: m(inputs).mean(), [*"abcd"])
    for _ in range(3):
        with FlopCounterMode(display=False) as counted, meter.batch(WHO):
            model(inputs).square().mean().backward()
        costs.append(counted.get_total_flops())
    # A bias's sums by contributor are a small product too.
    sums = 2 * len(WHO.unique()) * len(WHO) * (12 + CLASSES)
    assert costs[1:] == [plain.get_total_flops() + sums] * 2
    assert costs[0] > costs[1]
    meter.close()


@pytest.mark.usefixtures("large")
def test_a_gradient_of_a_gradient_is_refused_by_its_cause() -> None:
    model, inputs = Perceptron(), vectors()
    meter = InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda m: m(inputs).mean(), [*"abcd"])
    with meter.batch(WHO):
        model(inputs).square().mean().backward()

    def penalised() -> None:
        watched = inputs.clone().requires_grad_()
        loss = model(watched).square().mean()
        (slope,) = torch.autograd.grad(loss, watched, create_graph=True)
        (loss + slope.square().sum()).backward()

    with pytest.raises(BatchError, match="create_graph=True"), meter.batch(WHO):
        penalised()
    meter.close()


def test_a_gradient_kept_differentiable_is_divided_where_autograd_computes_it() -> None:
    model, inputs = Perceptron(), vectors()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, lambda m: m(inputs).square().mean(), [*"abcd"])
    for _ in range(3):
        optimizer.zero_grad()
        expected = contributor_gradients(model, inputs, lambda outputs: outputs.square().mean(), WHO, 4)
        with meter.batch(WHO), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it makes a circle of references
            model(inputs).square().mean().backward(create_graph=True)
        assert_equal(parts_of(meter), expected)
        optimizer.step()
    optimizer.zero_grad()
    assert meter.finish().complete


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("late", [False, True])
def test_a_hook_that_changes_an_accumulated_gradient_is_noticed(late: bool) -> None:
    model = Perceptron()
    optimizer, active = torch.optim.SGD(model.parameters(), lr=0.1), [not late]

    def halve(parameter: Tensor) -> None:
        if active[0]:
            parameter.grad.mul_(0.5)

    model.net[0].weight.register_post_accumulate_grad_hook(halve)
    meter = InRunShapley(model, optimizer, lambda m: m(vectors()).square().mean(), [*"abcd"], method="first_order")

    def loop() -> None:
        for _ in range(6):
            optimizer.zero_grad()
            with meter.batch(WHO):
                model(vectors()).square().mean().backward()
            optimizer.step()
            active[0] = True

    with pytest.raises((UnaccountedGradientError, ReconciliationError), match=r"'net\.0\.weight'"):
        loop()
    meter.finish()


class Forgetful(nn.Linear):
    """A linear layer of a class of its own."""


@pytest.mark.usefixtures("large")
def test_a_rule_that_goes_wrong_during_the_run_is_noticed_within_a_few_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong_from = [3]

    def forgets(layer: nn.Module, call: rule.LayerCall) -> None:
        linear(layer, call)
        if wrong_from[0] <= 0:
            for place in call.places.values():
                call.into.of(next(iter(dict(call.partition.positions()))), place).mul_(1.01)

    monkeypatch.setitem(rule._kinds, Forgetful, rule.Kind(forgets, dear=True, linear=True))
    model = nn.Sequential(Forgetful(WIDTH, WIDTH), nn.Tanh(), *[nn.Linear(WIDTH, WIDTH) for _ in range(4)])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    held_out = vectors()
    meter = InRunShapley(model, optimizer, lambda m: m(held_out).square().mean(), [*"abcd"])

    def loop() -> None:
        for _ in range(20):
            inputs = vectors()
            optimizer.zero_grad()
            with meter.batch(WHO):
                model(inputs).square().mean().backward()
            optimizer.step()
            wrong_from[0] -= 1

    with pytest.raises(UnaccountedGradientError, match=r"'0\.(weight|bias)'"):
        loop()
    assert -wrong_from[0] <= 10
    meter.finish()


class BorrowedLater(nn.Module):
    """From some batch on, a layer's weight is used a second time, outside the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out, self.borrows = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES), False

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.inner(x))
        return self.out(functional.linear(x, self.inner.weight) if self.borrows else x)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_a_weight_used_outside_its_layer_later_on_is_noticed_at_once(kind: str) -> None:
    model = BorrowedLater()
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.1)
    held_out = vectors()
    meter = InRunShapley(model, optimizer, lambda m: m(held_out).square().mean(), [*"abcd"])
    for _ in range(3):
        optimizer.zero_grad()
        with meter.batch(WHO):
            model(vectors()).square().mean().backward()
        optimizer.step()
    model.borrows = True

    def borrowed() -> None:
        optimizer.zero_grad()
        with meter.batch(WHO):
            model(vectors()).square().mean().backward()
        optimizer.step()

    with pytest.raises((UnaccountedGradientError, ReconciliationError), match=r"'inner\.weight'"):
        borrowed()
    meter.finish()


class Hesitant(nn.Module):
    """Tries a layer on inputs that do not fit, and goes on without it."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH + 1, WIDTH))
        self.out = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        try:
            return self.out(self.pair(x))
        except RuntimeError:
            return self.out(self.pair[0](x))


@pytest.mark.usefixtures("large")
def test_a_call_that_fails_inside_the_model_leaves_its_parameters_as_they_were() -> None:
    model = Hesitant()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    held_out = vectors()
    meter = InRunShapley(model, optimizer, lambda m: m(held_out).square().mean(), [*"abcd"])
    for _ in range(3):
        inputs = vectors()
        expected = torch.autograd.grad(model(inputs).square().mean(), model.out.weight)[0]
        optimizer.zero_grad()
        with meter.batch(WHO):
            model(inputs).square().mean().backward()
        assert torch.allclose(model.out.weight.grad, expected, rtol=1e-9)
        assert all(parameter.requires_grad for parameter in model.parameters())
        optimizer.step()
    meter.finish()


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("reentrant", [None, False, True])
def test_checkpointing_saves_the_memory_that_it_saves_without_the_meter(reentrant: bool | None) -> None:
    def alive() -> int:
        return sum(not storage.expired() for storage in model.inside)

    model, counts = Blocks(reentrant), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    outputs = model(vectors())
    plain = alive()
    del outputs
    held_out = vectors()
    meter = InRunShapley(model, optimizer, lambda m: m(held_out).square().mean(), [*"abcd"])
    for _ in range(3):
        optimizer.zero_grad()
        with meter.batch(WHO):
            model.inside.clear()
            loss = model(vectors()).square().mean()
            counts.append(alive())
            loss.backward()
            del loss
        optimizer.step()
    assert counts[1:] == [plain, plain]
    assert (plain > 0) == (reentrant is None)
    meter.finish()
