"""Small metered runs for the tests: a model, its data, and a loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import lion_pytorch
import torch
from torch import Tensor, nn
from torch.nn import functional

from attribution import InRunShapley, RunRecord


def _matrices(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """The matrices among `parameters`, the others frozen: Muon trains nothing else."""
    for parameter in parameters:
        parameter.requires_grad_(parameter.dim() == 2)
    return [parameter for parameter in parameters if parameter.dim() == 2]


OPTIMIZERS: dict[str, Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD, weight decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.05),
    "SGD, momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "SGD, momentum, dampening, weight decay": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.8, dampening=0.3, weight_decay=0.05
    ),
    "SGD, Nesterov, weight decay": lambda p: torch.optim.SGD(
        p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.05
    ),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "Adam, weight decay": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.05),
    "Adam, amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, betas=(0.7, 0.9)),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "AdamW, not foreach": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, foreach=False),
    "AdamW, fused": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, fused=True),
    "NAdam, weight decay": lambda p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.05),
    "RAdam, decoupled decay": lambda p: torch.optim.RAdam(
        p, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1, decoupled_weight_decay=True
    ),
    "RMSprop, centred, momentum": lambda p: torch.optim.RMSprop(p, lr=0.003, momentum=0.8, centered=True, alpha=0.9),
    "Adagrad, fused": lambda p: torch.optim.Adagrad(p, lr=0.05, lr_decay=0.1, fused=True),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=1.0, weight_decay=0.05, eps=1e-4),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.1, lambd=0.01),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.002),
    "Lion": lambda p: lion_pytorch.Lion(p, lr=0.003, weight_decay=0.1),
    "Muon": lambda p: torch.optim.Muon(_matrices(list(p)), lr=0.02),
    "SGD, groups": lambda p: torch.optim.SGD(
        [{"params": list(p)[:1], "lr": 0.2, "momentum": 0.9}, {"params": list(p)[1:], "weight_decay": 0.1}], lr=0.05
    ),
}


def classifier(seed: int = 0, inputs: int = 6, classes: int = 3) -> nn.Sequential:
    """An MLP in the default precision."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 10), nn.Tanh(), nn.Linear(10, classes))


def drawn(rows: int, seed: int, inputs: int = 6, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Vectors and the classes that a fixed rule gives them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs, generator=generator)
    return x, x[:, :classes].argmax(dim=1)


Batch = tuple[Tensor, Tensor, Tensor]


def batches(count: int, contributors: int, rows: int = 8, seed: int = 1) -> list[Batch]:
    """Inputs, targets and contributors of `count` batches."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (*drawn(rows, 100 * seed + i), torch.randint(0, contributors, (rows,), generator=generator))
        for i in range(count)
    ]


def objective(seed: int = 77) -> Callable[[nn.Module], Tensor]:
    """Cross entropy on rows of its own."""
    x, y = drawn(40, seed)
    return lambda model: functional.cross_entropy(model(x), y)


def run(
    optimizer: str,
    data: Sequence[Batch],
    contributors: Sequence[str],
    *,
    goal: object = None,
    model: nn.Module | None = None,
    before_step: Callable[[nn.Module], None] | None = None,
    **options: object,
) -> RunRecord:
    """Train `model` on `data` with the meter, one step a batch."""
    model = model or classifier()
    chosen = OPTIMIZERS[optimizer](list(model.parameters()))
    meter = InRunShapley(model, chosen, goal or objective(), contributors, **options)
    for inputs, targets, who in data:
        with meter.batch(who):
            functional.cross_entropy(model(inputs), targets).backward()
        if before_step is not None:
            before_step(model)
        chosen.step()
        chosen.zero_grad()
    return meter.finish()
