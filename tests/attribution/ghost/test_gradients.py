"""Ghost gradients equal a separate backward pass per contributor, for every model and every parameter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as draw_from
from torch import Tensor, nn

from attribution import InRunShapley
from attribution.errors import RowAxisError, UnaccountedGradientError, UnsupportedLayerError
from tests.attribution import models
from tests.attribution.ghost.metered import (
    ROWS,
    TIME,
    WHO,
    assert_equal,
    losses,
    metered_parts,
    tokens,
    vectors,
)
from tests.attribution.oracle import contributor_gradients

CASES = {
    "mlp": (models.Perceptron, vectors),
    "mlp without bias": (lambda: models.Perceptron(bias=False), vectors),
    "mlp with dropout": (lambda: models.Perceptron(dropout=0.4), vectors),
    "tied, positions [1, T]": (models.TiedLanguageModel, tokens),
    "tied, positions [T]": (lambda: models.TiedLanguageModel("embedding_T"), tokens),
    "tied, positions as parameter": (lambda: models.TiedLanguageModel("parameter"), tokens),
    "tied, time as long as batch": (models.TiedLanguageModel, lambda: tokens(6, 6)),
    "borrowed head, padding": (models.BorrowedHead, lambda: tokens() * (torch.rand(ROWS, TIME) > 0.3)),
    "transposing, time as long as batch": (models.Transposing, lambda: tokens(6, 6)),
    "transposing": (models.Transposing, tokens),
    "flattening, batch-major": (lambda: models.Flattening(False), lambda: tokens(6, 6)),
    "flattening, time-major": (lambda: models.Flattening(True), lambda: tokens(6, 6)),
    "convolutional": (models.Convolutional, lambda: torch.randn(ROWS, 1, 8, 8)),
    "class token": (models.ClassToken, lambda: torch.randn(ROWS, 4, 4)),
    "repeated, unused, shared, parametrized": (models.Repeated, vectors),
    "noisy gate": (models.NoisyGate, vectors),
    "rows in another order": (models.Reordering, vectors),
    "a pass without gradients": (models.Teacher, vectors),
    "checkpointed": (models.Checkpointed, vectors),
    "an output computed from another": (models.TwoOutputs, vectors),
    "positions as long as the batch": (models.Keyworded, lambda: tokens(6, 6)),
}


@pytest.mark.parametrize("kind", ["mean", "sum", "padding-masked", "weighted", "several terms"])
@pytest.mark.parametrize("case", CASES)
def test_parts_equal_a_backward_pass_per_contributor(case: str, kind: str) -> None:
    build, draw = CASES[case]
    model, inputs = build(), draw()
    loss_function = losses(inputs, kind)
    state = torch.get_rng_state()
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    torch.set_rng_state(state)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)]), expected)


@settings(max_examples=60, deadline=None)
@given(draw_from.data())
def test_whatever_model_batch_and_loss_are_drawn(data: draw_from.DataObject) -> None:
    torch.manual_seed(data.draw(draw_from.integers(0, 2**31), label="seed"))
    rows = data.draw(draw_from.integers(1, 9), label="rows")
    time = data.draw(draw_from.integers(1, 9), label="time")
    who = torch.tensor(data.draw(draw_from.lists(draw_from.integers(0, 4), min_size=rows, max_size=rows), label="who"))
    kind = data.draw(draw_from.sampled_from(["mean", "sum", "padding-masked"]), label="loss")
    model, inputs = data.draw(
        draw_from.sampled_from(
            [
                (lambda: models.Perceptron(bias=True), lambda: vectors(rows)),
                (lambda: models.Perceptron(bias=False), lambda: vectors(rows)),
                (models.TiedLanguageModel, lambda: tokens(rows, time)),
                (lambda: models.TiedLanguageModel("parameter"), lambda: tokens(rows, time)),
                (models.Convolutional, lambda: torch.randn(rows, 1, 8, 8)),
            ]
        ),
        label="model",
    )
    model, inputs = model(), inputs()
    loss_function = losses(inputs, kind)
    expected = contributor_gradients(model, inputs, loss_function, who, 5)
    if all(bool(torch.isfinite(part).all()) for part in expected.values()):
        assert_equal(metered_parts(model, [(inputs, who, loss_function)], contributors=5), expected)


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("case", [name for name in CASES if "dropout" not in name and "noisy" not in name])
def test_later_batches_of_known_shape_are_divided_alike(case: str) -> None:
    build, draw = CASES[case]
    model = build()
    loss_function = losses(draw(), "mean")
    first, second, third = draw(), draw(), draw()
    others = WHO.flip(0)
    alone = torch.full((ROWS,), 1)
    expected = contributor_gradients(model, first, loss_function, WHO, 4)
    for inputs, who in ((second, others), (third, alone)):
        more = contributor_gradients(model, inputs, loss_function, who, 4)
        expected = {name: expected[name] + more[name] for name in expected}
    batches = [(first, WHO, loss_function), (second, others, loss_function), (third, alone, loss_function)]
    assert_equal(metered_parts(model, batches), expected)


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("time", [4, 6])
def test_sequence_first_inputs_are_recognised_even_where_time_is_as_long_as_the_batch(time: int) -> None:
    model, inputs = models.SequenceFirst(), tokens(time, ROWS)
    loss_function = losses(inputs, "mean")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4, axis=1)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)] * 2), {k: 2 * v for k, v in expected.items()})


def test_a_stated_axis_decides_what_no_probe_can() -> None:
    model, inputs = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11)), tokens(ROWS, ROWS)
    loss_function = losses(inputs, "mean")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4, axis=1)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)], axis=1), expected)


@pytest.mark.usefixtures("replacing")
def test_zeroing_gradients_inside_the_batch_is_noticed() -> None:
    model, inputs = models.TiedLanguageModel(), tokens()
    loss_function = losses(inputs, "mean")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    meter = InRunShapley(model, optimizer, lambda m: m(inputs).square().mean(), [*"abcd"])
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    for set_to_none in (True, False, True):
        with meter.batch(WHO):
            optimizer.zero_grad(set_to_none=set_to_none)
            loss_function(model(inputs)).backward()
        optimizer.step()
    for place in meter._space.places:
        found = place.of(meter._gradient.whole())[:4].reshape(-1, *place.parameter.shape)
        assert torch.allclose(found, expected[place.name], rtol=1e-9), place.name
    meter.finish()


def test_rows_that_mix_are_refused_by_name() -> None:
    model, inputs = models.RowsMixed(), vectors()
    with pytest.raises(RowAxisError, match="'out'"):
        metered_parts(model, [(inputs, WHO, losses(inputs, "mean"))])


def test_a_part_called_on_its_own_with_rows_along_either_axis_is_refused_unless_the_axis_is_stated() -> None:
    model, inputs = nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 11)), tokens(ROWS, ROWS)
    meter = InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.0), lambda m: m(inputs).sum(), [*"abcd"])
    with pytest.raises(RowAxisError, match="several axes"), meter.batch(WHO):
        model[1](model[0](inputs).transpose(0, 1)).square().mean().backward()
    with meter.batch(WHO, axis=0):
        model[1](model[0](inputs)).square().mean().backward()
    meter.close()


def test_a_penalty_on_the_weights_inside_the_batch_is_refused_by_name() -> None:
    model, inputs = models.Perceptron(), vectors()

    def penalised(outputs: Tensor) -> Tensor:
        return outputs.square().mean() + sum(p.square().sum() for p in model.parameters())

    with pytest.raises(UnaccountedGradientError, match=r"'net\.0\.weight'"):
        metered_parts(model, [(inputs, WHO, penalised)])


def test_batch_normalisation_in_training_mode_is_refused_with_a_substitute() -> None:
    model = nn.Sequential(nn.Linear(models.WIDTH, 4), nn.BatchNorm1d(4))
    with pytest.raises(UnsupportedLayerError, match="GroupNorm"):
        metered_parts(model, [(vectors(), WHO, losses(vectors(), "mean"))])


def test_batch_normalisation_with_frozen_statistics_is_metered() -> None:
    model = nn.Sequential(nn.Linear(models.WIDTH, 4), nn.BatchNorm1d(4))
    model[1].eval()
    inputs = vectors()
    loss_function = losses(inputs, "mean")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)]), expected)


@pytest.mark.parametrize("option", [{"max_norm": 1.0}, {"sparse": True}])
def test_embeddings_that_cannot_be_divided_are_refused(option: dict) -> None:
    model = nn.Sequential(nn.Embedding(11, 8, **option))
    with pytest.raises(UnsupportedLayerError, match="'0'"):
        metered_parts(model, [(tokens(), WHO, losses(tokens(), "mean"))])


@pytest.mark.usefixtures("replacing")
@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_zeroed_and_filled_again_outside_are_the_house_s(set_to_none: bool) -> None:
    model, inputs = models.Perceptron(), vectors()
    loss_function = losses(inputs, "mean")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    meter = InRunShapley(model, optimizer, lambda m: m(inputs).square().mean(), [*"abcd"])
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=set_to_none)
        (0.3 * sum(p.square().sum() for p in model.parameters())).backward()
        with meter.batch(WHO):
            loss_function(model(inputs)).backward()
        optimizer.step()
    for place in meter._space.places:
        parts = place.of(meter._gradient.whole()).reshape(-1, *place.parameter.shape)
        assert torch.allclose(parts[:4], expected[place.name], rtol=1e-9, atol=1e-14), place.name
        assert torch.allclose(parts[4], 0.6 * place.parameter, rtol=1e-9, atol=1e-14), place.name
    meter.finish()


def test_an_inner_output_s_gradient_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_resolver(*_: object) -> None:
        raise AssertionError("the fallback's gradients did not sum to autograd's")

    monkeypatch.setattr("attribution.ghost.resolve.Resolver.resolve", no_resolver)
    model, inputs = models.TwoOutputs(), vectors()
    loss_function = losses(inputs, "mean")
    expected = contributor_gradients(model, inputs, loss_function, WHO, 4)
    assert_equal(metered_parts(model, [(inputs, WHO, loss_function)]), expected)


@pytest.mark.parametrize(
    ("wrap", "remedy"),
    [
        (torch.compile, "_orig_mod"),
        (nn.DataParallel, "one device"),
        (lambda m: torch.jit.trace(m, vectors()), "script"),
    ],
)
def test_models_whose_code_runs_no_hooks_are_refused_by_name(wrap, remedy: str) -> None:
    model = wrap(nn.Sequential(nn.Linear(models.WIDTH, 3)))
    with pytest.raises(UnsupportedLayerError, match=remedy):
        InRunShapley(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda m: m(vectors()).sum(), ["a", "b"])
