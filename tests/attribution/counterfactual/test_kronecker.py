"""Kronecker-factored curvature: exact where the factorisation is, stable at any rate, and silent about no parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from attribution import Counterfactual
from attribution.counterfactual.game import Batch
from attribution.counterfactual.kronecker import Kronecker
from attribution.ghost.factors import KeptBatch, RuleFactor
from attribution.ghost.partition import Layout
from attribution.ghost.rule import kind_of
from attribution.parameters import ParameterSpace
from tests.attribution.counterfactual.carried import carried, hessian, space_of
from tests.attribution.models import VOCABULARY, TiedLanguageModel

Losses = Callable[[nn.Module], Tensor]


def kept(layer: nn.Module, space: ParameterSpace, x: Tensor, losses: Callable[[Tensor], Tensor]) -> KeptBatch:
    """What the meter keeps of a model that is one layer, for a loss of its output."""
    output = layer(x).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(losses(output).sum(), output)
    kind = kind_of(layer)
    assert kind is not None
    places = {place.name: place for place in space.places}
    rows = torch.arange(len(x))
    return KeptBatch(rows, None, [RuleFactor(layer, kind, x, gradient, Layout(0, rows), places)])


def product(
    curvature: Kronecker, space: ParameterSpace, given: Sequence[KeptBatch], along: Tensor, reach: Tensor | float = 0.0
) -> Tensor:
    for one in given:
        curvature.batch(one, None)
    reached = torch.as_tensor(reach).expand(space.size)
    found = curvature.product(space.snapshot(), along, reached, sum(len(one.who) for one in given))
    curvature.forget()
    return torch.cat([found(place, slice(0, place.stop - place.start)) for place in space.places], dim=1)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(4, 3),
    "without bias": lambda: nn.Linear(4, 3, bias=False),
    "transposed": lambda: Conv1D(3, 4),
    "frozen bias": lambda: _frozen(nn.Linear(4, 3)),
}


def _frozen(layer: nn.Linear) -> nn.Linear:
    layer.bias.requires_grad_(False)
    return layer


def trained(layer: nn.Module) -> ParameterSpace:
    return ParameterSpace(layer, torch.optim.SGD([p for p in layer.parameters() if p.requires_grad], lr=0.1))


def squares(target: Tensor, rows: int = 1) -> Callable[[Tensor], Tensor]:
    return lambda output: (output - target).square().sum(dim=1) / (2 * rows)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_single_row_has_its_own_gradients_square(kind: str, reduction: str) -> None:
    layer, x, target = LAYERS[kind](), torch.randn(1, 4), torch.randn(1, 3)
    space = trained(layer)
    wanted = [place.parameter for place in space.places]
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(squares(target)(layer(x)).sum(), wanted)])
    along = torch.randn(3, space.size)
    found = product(Kronecker(space, reduction), space, [kept(layer, space, x, squares(target))], along)
    assert torch.allclose(found, (along @ gradient)[:, None] * gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_where_residuals_are_one_it_is_the_hessian_of_the_squared_loss(reduction: str) -> None:
    """There the Fisher matrix of a normal likelihood is the empirical one, and the one output factors out."""
    layer, x = nn.Linear(4, 1), torch.randn(7, 4)
    target = (layer(x) + torch.tensor([1.0, -1, 1, 1, -1, -1, 1])[:, None]).detach()
    losses = squares(target, 7 if reduction == "mean" else 1)
    space = space_of(layer)
    along = torch.randn(3, space.size)
    expected = along @ hessian(layer, space, lambda model: losses(model(x)))
    given = kept(layer, space, x, losses)
    assert torch.allclose(product(Kronecker(space, reduction), space, [given], along), expected, rtol=0, atol=1e-9)
    halves = [KeptBatch(given.who[part], None, [_part(given.factors[0], part)]) for part in (slice(3), slice(3, 7))]
    assert torch.allclose(product(Kronecker(space, reduction), space, halves, along), expected, rtol=0, atol=1e-9)


def _part(factor: object, part: slice) -> RuleFactor:
    assert isinstance(factor, RuleFactor)
    f = factor
    return RuleFactor(
        f.module, f.kind, f.inputs[part], f.output_gradient[part], Layout(0, f.layout.rows[part]), f.places
    )


def dense(layer: nn.Module, space: ParameterSpace, given: KeptBatch) -> Tensor:
    """Its matrix ``[P, P]``, explicitly."""
    return product(Kronecker(space, "mean"), space, [given], torch.eye(space.size))


def reaches(space: ParameterSpace) -> dict[str, Tensor]:
    """By parameter: the same for all; and a product of a row's and a column's, over many magnitudes."""
    rows, columns = torch.tensor([1e-3, 1.0, 3.0]), torch.tensor([0.1, 2.0, 1e3, 5.0, 0.7])
    matrix = rows.outer(columns)
    return {
        "SGD": torch.full((space.size,), 0.7),
        "by rows and columns": torch.cat([matrix[:, :4].reshape(-1), matrix[:, 4]]),
        "none": torch.zeros(space.size),
    }


@pytest.mark.parametrize("kind", ["SGD", "by rows and columns", "none"])
def test_a_step_is_implicit(kind: str) -> None:
    layer, x = nn.Linear(4, 3), torch.randn(6, 4)
    space = space_of(layer)
    given = kept(layer, space, x, squares(torch.randn(6, 3), 6))
    matrix, reach = dense(layer, space, given), reaches(space)[kind]
    expected = matrix @ torch.linalg.inv(torch.eye(space.size) + reach[:, None] * matrix)
    along = torch.randn(3, space.size)
    found = product(Kronecker(space, "mean"), space, [given], along, reach)
    assert torch.allclose(found, along @ expected.t(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rate", [1e-3, 1.0, 1e6])
def test_tangents_never_grow_by_curvature_at_any_learning_rate(rate: float) -> None:
    layer, x = nn.Linear(4, 3), 10 * torch.randn(6, 4)
    space = space_of(layer)
    given = kept(layer, space, x, squares(torch.randn(6, 3), 6))
    implicit = product(Kronecker(space, "mean"), space, [given], torch.eye(space.size), rate)
    kept_part = torch.linalg.eigvalsh(torch.eye(space.size) - rate * (implicit + implicit.t()) / 2)
    assert -1e-6 <= float(kept_part.min()) <= float(kept_part.max()) <= 1 + 1e-6


@pytest.mark.parametrize("seed", range(8))
def test_a_reach_that_no_product_fits_makes_no_step_unstable(seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = nn.Linear(4, 3), 10 * torch.randn(6, 4)
    space = space_of(layer)
    given = kept(layer, space, x, squares(torch.randn(6, 3), 6))
    reach = torch.exp(4 * torch.randn(space.size))
    changed = product(Kronecker(space, "mean"), space, [given], torch.eye(space.size), reach) * reach
    assert float(torch.linalg.eigvals(changed).abs().max()) <= 2 + 1e-6


def test_factors_are_averaged_over_steps() -> None:
    layer = nn.Linear(4, 1, bias=False)
    space = space_of(layer)
    steps = [kept(layer, space, torch.randn(5, 4), squares(torch.randn(5, 1), 5)) for _ in range(3)]
    curvature, decay = Kronecker(space, "mean", decay=0.5), 0.5
    along = torch.randn(3, 4)
    found = [product(curvature, space, [one], along) for one in steps]
    weights = torch.tensor([decay**2, decay, 1.0]) / (decay**2 + decay + 1)
    inputs, outputs = torch.zeros(4, 4), torch.zeros(1, 1)
    for weight, one in zip(weights, steps, strict=True):
        factor = one.factors[0]
        assert isinstance(factor, RuleFactor)
        inputs += weight * factor.inputs.t() @ factor.inputs / 5
        outputs += weight * 5 * factor.output_gradient.t() @ factor.output_gradient
    assert torch.allclose(found[-1], along @ inputs * outputs, rtol=0, atol=1e-9)


def test_eigenvectors_serve_several_steps() -> None:
    layer = nn.Linear(4, 3)
    space = space_of(layer)
    same, other = (kept(layer, space, torch.randn(5, 4), squares(torch.randn(5, 3), 5)) for _ in range(2))
    along = torch.randn(3, space.size)
    curvature = Kronecker(space, "mean", decay=0.0, refresh=3)
    first = [product(curvature, space, [same], along) for _ in range(4)]
    assert all(torch.allclose(one, first[0]) for one in first)
    matrix = dense(layer, space, other)
    with_old = product(curvature, space, [other], torch.eye(space.size))
    assert not torch.allclose(with_old, matrix)
    assert float(with_old.trace()) == pytest.approx(float(matrix.trace()))  # the variances along them are this step's
    for _ in range(2):
        found = product(curvature, space, [other], along)
    assert torch.allclose(found, product(Kronecker(space, "mean"), space, [other], along))
    assert not torch.allclose(found, first[0])


def test_a_position_of_a_sequence_is_an_input_of_its_own_unless_no_loss_depends_on_it() -> None:
    layer, x = nn.Linear(4, 1, bias=False), torch.randn(2, 3, 4)
    space = space_of(layer)
    gradient = torch.randn(2, 3, 1)
    gradient[1, 2] = 0
    kind = kind_of(layer)
    assert kind is not None
    places = {place.name: place for place in space.places}
    given = KeptBatch(torch.arange(2), None, [RuleFactor(layer, kind, x, gradient, Layout(0, torch.arange(2)), places)])
    a, b = x.reshape(6, 4)[:5], gradient.reshape(6, 1)[:5]
    along = torch.randn(3, 4)
    assert torch.allclose(
        product(Kronecker(space, "mean"), space, [given], along), along @ (a.t() @ a / 5) * 2 * b.square().sum()
    )


def test_gradients_that_are_thrown_away_leave_no_trace() -> None:
    layer = nn.Linear(4, 3)
    space = space_of(layer)
    lost, used = (kept(layer, space, torch.randn(5, 4), squares(torch.randn(5, 3), 5)) for _ in range(2))
    along = torch.randn(3, space.size)
    curvature = Kronecker(space, "mean")
    curvature.batch(lost, None)
    curvature.forget()
    found = product(curvature, space, [used], along)
    assert torch.equal(found, product(Kronecker(space, "mean"), space, [used], along))


def test_the_record_names_the_parameters_without_curvature() -> None:
    ids = torch.randint(VOCABULARY, (3, 5))

    def losses(model: nn.Module) -> Tensor:
        return functional.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none").mean(1) / 3

    model = TiedLanguageModel("parameter")
    given = [Batch(torch.tensor([0, 1, 2]), losses)] * 3
    meter = carried(
        model,
        torch.optim.AdamW(model.parameters(), lr=0.01),
        given,
        Counterfactual("kronecker"),
        goal=lambda model: losses(model).sum(),
    )
    details = meter.finish().beside["counterfactual"].details
    linear = {f"{name}.{part}" for name in ("attention.qkv", "attention.out", "mlp") for part in ("weight", "bias")}
    named = [name for name, _ in model.named_parameters() if name not in linear]
    assert details["without_curvature"] == named
    assert {"tokens.weight", "norm.weight", "position", "scale"} <= set(named)
