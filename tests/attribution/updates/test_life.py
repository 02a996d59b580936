"""How long a gradient lives: what one unit of it moves over all steps to come, the scaling held fixed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attribution.updates import Slot, lifetime, rule_for
from tests.attribution.updates.cases import CASES

SHAPE, STEPS_TO_COME = (3, 4), 400


@pytest.mark.parametrize("before", [0, 6])
@pytest.mark.parametrize("case", CASES)
def test_the_life_of_a_gradient_is_what_an_impulse_of_it_moves_by_hand(case: str, before: int) -> None:
    options, hand = dict(CASES[case].options), CASES[case].hand
    options["weight_decay"] = 0.0
    if "lambd" in options:
        options["lambd"] = 0.0
    if CASES[case].kind is torch.optim.Rprop:
        options.pop("weight_decay")
    parameter = nn.Parameter(torch.randn(SHAPE))
    optimizer = CASES[case].kind([parameter], **options)
    group, sign = optimizer.param_groups[0], -1 if options.get("maximize") else 1
    by_hand, rule = hand(group), rule_for(optimizer)
    for step in range(before + 1):
        parameter.grad = torch.randn(SHAPE)
        start = parameter.detach().clone()
        remembered = rule.memory(optimizer.state[parameter])
        memory = torch.zeros(1, 12) if remembered is None else remembered.reshape(1, -1).clone()
        earlier = {n: v.clone() for n, v in optimizer.state[parameter].items() if n in rule.keeps(group)}
        optimizer.step()
        by_hand.observe(sign * parameter.grad)
        if step < before:
            by_hand.move(sign * parameter.grad)
    slot = Slot(
        options=group,
        shape=SHAPE,
        start=start.reshape(-1),
        end=parameter.detach().reshape(-1),
        gradient=parameter.grad.reshape(1, -1).clone(),
        memory=memory if rule.remembers(group) else None,
        fresh=before == 0,
        span=slice(0, 12),
        after=optimizer.state[parameter],
        earlier=earlier,
    )
    by_hand.forget()
    moved = by_hand.move(sign * torch.eye(12).reshape(-1, *SHAPE))
    for _ in range(STEPS_TO_COME):
        moved = moved + by_hand.move(torch.zeros(12, *SHAPE))
    expected = moved.reshape(12, 12).t()
    assert torch.allclose(rule.divide(slot).credited(torch.eye(12)), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("step", [1, 2, 50, 20_000])
def test_the_lifetime_is_the_sum_of_its_series(beta: float, step: int) -> None:
    series = sum((1 - beta) * beta ** (t - step) / (1 - beta**t) for t in range(step, step + 40_000))
    assert lifetime(beta, step) == pytest.approx(series, rel=1e-9)
