"""Unlearning on any model: what is taken back is what the contributor's gradients did, and no more is claimed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attribution import InRunShapley
from attribution.displacements import Displacements
from attribution.errors import RecordError
from attribution.parameters import fingerprint
from attribution.uses.errors import UseError
from attribution.uses.unlearning import forget

WHO = ["ann", "bob", "cy"]
STEPS, ROWS = 12, 9
Optimizers = dict[str, Any]
OPTIMIZERS: Optimizers = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
}


def squares(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return ((model(inputs) - targets) ** 2).sum(dim=1).mean()


def data(blocks: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and owners of each step's rows; with `blocks` every owner has inputs of its own."""
    chance = torch.Generator().manual_seed(3)
    inputs = torch.randn(STEPS, ROWS, 6, generator=chance, dtype=torch.float64)
    targets = torch.randn(STEPS, ROWS, 2, generator=chance, dtype=torch.float64)
    owner = torch.arange(ROWS) % 3
    if blocks:
        inputs = inputs * (torch.arange(6) // 2 == owner[:, None])
    return inputs, targets, owner


def network(blocks: bool = False) -> nn.Module:
    torch.manual_seed(1)
    if blocks:
        return nn.Linear(6, 2, bias=False).double()
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def trained(optimizer: str, blocks: bool = False) -> tuple[nn.Module, Displacements, Any]:
    model, (inputs, targets, owner) = network(blocks), data(blocks)
    held = torch.randn(8, 6, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)
    updates = OPTIMIZERS[optimizer](model.parameters())

    def objective(asked: nn.Module) -> Tensor:
        return squares(asked, *held)

    with InRunShapley(model, updates, objective, WHO, keep_displacements="run") as meter:
        for rows, wanted in zip(inputs, targets, strict=True):
            with meter.batch(owner):
                squares(model, rows, wanted).backward()
            updates.step()
            updates.zero_grad()
        return model, meter.run_displacements, objective


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def test_the_whole_estimate_is_the_run_less_the_contributors_own_gradients() -> None:
    model, displacements, objective = trained("sgd")
    copy, (inputs, targets, owner) = network(), data()
    updates, taken = OPTIMIZERS["sgd"](copy.parameters()), torch.zeros(flat(copy).numel(), dtype=torch.float64)
    for rows, wanted in zip(inputs, targets, strict=True):
        mine = owner == 1
        loss = squares(copy, rows[mine], wanted[mine]) * mine.sum() / ROWS
        taken -= 0.1 * torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(copy.parameters()))])
        squares(copy, rows, wanted).backward()
        updates.step()
        updates.zero_grad()
    torch.testing.assert_close(flat(copy), flat(model))
    forget(model, displacements, "bob", objective, strength=1.0)
    torch.testing.assert_close(flat(model), flat(copy) - taken)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_who_shares_no_parameter_with_the_others_is_unlearned_exactly(optimizer: str) -> None:
    model, displacements, objective = trained(optimizer, blocks=True)
    truth, (inputs, targets, owner) = network(blocks=True), data(blocks=True)
    updates = OPTIMIZERS[optimizer](truth.parameters())
    for rows, wanted in zip(inputs, targets, strict=True):
        kept = owner != 1
        (squares(truth, rows[kept], wanted[kept]) * kept.sum() / ROWS).backward()
        updates.step()
        updates.zero_grad()
    forget(model, displacements, "bob", objective, strength=1.0)
    if optimizer == "sgd":
        torch.testing.assert_close(flat(model), flat(truth))
    else:  # what weight decay did to bob's parameters is the house's, and stays
        others = (torch.arange(6) // 2 != 1).repeat(2)
        torch.testing.assert_close(flat(model)[others], flat(truth)[others])


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_the_slope_foretells_a_small_estimate_and_the_losses_are_those_of_the_model(optimizer: str) -> None:
    model, displacements, objective = trained(optimizer)
    end, strength = flat(model), 1e-5
    seen = []
    found = forget(model, displacements, "cy", objective, lambda: seen.append(flat(model)), strength=strength)
    assert found.estimate - found.before == pytest.approx(found.slope, rel=1e-3)
    torch.testing.assert_close(seen[0], end - strength * displacements.of("cy"))
    assert found.after == pytest.approx([objective(model).item()], abs=1e-12)
    assert found.parameters_after == found.parameters_estimate == fingerprint(model) != found.parameters_before


def test_what_the_repair_does_is_measured_after_it() -> None:
    model, displacements, objective = trained("adamw")

    def repair() -> None:
        updates = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(20):
            objective(model).backward()
            updates.step()
            updates.zero_grad()

    found = forget(model, displacements, "ann", {"held": objective}, repair)
    assert found.tasks == ["held"]
    assert found.after[0] < found.estimate[0]
    assert found.parameters_after not in (found.parameters_before, found.parameters_estimate)


def test_no_strength_takes_nothing_back() -> None:
    model, displacements, objective = trained("sgd")
    found = forget(model, displacements, "ann", objective, strength=0.0)
    assert found.parameters_before == found.parameters_after
    assert found.slope[0] == 0 == found.estimate[0] - found.before[0]


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_strengths_that_make_no_sense_are_refused(strength: float) -> None:
    model, displacements, objective = trained("sgd")
    before = fingerprint(model)
    with pytest.raises(UseError, match="between 0 and 1"):
        forget(model, displacements, "ann", objective, strength=strength)
    assert fingerprint(model) == before


def test_strangers_other_models_and_broken_losses_are_refused() -> None:
    model, displacements, objective = trained("sgd")
    with pytest.raises(UseError, match="'zoe' took no part"):
        forget(model, displacements, "zoe", objective)

    def broken() -> None:
        with torch.no_grad():
            next(model.parameters()).fill_(float("nan"))

    with pytest.raises(UseError, match="the repaired model is not finite"):
        forget(model, displacements, "ann", objective, broken)
    with pytest.raises(RecordError, match="miss its last parameters"):
        forget(network(), displacements, "ann", objective)
