"""The signed sketch: on average over its signs the empirical Fisher matrix, and applied implicitly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import Counterfactual, InRunShapley
from attribution.counterfactual.sketch import Sketch
from attribution.ghost.signed import SignedParts
from tests.attribution.counterfactual.weighted import NAMES
from tests.attribution.models import CLASSES, WIDTH, Perceptron
from tests.attribution.runs import objective

ROWS = 5
WHO = torch.tensor([0, 1, 1, 0, 1])  # nobody is the third


@pytest.fixture
def model() -> nn.Module:
    return Perceptron()


@pytest.fixture
def rows() -> tuple[Tensor, Tensor]:
    return torch.randn(ROWS, WIDTH), torch.arange(ROWS) % CLASSES


class Signed:
    """A meter's sketch of one batch, with signs of one's own choice."""

    def __init__(self, model: nn.Module, rows: tuple[Tensor, Tensor], reduction: str) -> None:
        self.model, self.rows, self.reduction = model, rows, reduction
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        given = Counterfactual("sketch", reduction=reduction)
        goal = lambda model: functional.cross_entropy(model(rows[0]), rows[1])  # noqa: E731
        self.meter = InRunShapley(model, self.optimizer, goal, NAMES, counterfactual=given)
        assert self.meter._absence is not None
        assert self.meter._absence.signed is not None
        self.signed: SignedParts = self.meter._absence.signed
        curvature = self.meter._absence.tangents.curvature
        assert isinstance(curvature, Sketch)
        self.curvature, self.space = curvature, self.meter._space
        self.of([1.0] * ROWS)  # the first batch of its shapes is left out
        assert all(self.signed.parts.untouched(place) for place in self.space.places)

    def of(self, signs: list[float]) -> None:
        """Sketch the batch with these signs."""
        self.curvature.forget()
        self.optimizer.zero_grad()
        self.signed.redraw = lambda count: setattr(self.signed, "_signs", torch.tensor(signs))  # type: ignore[method-assign]
        with self.meter.batch(WHO):
            functional.cross_entropy(self.model(self.rows[0]), self.rows[1], reduction=self.reduction).backward()

    def product(self, along: Tensor, reach: Tensor) -> Tensor:
        found = self.curvature.product(self.space.snapshot(), along, reach, ROWS)
        return torch.cat([found(place, slice(0, place.stop - place.start)) for place in self.space.places], dim=1)

    def parts(self) -> Tensor:
        return torch.cat([self.signed.parts.dense(place) for place in self.space.places], dim=1)

    def gradients(self) -> Tensor:
        """Each row's part of the training gradient ``[rows, P]``."""
        losses = functional.cross_entropy(self.model(self.rows[0]), self.rows[1], reduction="none")
        losses = losses / ROWS if self.reduction == "mean" else losses
        wanted = [place.parameter for place in self.space.places]
        found = [torch.autograd.grad(loss, wanted, retain_graph=True) for loss in losses]
        return torch.stack([torch.cat([part.reshape(-1) for part in one]) for one in found])


def all_signs() -> Iterator[list[float]]:
    yield from (list(signs) for signs in product((-1.0, 1.0), repeat=ROWS))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_over_all_signs_its_mean_is_the_empirical_fisher_matrix(
    model: nn.Module, rows: tuple[Tensor, Tensor], reduction: str
) -> None:
    sketch = Signed(model, rows, reduction)
    along, total = torch.randn(3, sketch.space.size), torch.zeros(3, sketch.space.size)
    for signs in all_signs():
        sketch.of(signs)
        total += sketch.product(along, torch.zeros(sketch.space.size)) / 2**ROWS
    gradients = sketch.gradients()
    scale = ROWS if reduction == "mean" else 1
    assert torch.allclose(total, scale * (along @ gradients.t()) @ gradients, rtol=0, atol=1e-9)
    assert float(total.norm()) > 0.1


def test_each_contributor_has_one_vector(model: nn.Module, rows: tuple[Tensor, Tensor]) -> None:
    sketch = Signed(model, rows, "mean")
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0])
    sketch.of(signs.tolist())
    own = functional.one_hot(WHO, 3).t().to(signs.dtype)
    assert torch.allclose(sketch.parts(), (own * signs) @ sketch.gradients(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("strength", [1e-2, 1.0, 1e4])
def test_it_is_applied_as_an_implicit_step(model: nn.Module, rows: tuple[Tensor, Tensor], strength: float) -> None:
    sketch = Signed(model, rows, "mean")
    sketch.of([1.0, -1.0, -1.0, 1.0, 1.0])
    reach = strength * torch.rand(sketch.space.size)
    vectors = sketch.parts()
    matrix = ROWS * vectors.t() @ vectors
    expected = matrix @ torch.linalg.inv(torch.eye(len(reach)) + reach[:, None] * matrix)
    along = torch.randn(3, sketch.space.size)
    assert torch.allclose(sketch.product(along, reach), along @ expected.t(), rtol=1e-6, atol=1e-9)


def test_without_a_sketch_there_is_no_curvature(model: nn.Module, rows: tuple[Tensor, Tensor]) -> None:
    sketch = Signed(model, rows, "mean")
    sketch.curvature.forget()
    along = torch.randn(3, sketch.space.size)
    assert not sketch.product(along, torch.ones(sketch.space.size)).any()


def test_signs_are_those_of_the_seed() -> None:
    data = [(torch.randn(6, 6), torch.randint(3, (6,))) for _ in range(5)]

    def values(seed: int) -> Tensor:
        torch.manual_seed(0)
        model = nn.Linear(6, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        meter = InRunShapley(model, optimizer, objective(), NAMES, counterfactual=Counterfactual(seed=seed))
        for x, y in data:
            with meter.batch(torch.tensor([0, 0, 1, 1, 2, 2])):
                functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
        return torch.as_tensor(meter.finish().beside["counterfactual"].values.copy())

    assert torch.equal(values(1), values(1))
    assert not torch.equal(values(1), values(2))
