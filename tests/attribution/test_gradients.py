"""What became of the gradient between the backward pass and the step: scaled for all, or the house's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from attribution.ghost.gradients import DividedGradient
from attribution.parameters import ParameterSpace
from tests.attribution.runs import batches, classifier

FACTORS = [1.0, 0.999, 0.37, 3e-4, 128.0]


def divided(dtype: torch.dtype = torch.float64) -> tuple[nn.Module, DividedGradient]:
    """A gradient of three contributors, as if a batch had just been metered."""
    torch.set_default_dtype(dtype)
    model = classifier().to(dtype)
    space = ParameterSpace(model, torch.optim.SGD(model.parameters(), lr=0.1))
    gradient = DividedGradient(space, 3)
    inputs, targets, who = batches(1, 3, rows=12)[0]
    for contributor in range(3):
        rows = who == contributor
        loss = functional.cross_entropy(model(inputs[rows]), targets[rows], reduction="sum") / len(who)
        parts = torch.autograd.grad(loss, list(model.parameters()))
        for place, part in zip(space.places, parts, strict=True):
            gradient.parts.of(contributor, place).add_(part.reshape(-1))
    for place in space.places:
        place.parameter.grad = gradient.parts.total(place).reshape(place.parameter.shape)
    gradient.note()
    return model, gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_common_factor_scales_every_part(factor: float, dtype: torch.dtype) -> None:
    model, gradient = divided(dtype)
    before = gradient.whole()
    for parameter in model.parameters():
        parameter.grad.mul_(factor)
    gradient.settle()
    close = 1e-5 if dtype == torch.float32 else 1e-12
    assert torch.allclose(gradient.whole()[:-1], factor * before[:-1], rtol=close, atol=0)
    assert float(gradient.whole()[-1].norm()) <= close * float(gradient.whole().norm())


@pytest.mark.parametrize("factor", FACTORS)
def test_one_parameter_clipped_on_its_own_keeps_its_own_factor(factor: float) -> None:
    model, gradient = divided()
    before = gradient.whole()
    model[2].weight.grad.mul_(factor)
    gradient.settle()
    place = gradient.space.place(model[2].weight)
    assert torch.allclose(place.of(gradient.whole())[:-1], factor * place.of(before)[:-1], rtol=1e-9)
    other = gradient.space.place(model[0].weight)
    assert torch.allclose(other.of(gradient.whole())[:-1], other.of(before)[:-1], rtol=1e-9)


@pytest.mark.parametrize("factor", [1.0, 0.2])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_elements_edited_by_hand_are_the_house_s_whatever_the_factor(factor: float, share: float) -> None:
    model, gradient = divided()
    before = gradient.whole()
    for parameter in model.parameters():
        parameter.grad.mul_(factor)
    weight = model[0].weight.grad
    edited = torch.rand_like(weight) < share
    weight[edited] += torch.randn_like(weight)[edited]
    gradient.settle()
    assert torch.allclose(gradient.whole()[:-1], factor * before[:-1], rtol=1e-9)
    assert float(gradient.whole()[-1].norm()) > 0.1


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_noise_on_everything_is_the_house_s_and_not_read_as_a_factor(scale: float) -> None:
    model, gradient = divided()
    before = gradient.whole()
    noise = [torch.randn_like(p) * scale * float(p.grad.norm()) / p.numel() ** 0.5 for p in model.parameters()]
    for parameter, extra in zip(model.parameters(), noise, strict=True):
        parameter.grad.add_(extra)
    gradient.settle()
    assert torch.allclose(gradient.whole()[:-1], before[:-1], rtol=1e-9)
    assert torch.allclose(gradient.whole()[-1], torch.cat([n.reshape(-1) for n in noise]), rtol=1e-9, atol=1e-12)


def test_the_parts_always_sum_to_the_gradient_that_the_optimizer_uses() -> None:
    for change in (lambda g: g * 0.3, lambda g: g.clamp(-0.01, 0.01), lambda g: g + 1, torch.zeros_like):
        model, gradient = divided()
        for parameter in model.parameters():
            parameter.grad = change(parameter.grad)
        gradient.settle()
        whole = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
        assert torch.allclose(gradient.whole().sum(0), whole, atol=1e-14)
