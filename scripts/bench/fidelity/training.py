"""One training, plain or metered: what every table repeats in some variation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attribution import InRunShapley, RunRecord, Valuation
from fidelity.materials import Materials, materials
from fidelity.models import BUILDERS, mean_loss, mean_loss_by_row


@dataclass(frozen=True)
class Case:
    """What is trained, and how; all but the seed decide on what values should be."""

    setting: str
    scenario: str
    optimizer: str  # SGD, momentum or AdamW
    rate: float
    steps: int
    batch: int = 64
    seed: int = 0
    stratified: bool = False

    @property
    def materials(self) -> Materials:
        return materials(self.setting, self.scenario)

    @property
    def update(self) -> str:
        """The optimizer with its learning rate."""
        return f"{self.optimizer} {self.rate:g}"

    def start(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The untrained model of this seed, and its optimizer."""
        torch.manual_seed(self.seed)
        model = BUILDERS[self.setting]()
        if self.optimizer == "AdamW":
            return model, torch.optim.AdamW(model.parameters(), lr=self.rate)
        return model, torch.optim.SGD(
            model.parameters(), lr=self.rate, momentum=0.9 if self.optimizer == "momentum" else 0
        )

    def validation(self, model: nn.Module) -> Tensor:
        """The objective."""
        return mean_loss(model, self.materials.held_inputs, self.materials.held_targets)

    def row_losses(self, rows: Tensor) -> Callable[[nn.Module], Tensor]:
        """What each of a batch's `rows` adds to its mean loss, as a function of the model."""
        return partial(mean_loss_by_row, inputs=self.materials.inputs[rows], targets=self.materials.targets[rows])

    def batches(self, coalition: Sequence[int] | None = None) -> Iterator[Tensor]:
        """The rows of each step, drawn from those of `coalition`, given as indices of contributors.

        Plain batches are drawn with replacement. Stratified ones hold every contributor's rows in proportion to how
        many it has, to the nearest row, chance deciding on the rest.
        """
        owner = self.materials.owner
        mine = torch.arange(len(owner)) if coalition is None else torch.isin(owner, torch.tensor(coalition)).nonzero()
        mine = mine.reshape(-1)
        draw = torch.Generator().manual_seed(1000 + self.seed)
        for _ in range(self.steps):
            if not self.stratified:
                yield mine[torch.randint(0, len(mine), (self.batch,), generator=draw)]
                continue
            shuffled = mine[torch.randperm(len(mine), generator=draw)]
            grouped = shuffled[torch.argsort(owner[shuffled], stable=True)]
            places = (torch.arange(self.batch) + torch.rand(1, generator=draw)) * (len(mine) / self.batch)
            yield grouped[places.long().clamp(max=len(mine) - 1)]


def retrained(case: Case, coalition: Sequence[int], *, masked: bool = False) -> float:
    """The validation loss after the same number of steps on the coalition's rows alone; of nobody's: untrained.

    With `masked`, on everybody's batches from which the others' rows are struck: nobody takes their place.
    """
    model = trained(case, coalition, masked=masked)
    with torch.no_grad():
        return float(case.validation(model))


def trained(case: Case, coalition: Sequence[int] | None = None, *, masked: bool = False) -> nn.Module:
    """The model after training on the coalition's rows alone; on everybody's where none is given."""
    model, optimizer = case.start()
    if coalition is None or (len(coalition) and not masked):
        _train(case, model, optimizer, coalition)
    elif masked:
        _train_masked(case, model, optimizer, coalition)
    return model


def metered(case: Case, **options: Any) -> RunRecord:
    """The record of the run on everybody's rows."""
    model, optimizer = case.start()
    meter = InRunShapley(model, optimizer, case.validation, case.materials.contributors, **options)
    _train(case, model, optimizer, None, meter)
    return meter.finish()


def opposition(case: Case) -> list[float]:
    """How far contributors' displacements go beside the step that they sum to, ``[steps]``.

    Their lengths' sum over the length of the sum: 1 where all pull alike.
    """
    model, optimizer = case.start()
    meter = InRunShapley(
        model, optimizer, case.validation, case.materials.contributors, method="first_order", keep_displacements=True
    )
    found: list[float] = []

    def note() -> None:
        parts = meter.displacements
        assert parts is not None
        found.append(float(parts[:-1].norm(dim=1).sum() / parts.sum(dim=0).norm()))

    _train(case, model, optimizer, None, meter, note)
    meter.finish()
    return found


def by_path(record: RunRecord, names: dict[int | str, str]) -> dict[str, Valuation]:
    """A record's own valuation and those beside it, under the names given to the lengths of their paths."""
    own, *_ = names.values()
    found = {own: Valuation(record.values, record.house, record.gap, nodes=int(record.steps.nodes.sum()))}
    return found | {names[valuation.details["every"]]: valuation for valuation in record.beside.values()}


def sgd_formula(case: Case) -> np.ndarray:
    """Values ``[steps, contributors]`` by the shortcut that takes every step for one of plain SGD.

    A contributor's value is the learning rate times the product of its part of the gradient with the validation
    gradient, whatever the optimizer made of it.
    """
    model, optimizer = case.start()
    parameters, data = list(model.parameters()), case.materials
    found = np.zeros((case.steps, len(data.contributors)))
    for step, rows in enumerate(case.batches()):
        ahead = torch.autograd.grad(case.validation(model), parameters)
        optimizer.zero_grad()
        for contributor in data.owner[rows].unique().tolist():
            own = rows[data.owner[rows] == contributor]
            loss = mean_loss(model, data.inputs[own], data.targets[own]) * len(own) / len(rows)
            parts = torch.autograd.grad(loss, parameters)
            found[step, contributor] = case.rate * sum(float((a * p).sum()) for a, p in zip(ahead, parts, strict=True))
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.grad = part if parameter.grad is None else parameter.grad + part
        optimizer.step()
    return found


def _train(
    case: Case,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    coalition: Sequence[int] | None,
    meter: InRunShapley | None = None,
    after_step: Callable[[], None] | None = None,
) -> None:
    data = case.materials
    for rows in case.batches(coalition):
        block: AbstractContextManager[None] = nullcontext()
        if meter is not None:
            block = meter.batch(data.owner[rows], losses=case.row_losses(rows))
        with block:
            mean_loss(model, data.inputs[rows], data.targets[rows]).backward()
        optimizer.step()
        optimizer.zero_grad()
        if after_step is not None:
            after_step()


def _train_masked(case: Case, model: nn.Module, optimizer: torch.optim.Optimizer, coalition: Sequence[int]) -> None:
    data, members = case.materials, torch.tensor(coalition)
    for rows in case.batches():
        kept = rows[torch.isin(data.owner[rows], members)]
        if len(kept):
            (mean_loss(model, data.inputs[kept], data.targets[kept]) * len(kept) / len(rows)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
