"""Optimizers with their options, and a metered run of each that has everything: groups, a schedule, accumulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import lion_pytorch
from torch import Tensor, nn, optim
from torch.nn import functional

from attribution import InRunShapley
from tests.attribution.oracle import contributor_gradients
from tests.attribution.runs import batches, classifier, objective
from tests.attribution.updates import by_hand

NAMES = ["alice", "bob", "carol", "dave"]  # carol comes to every other batch, dave never


@dataclass(frozen=True)
class Case:
    """An optimizer with options; `hand` is the same by hand; `fused` where torch has that on a CPU."""

    kind: type[optim.Optimizer]
    options: dict
    hand: type[by_hand.ByHand]
    fused: bool = False

    @property
    def foreach(self) -> bool:
        return self.kind not in (optim.Muon, lion_pytorch.Lion)

    @property
    def decoupled(self) -> bool:
        always = self.kind in (optim.AdamW, optim.Muon, lion_pytorch.Lion)
        return always or self.options.get("decoupled_weight_decay", False)

    def optimizer(self, model: nn.Module, **variant: object) -> optim.Optimizer:
        """Over two groups with rates and decays of their own; Muon trains the matrices only."""
        parameters = list(model.parameters())
        if issubclass(self.kind, optim.Muon):
            parameters = [p.requires_grad_(p.dim() == 2) for p in parameters]
            parameters = [p for p in parameters if p.requires_grad]
        own = {"lr": 1.5 * self.options["lr"]}
        if self.options.get("weight_decay"):
            own["weight_decay"] = 0.5 * self.options["weight_decay"]
        half = len(parameters) // 2
        groups = [{"params": parameters[:half]}, {"params": parameters[half:], **own}]
        return self.kind(groups, **{**self.options, **variant})


decay, up = {"weight_decay": 0.1}, {"maximize": True}
CASES = {
    "SGD": Case(optim.SGD, {"lr": 0.1} | decay, by_hand.SGD, fused=True),
    "SGD, momentum, dampening": Case(
        optim.SGD, {"lr": 0.1, "momentum": 0.8, "dampening": 0.3} | decay | up, by_hand.SGD, fused=True
    ),
    "SGD, Nesterov": Case(optim.SGD, {"lr": 0.1, "momentum": 0.8, "nesterov": True} | decay, by_hand.SGD, fused=True),
    "Adam": Case(optim.Adam, {"lr": 0.01, "betas": (0.8, 0.9)} | decay, by_hand.Adam, fused=True),
    "Adam, amsgrad, maximize": Case(
        optim.Adam, {"lr": 0.01, "betas": (0.5, 0.6), "amsgrad": True} | decay | up, by_hand.Adam, fused=True
    ),
    "AdamW": Case(optim.AdamW, {"lr": 0.01, "betas": (0.8, 0.9)} | decay, by_hand.Adam, fused=True),
    "AdamW, amsgrad, maximize": Case(
        optim.AdamW, {"lr": 0.01, "betas": (0.5, 0.6), "amsgrad": True} | decay | up, by_hand.Adam, fused=True
    ),
    "NAdam": Case(optim.NAdam, {"lr": 0.01, "betas": (0.8, 0.9)} | decay, by_hand.NAdam),
    "NAdam, decoupled, maximize": Case(
        optim.NAdam,
        {"lr": 0.01, "betas": (0.8, 0.9), "momentum_decay": 0.5, "decoupled_weight_decay": True} | decay | up,
        by_hand.NAdam,
    ),
    "RAdam, never rectified": Case(optim.RAdam, {"lr": 0.01, "betas": (0.8, 0.6)} | decay, by_hand.RAdam),
    "RAdam, rectified in time": Case(
        optim.RAdam,
        {"lr": 0.01, "betas": (0.8, 0.9), "decoupled_weight_decay": True} | decay | up,
        by_hand.RAdam,
    ),
    "RMSprop": Case(optim.RMSprop, {"lr": 0.003, "alpha": 0.9, "momentum": 0.0} | decay, by_hand.RMSprop),
    "RMSprop, momentum": Case(optim.RMSprop, {"lr": 0.003, "momentum": 0.8} | decay | up, by_hand.RMSprop),
    "RMSprop, centred": Case(
        optim.RMSprop, {"lr": 0.003, "alpha": 0.9, "momentum": 0.0, "centered": True}, by_hand.RMSprop
    ),
    "RMSprop, centred, momentum": Case(
        optim.RMSprop, {"lr": 0.003, "alpha": 0.9, "momentum": 0.8, "centered": True} | decay, by_hand.RMSprop
    ),
    "Adagrad": Case(optim.Adagrad, {"lr": 0.05} | decay, by_hand.Adagrad, fused=True),
    "Adagrad, rate decay, start, maximize": Case(
        optim.Adagrad,
        {"lr": 0.05, "lr_decay": 0.3, "initial_accumulator_value": 0.1} | decay | up,
        by_hand.Adagrad,
        fused=True,
    ),
    "Adadelta": Case(optim.Adadelta, {"lr": 1.0, "eps": 1e-4} | decay, by_hand.Adadelta),
    "Adadelta, maximize": Case(optim.Adadelta, {"lr": 0.5, "rho": 0.7} | decay | up, by_hand.Adadelta),
    "Adamax": Case(optim.Adamax, {"lr": 0.01, "betas": (0.8, 0.7)} | decay, by_hand.Adamax),
    "Adamax, maximize": Case(optim.Adamax, {"lr": 0.01} | up, by_hand.Adamax),
    "ASGD": Case(optim.ASGD, {"lr": 0.1, "lambd": 0.05} | decay, by_hand.ASGD),
    "ASGD, maximize": Case(optim.ASGD, {"lr": 0.1, "lambd": 0.2, "alpha": 0.5, "t0": 2} | up, by_hand.ASGD),
    "Rprop": Case(optim.Rprop, {"lr": 0.002}, by_hand.Rprop),
    "Rprop, maximize": Case(optim.Rprop, {"lr": 0.002, "step_sizes": (1e-4, 0.003)} | up, by_hand.Rprop),
    "Lion": Case(lion_pytorch.Lion, {"lr": 0.003, "betas": (0.9, 0.8)} | decay, by_hand.Lion),
    "Muon": Case(optim.Muon, {"lr": 0.02, "momentum": 0.8} | decay, by_hand.Muon),
    "Muon, plain momentum, matched": Case(
        optim.Muon,
        {"lr": 0.02, "momentum": 0.8, "nesterov": False, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.0},
        by_hand.Muon,
    ),
    "Muon, two iterations of its own": Case(
        optim.Muon, {"lr": 0.02, "momentum": 0.7, "ns_steps": 2, "ns_coefficients": (2.0, -1.5, 0.5)}, by_hand.Muon
    ),
}


@dataclass(frozen=True)
class Moment:
    """One parameter in one step."""

    options: dict  # of its group, in this step
    start: Tensor  # [*shape]
    end: Tensor  # [*shape]
    gradients: Tensor | None  # [contributors, *shape], by a backward pass each; None where the run did without
    displacements: Tensor  # [parts, *shape], the meter's


def trace(
    case: Case, steps: int = 9, *, oracle: bool = True, warm: int = 0, zero: bool = True, **variant: object
) -> list[list[Moment]]:
    """Meter a run and tell, of each trained parameter, its moments.

    `warm` steps go before the meter comes; without `zero` the gradients of all steps pile up.
    """
    model = classifier()
    optimizer = case.optimizer(model, **variant)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    data = [_who(batch, i) for i, batch in enumerate(batches(2 * (warm + steps), 3))]
    for inputs, targets, _ in data[: 2 * warm]:
        functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    meter = InRunShapley(model, optimizer, objective(), NAMES, method="first_order", keep_displacements=True)
    options = {p: group for group in optimizer.param_groups for p in group["params"]}
    trained = {name: p for name, p in model.named_parameters() if p in options}
    moments: list[list[Moment]] = [[] for _ in trained]
    parts: dict[str, Tensor] = {}
    for step in range(steps):
        accumulated = data[2 * (warm + step) :][:2]
        earlier = {} if zero else parts
        parts = _gradients(model, accumulated, earlier) if oracle else {}
        starts = [p.detach().clone() for p in trained.values()]
        for inputs, targets, who in accumulated:
            with meter.batch(who):
                functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        moved = meter.displacements.split([p.numel() for p in trained.values()], dim=1)
        for (name, p), start, displaced, told in zip(trained.items(), starts, moved, moments, strict=True):
            kept = {key: value for key, value in options[p].items() if key != "params"}
            shaped = displaced.reshape(-1, *p.shape)
            told.append(Moment(kept, start, p.detach().clone(), parts.get(name), shaped))
        schedule.step()
        if zero:
            optimizer.zero_grad()
    meter.finish()
    return moments


def _who(batch: tuple[Tensor, Tensor, Tensor], index: int) -> tuple[Tensor, Tensor, Tensor]:
    inputs, targets, who = batch
    return inputs, targets, who if index % 4 < 2 else who % 2


def _gradients(
    model: nn.Module, data: Sequence[tuple[Tensor, Tensor, Tensor]], earlier: dict[str, Tensor]
) -> dict[str, Tensor]:
    found = dict(earlier)
    for inputs, targets, who in data:
        loss = lambda outputs, targets=targets: functional.cross_entropy(outputs, targets)  # noqa: E731
        for name, parts in contributor_gradients(model, inputs, loss, who, len(NAMES)).items():
            found[name] = found.get(name, 0) + parts
    return found
