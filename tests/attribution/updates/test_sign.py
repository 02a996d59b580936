"""The sign of a sum: divided in proportion where the parts decided it, the house's where rounding did."""

from __future__ import annotations

import lion_pytorch
import pytest
import torch
from torch import nn, optim

from attribution.updates import Slot, rule_for
from attribution.updates.sign import divided_sign

EPSILON = torch.finfo(torch.float64).eps


def test_parts_that_agree_share_the_sign_in_proportion_and_rounding_decides_for_nobody() -> None:
    parts = torch.tensor([[3.0, -2.0, 1.0, 0.0, 1.0], [1.0, 1.0, -1.0, 0.0, 1e-13 - 1.0]])
    sign = torch.tensor([1.0, -1.0, -1.0, 0.0, 1.0])
    scale, rest = divided_sign(parts, sign, EPSILON)
    assert (parts * scale)[:, 0].tolist() == [0.75, 0.25]
    assert (parts * scale)[:, 1].tolist() == [-2.0, 1.0]
    assert scale[2:4].tolist() == [0.0, 0.0]
    assert rest.tolist() == [0.0, 0.0, -1.0, 0.0, 0.0]
    assert (parts * scale).sum(0) + rest == pytest.approx(sign, rel=1e-3)


@pytest.mark.parametrize(
    "build", [lambda p: lion_pytorch.Lion(p, lr=0.1, weight_decay=0.2), lambda p: optim.Rprop(p, lr=0.1)]
)
def test_what_rounding_decided_is_the_house_s_and_still_adds_up(build) -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimizer = build([parameter])
    gradient = torch.tensor([[1.0, 1.0, 5.0], [-1.0, -1.0, -2.0], [0.0, 0.0, 0.0]])
    parameter.grad = torch.tensor([1e-17, 0.0, 3.0])  # the first element's parts sum to zero, the true sum does not
    start = parameter.detach().clone()
    optimizer.step()
    slot = Slot(
        options=optimizer.param_groups[0],
        shape=(3,),
        start=start,
        end=parameter.detach(),
        gradient=gradient,
        memory=torch.zeros(3, 3),
        fresh=True,
        span=slice(0, 3),
        after=optimizer.state[parameter],
        earlier={},
    )
    share = rule_for(optimizer).divide(slot)
    displacements = share.linear * share.scale
    assert not displacements[:, :2].any()
    assert displacements[:, 2] == pytest.approx(torch.tensor([-0.5 / 3, 0.2 / 3, 0.0]))
    assert displacements.sum(0) + share.decay == pytest.approx(parameter.detach() - start, rel=1e-12)
