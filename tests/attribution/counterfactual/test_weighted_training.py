"""A weighted training: where torch's own optimizer ends, with tangents that finite differences confirm."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from attribution.counterfactual.game import Batch
from attribution.counterfactual.weighted_training import WeightedTraining
from tests.attribution.counterfactual.weighted import NAMES, OPTIMIZERS, as_batches, row_losses, trained
from tests.attribution.runs import batches, classifier, drawn

WEIGHTS = (0.3, 0.7, 0.5)
STEP = 1e-5


def data_of_six() -> list[Batch]:
    return as_batches(batches(6, 3))


def by_torch(
    optimizer: str, model: nn.Module, data: Sequence[Batch], weights: Sequence[float], seed: int = 5
) -> Tensor:
    """Where torch's optimizer ends; Adam's with the second moments of the run with everybody."""
    held = None
    if "Adam" in optimizer:
        everybody = copy.deepcopy(model)
        torch.manual_seed(seed)
        trained(everybody, OPTIMIZERS[optimizer](list(everybody.parameters())), data, (1, 1, 1), seconds=(held := []))
    model = copy.deepcopy(model)
    torch.manual_seed(seed)
    return trained(model, OPTIMIZERS[optimizer](list(model.parameters())), data, weights, held=held)


def differences(optimizer: str, model: nn.Module, data: Sequence[Batch], weights: Sequence[float]) -> Tensor:
    """Central finite differences ``[K, P]`` of where torch's optimizer ends, by each contributor's weight."""

    def moved(c: int, by: float) -> Tensor:
        return by_torch(optimizer, model, data, [w + by * (n == c) for n, w in enumerate(weights)])

    return torch.stack([(moved(c, STEP) - moved(c, -STEP)) / (2 * STEP) for c in range(len(weights))])


def weighted(optimizer: str, model: nn.Module, data: Sequence[Batch], **options: object) -> WeightedTraining:
    torch.manual_seed(5)
    return WeightedTraining(model, OPTIMIZERS[optimizer](list(model.parameters())), data, len(NAMES), **options)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_everybody_it_ends_where_torch_does(optimizer: str) -> None:
    found = weighted(optimizer, model := classifier(), data_of_six()).everybody.parameters
    model = copy.deepcopy(model)
    plain = trained(model, OPTIMIZERS[optimizer](list(model.parameters())), data_of_six(), (1, 1, 1))
    assert torch.allclose(found, plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_tangents_are_the_derivatives_of_torchs_own_training(optimizer: str) -> None:
    data = data_of_six()
    end = weighted(optimizer, model := classifier(), data).end(WEIGHTS, tangents=True)
    assert torch.allclose(end.parameters, by_torch(optimizer, model, data, WEIGHTS), rtol=0, atol=1e-10)
    assert torch.allclose(end.tangents, differences(optimizer, model, data, WEIGHTS), rtol=1e-6, atol=1e-8)


def test_rows_of_nobody_keep_their_weight() -> None:
    data = [Batch(torch.where(torch.arange(8) < 3, -1, b.who), b.losses) for b in data_of_six()]
    end = weighted("SGD", model := classifier(), data).end(WEIGHTS, tangents=True)
    assert torch.allclose(end.parameters, by_torch("SGD", model, data, WEIGHTS), rtol=0, atol=1e-12)
    assert torch.allclose(end.tangents, differences("SGD", model, data, WEIGHTS), rtol=1e-6, atol=1e-8)


def test_a_schedule_of_learning_rates_is_followed() -> None:
    data = [Batch(b.who, b.losses, rate=0.3 / (n + 1)) for n, b in enumerate(data_of_six())]
    end = weighted("SGD, momentum", model := classifier(), data).end(WEIGHTS, tangents=True)
    assert torch.allclose(end.parameters, by_torch("SGD, momentum", model, data, WEIGHTS), rtol=0, atol=1e-12)
    assert torch.allclose(end.tangents, differences("SGD, momentum", model, data, WEIGHTS), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_dropout_draws_the_same_in_every_replay_and_chunk(chunk: int | None) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Dropout(0.4), nn.Linear(10, 3))
    data = data_of_six()
    training = weighted("SGD", model, data, chunk=chunk)
    end = training.end(WEIGHTS, tangents=True)
    assert torch.allclose(end.parameters, by_torch("SGD", model, data, WEIGHTS), rtol=0, atol=1e-12)
    assert torch.allclose(end.tangents, differences("SGD", model, data, WEIGHTS), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "Adam, weight decay, amsgrad"])
def test_it_goes_on_from_where_the_optimizer_stands(optimizer: str) -> None:
    data = data_of_six()
    model = classifier()
    begun = OPTIMIZERS[optimizer](list(model.parameters()))
    trained(model, begun, data[:3], (1, 1, 1))
    found = WeightedTraining(model, begun, data[3:], 3).everybody.parameters
    assert torch.allclose(found, trained(model, begun, data[3:], (1, 1, 1)), rtol=0, atol=1e-12)


def test_a_parameter_is_left_alone_where_it_is_frozen_or_not_used() -> None:
    model = nn.ModuleDict({"used": nn.Linear(6, 3), "idle": nn.Linear(6, 3), "frozen": nn.Linear(6, 6)})
    model["frozen"].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
    x, y = drawn(8, 0)

    def losses(m: nn.ModuleDict) -> Tensor:
        return row_losses(m["frozen"](x), y)(m["used"])

    data = [Batch(torch.arange(8) % 3, losses)] * 3
    training = WeightedTraining(model, optimizer, data, 3)
    end = training.end(0.5, tangents=True)
    for place in training.space.places:
        moved = not torch.equal(place.of(end.parameters), place.of(training.start))
        assert moved == place.name.startswith("used")
        assert bool(place.of(end.tangents).any()) == moved
    assert torch.allclose(training.everybody.parameters, trained(model, optimizer, data, (1, 1, 1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_chunks_change_nothing(optimizer: str) -> None:
    whole, *others = (
        weighted(optimizer, classifier(), data_of_six(), chunk=chunk).end(WEIGHTS, tangents=True)
        for chunk in (None, 1, 2, 7)
    )
    for other in others:
        assert torch.allclose(other.tangents, whole.tangents, rtol=1e-12, atol=1e-14)
        assert torch.equal(other.parameters, whole.parameters)


def test_tied_weights_are_one_parameter() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    end = weighted("SGD", model, data_of_six()).end(WEIGHTS, tangents=True)
    assert torch.allclose(end.parameters, by_torch("SGD", model, data_of_six(), WEIGHTS), rtol=0, atol=1e-12)
    assert torch.allclose(end.tangents, differences("SGD", model, data_of_six(), WEIGHTS), rtol=1e-6, atol=1e-8)


def test_learning_rates_may_differ_by_group() -> None:
    def grouped(rates: tuple[float, float]) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = classifier()
        first, *others = model.parameters()
        return model, torch.optim.SGD([{"params": [first], "lr": rates[0]}, {"params": others, "lr": rates[1]}])

    plain = data_of_six()
    found = WeightedTraining(*grouped((1.0, 1.0)), [Batch(b.who, b.losses, rate=[0.2, 0.05]) for b in plain], 3)
    expected = trained(*grouped((0.2, 0.05)), plain, (1, 1, 1))
    assert torch.allclose(found.everybody.parameters, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["SGD, momentum", "AdamW"])
def test_single_precision_is_kept_and_suffices(optimizer: str) -> None:
    ends = []
    for precision in (torch.float64, torch.float32):
        model = classifier().to(precision)
        data = as_batches([(x.to(precision), y, who) for x, y, who in batches(6, 3)])
        ends.append(weighted(optimizer, model, data).end(WEIGHTS, tangents=True))
    double, single = ends
    assert single.tangents.dtype == torch.float32
    assert torch.allclose(single.tangents.double(), double.tangents, rtol=1e-3, atol=1e-5)
