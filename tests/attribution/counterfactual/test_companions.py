"""Curvature from companions: the Hessian, to what their distance promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import Counterfactual
from attribution.counterfactual.companions import Companions
from attribution.counterfactual.game import Batch
from tests.attribution.counterfactual.carried import as_batch, carried, hessian, products, space_of, tangents
from tests.attribution.counterfactual.weighted import OPTIMIZERS, as_batches
from tests.attribution.models import CLASSES, WIDTH, Perceptron
from tests.attribution.runs import batches, classifier


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(torch.float64)


def vectors() -> Batch:
    return as_batch(torch.randn(5, WIDTH), torch.arange(CLASSES), torch.tensor([0, 1, 2, 0, 1]))


def error(reach: float | None, dtype: torch.dtype = torch.float64) -> float:
    """Of the product with three tangents of very different lengths, relative, the largest."""
    with precision(dtype):
        torch.manual_seed(3)
        model, given = Perceptron(), [vectors(), vectors()]
        space = space_of(model)
        along = torch.randn(3, space.size) * torch.tensor([[1e-3], [1.0], [1e3]])
        expected = along @ sum(hessian(model, space, batch.losses) for batch in given)
        found = products(Companions(model, space, reach), space, along, given)
        return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


def test_half_the_reach_is_half_the_error() -> None:
    assert error(2e-4) == pytest.approx(2 * error(1e-4), rel=0.02)
    assert 1e-6 < error(1e-4) < 1e-3


@pytest.mark.parametrize(("dtype", "promised"), [(torch.float64, 1e-6), (torch.float32, 1e-2)])
def test_the_default_reach_is_about_the_best_there_is(dtype: torch.dtype, promised: float) -> None:
    found = error(None, dtype)
    assert found < promised
    default = torch.finfo(dtype).eps ** 0.5
    assert min(error(30 * default, dtype), error(default / 30, dtype)) > 2 * found


def test_a_quadratic_loss_has_no_error_but_rounding_at_any_reach() -> None:
    model, x, y = nn.Linear(4, 2), torch.randn(6, 4), torch.randn(6, 2)

    def losses(model: nn.Module) -> Tensor:
        return (model(x) - y).square().sum(dim=1) / 6

    space, given = space_of(model), Batch(torch.zeros(6).long(), losses)
    along = torch.randn(3, space.size)
    expected = along @ hessian(model, space, losses)
    assert torch.allclose(products(Companions(model, space, 0.5), space, along, [given]), expected, rtol=0, atol=1e-9)


def test_without_a_tangent_there_is_no_product_and_parameters_may_all_be_zero() -> None:
    model, given = classifier(), as_batches(batches(1, 3))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    space = space_of(model)
    along = torch.randn(3, space.size)
    along[1] = 0
    expected = along @ hessian(model, space, given[0].losses)
    found = products(Companions(model, space), space, along, given)
    assert not found[1].any()
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


def test_companions_drop_out_what_the_model_dropped() -> None:
    model, given = Perceptron(dropout=0.5), vectors()
    space = space_of(model)
    along = torch.randn(3, space.size)
    torch.manual_seed(11)
    expected = along @ hessian(model, space, given.losses)
    torch.manual_seed(11)
    assert torch.allclose(products(Companions(model, space), space, along, [given]), expected, rtol=0, atol=1e-5)


class Stubborn(nn.Module):
    """Looks at its numbers, which vmap does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return torch.tanh(y if float(y.detach().sum()) > 1e9 else 2 * y)


def test_a_model_that_vmap_cannot_take_has_its_companions_one_after_another() -> None:
    model, given = Stubborn(), as_batches(batches(1, 3))
    space = space_of(model)
    along = torch.randn(3, space.size)
    expected = along @ hessian(model, space, given[0].losses)
    assert torch.allclose(products(Companions(model, space), space, along, given), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_tangents_come_out_as_the_exact_ones(optimizer: str) -> None:
    data = as_batches(batches(6, 3))
    ends = []
    for kind in ("companions", "exact"):
        model = classifier()
        ends.append(
            tangents(carried(model, OPTIMIZERS[optimizer](list(model.parameters())), data, Counterfactual(kind)))
        )
    assert float((ends[0] - ends[1]).norm() / ends[1].norm()) < 1e-5


def test_the_reach_that_was_asked_for_is_in_the_record() -> None:
    x, y, who = batches(1, 3)[0]
    model = classifier()
    losses = lambda model: functional.cross_entropy(model(x), y, reduction="none") / len(y)  # noqa: E731
    given = Counterfactual("companions", reach=0.02)
    meter = carried(model, torch.optim.SGD(model.parameters(), lr=0.1), [Batch(who, losses)], given)
    assert meter.finish().beside["counterfactual"].details["reach"] == 0.02
