"""Exact curvature: the Hessian itself, and so tangents that are the derivatives of the training itself."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import Counterfactual, InRunShapley
from attribution.counterfactual.exact import Exact
from attribution.counterfactual.game import Batch, ReplayError
from attribution.counterfactual.weighted_training import WeightedTraining
from attribution.errors import BatchError
from tests.attribution.counterfactual.carried import as_batch, carried, hessian, products, space_of, tangents
from tests.attribution.counterfactual.weighted import NAMES, OPTIMIZERS, as_batches
from tests.attribution.models import VOCABULARY, WIDTH, Convolutional, Perceptron, TiedLanguageModel
from tests.attribution.runs import batches, classifier, objective

EXACT = Counterfactual("exact")
CARRIED = [name for name in OPTIMIZERS if "amsgrad" not in name]


def images() -> Batch:
    return as_batch(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0]))


def vectors() -> Batch:
    return as_batch(torch.randn(5, WIDTH), torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 1, 2, 0, 1]))


def texts() -> Batch:
    ids = torch.randint(VOCABULARY, (3, 5))

    def losses(model: nn.Module) -> Tensor:
        logits = model(ids[:, :-1])
        return functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none").mean(1) / 3

    return Batch(torch.tensor([0, 1, 2]), losses)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Batch]]] = {
    "layer norm": (Perceptron, vectors),
    "convolutions": (Convolutional, images),
    "attention, tied weights": (TiedLanguageModel, texts),
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_product_is_the_hessians_of_the_batches_together(kind: str) -> None:
    make, draw = MODELS[kind]
    model, given = make(), [draw(), draw()]
    space = space_of(model)
    along = torch.randn(3, space.size)
    expected = along @ sum(hessian(model, space, batch.losses) for batch in given)
    assert torch.allclose(products(Exact(model, space), space, along, given), expected, rtol=0, atol=1e-9)


def test_it_is_taken_with_the_dropout_of_the_batchs_own_pass() -> None:
    model, given = Perceptron(dropout=0.5), vectors()
    space = space_of(model)
    along = torch.randn(3, space.size)
    torch.manual_seed(11)
    expected = along @ hessian(model, space, given.losses)
    torch.manual_seed(11)
    found = products(Exact(model, space), space, along, [given])
    assert torch.allclose(found, expected, rtol=0, atol=1e-9)
    torch.manual_seed(12)
    assert not torch.allclose(products(Exact(model, space), space, along, [given]), expected, atol=1e-3)


@pytest.mark.parametrize("optimizer", CARRIED)
def test_tangents_are_those_of_the_training_itself_differentiated(optimizer: str) -> None:
    data = as_batches(batches(7, 3))
    model = classifier()
    replayed = WeightedTraining(model, OPTIMIZERS[optimizer](list(model.parameters())), data, len(NAMES), own=True)
    expected = replayed.end(1.0, tangents=True).tangents
    meter = carried(model, OPTIMIZERS[optimizer](list(model.parameters())), data, EXACT)
    assert torch.allclose(tangents(meter), expected, rtol=1e-9, atol=1e-9)
    assert float(expected.norm()) > 0.1


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_they_are_so_with_dropout_too(optimizer: str) -> None:
    given = [vectors() for _ in range(5)]
    model = Perceptron(dropout=0.3)
    torch.manual_seed(5)
    replayed = WeightedTraining(model, OPTIMIZERS[optimizer](list(model.parameters())), given, len(NAMES), own=True)
    expected = replayed.end(1.0, tangents=True).tangents
    torch.manual_seed(5)
    meter = carried(model, OPTIMIZERS[optimizer](list(model.parameters())), given, EXACT, goal=goal)
    assert torch.allclose(tangents(meter), expected, rtol=1e-9, atol=1e-9)


def goal(model: nn.Module) -> Tensor:
    inputs = torch.linspace(-1, 1, 6 * WIDTH).view(6, WIDTH)
    return functional.cross_entropy(model(inputs), torch.arange(6) % 5)


def test_batches_that_are_accumulated_count_as_one() -> None:
    whole = batches(3, 3, rows=8)
    halves = [
        Batch(
            who[part], lambda model, x=x[part], y=y[part]: functional.cross_entropy(model(x), y, reduction="none") / 8
        )
        for x, y, who in whole
        for part in (slice(0, 5), slice(5, 8))
    ]
    one = carried(model := classifier(), OPTIMIZERS["AdamW"](list(model.parameters())), as_batches(whole), EXACT)
    two = carried(model := classifier(), OPTIMIZERS["AdamW"](list(model.parameters())), halves, EXACT, accumulated=2)
    assert torch.allclose(tangents(one), tangents(two), rtol=1e-9, atol=1e-9)


class Stubborn(nn.Module):
    """Looks at its numbers, which vmap does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = classifier()

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return y if float(y.detach().sum()) > 1e9 else 2 * y


def test_a_model_that_vmap_cannot_take_is_differentiated_for_one_contributor_after_another() -> None:
    data = as_batches(batches(3, 3))
    model = Stubborn()
    space = space_of(model)
    along = torch.randn(3, space.size)
    expected = along @ hessian(model, space, data[0].losses)
    assert torch.allclose(products(Exact(model, space), space, along, data[:1]), expected, rtol=0, atol=1e-9)


def test_losses_must_be_given() -> None:
    x, y, who = batches(1, 3)[0]
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, objective(), NAMES, counterfactual=EXACT)
    with pytest.raises(BatchError, match=r"curvature 'exact'.*give meter.batch\(who, losses=...\)"), meter.batch(who):
        functional.cross_entropy(model(x), y).backward()


def other_losses(x: Tensor, y: Tensor) -> dict[str, Callable[[nn.Module], Tensor]]:
    return {
        "not divided": lambda model: functional.cross_entropy(model(x), y, reduction="none"),
        "other rows": lambda model: functional.cross_entropy(model(x.flip(0)), y, reduction="none") / len(y),
        "no gradient": lambda model: functional.cross_entropy(model(x).detach(), y, reduction="none") / len(y),
        "more noise": lambda model: (
            functional.cross_entropy(model(x + 0.1 * torch.randn(x.shape)), y, reduction="none") / len(y)
        ),
    }


@pytest.mark.parametrize("kind", other_losses(torch.ones(0), torch.ones(0)))
def test_losses_other_than_those_of_the_pass_are_refused(kind: str) -> None:
    x, y, who = batches(1, 3)[0]
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, objective(), NAMES, counterfactual=EXACT)
    with meter.batch(who, losses=other_losses(x, y)[kind]):
        functional.cross_entropy(model(x), y).backward()
    with pytest.raises(BatchError, match=r"the losses given to meter\.batch are not those of its pass"):
        optimizer.step()


def test_a_mean_instead_of_rows_losses_is_refused() -> None:
    x, y, who = batches(1, 3)[0]
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    meter = InRunShapley(model, optimizer, objective(), NAMES, counterfactual=EXACT)
    with meter.batch(who, losses=lambda model: functional.cross_entropy(model(x), y)):
        functional.cross_entropy(model(x), y).backward()
    with pytest.raises(ReplayError, match=r"losses must return a loss for each of the 8 rows"):
        optimizer.step()


def test_the_run_is_the_same_as_without_values_of_absence() -> None:
    data = [vectors() for _ in range(3)]
    first = Perceptron(dropout=0.3)
    ends = []
    for given in (EXACT, False):
        model = copy.deepcopy(first)
        torch.manual_seed(5)
        carried(model, OPTIMIZERS["AdamW"](list(model.parameters())), data, given, goal=goal)
        ends.append(nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(*ends)
