"""Weighted trainings, by torch's own optimizers and as batches for a replay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution.counterfactual.game import Batch
from tests.attribution.runs import Batch as Drawn

NAMES = ["ann", "bob", "cid"]

Optimizers = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Optimizers] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.3),
    "SGD, momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "SGD, dampening, weight decay": lambda p: torch.optim.SGD(
        p, lr=0.2, momentum=0.8, dampening=0.3, weight_decay=0.05
    ),
    "SGD, Nesterov, weight decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.05),
    "SGD, uphill": lambda p: torch.optim.SGD(p, lr=0.1, maximize=True),
    "SGD, groups": lambda p: torch.optim.SGD(
        [{"params": list(p)[:1], "lr": 0.2, "momentum": 0.9}, {"params": list(p)[1:], "weight_decay": 0.1}], lr=0.05
    ),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.03),
    "Adam, weight decay, amsgrad": lambda p: torch.optim.Adam(
        p, lr=0.03, weight_decay=0.05, amsgrad=True, betas=(0.8, 0.9)
    ),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.1),
    "AdamW, fused": lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.1, fused=True),
}


def row_losses(x: Tensor, y: Tensor) -> Callable[[nn.Module], Tensor]:
    """What each row adds to the mean cross-entropy."""
    return lambda model: functional.cross_entropy(model(x), y, reduction="none") / len(y)


def as_batches(data: Sequence[Drawn]) -> list[Batch]:
    """Inputs, targets and contributors, as a replay takes them."""
    return [Batch(who, row_losses(x, y)) for x, y, who in data]


def trained(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    weights: Sequence[float],
    *,
    seconds: list[dict[nn.Parameter, Tensor]] | None = None,
    held: list[dict[nn.Parameter, Tensor]] | None = None,
) -> Tensor:
    """The parameters ``[P]`` after training `model` with torch's `optimizer`, contributors weighing `weights`.

    `seconds` takes Adam's second moments after each step. With those as `held`, the steps are made with them: before
    each, the second moment is set to what the step's own gradient will make of it.
    """
    table = torch.tensor([*weights, 1.0])
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        (batch.losses(model) * table[batch.who]).sum().backward()
        if batch.rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = batch.rate
        if held is not None:
            _hold(optimizer, held[step], step)
        optimizer.step()
        if seconds is not None:
            seconds.append({p: optimizer.state[p]["exp_avg_sq"].clone() for p in model.parameters()})
    return nn.utils.parameters_to_vector(p.detach() for p in model.parameters())


def _hold(optimizer: torch.optim.Optimizer, held: dict[nn.Parameter, Tensor], step: int) -> None:
    for group in optimizer.param_groups:
        beta2 = group["betas"][1]
        for p, second in zip(group["params"], held.values(), strict=True):
            decay = 0 if isinstance(optimizer, torch.optim.AdamW) else group["weight_decay"]
            gradient = p.grad + decay * p.detach()
            if not step:
                zeros = torch.zeros_like(p)
                optimizer.state[p] = {"step": torch.tensor(0.0), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
                if group["amsgrad"]:
                    optimizer.state[p]["max_exp_avg_sq"] = zeros.clone()
            optimizer.state[p]["exp_avg_sq"] = (second - (1 - beta2) * gradient**2) / beta2
