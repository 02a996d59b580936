"""What the run with everybody tells of each step, so that every replay takes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attribution.counterfactual.game import Batch
from attribution.errors import BatchError


@dataclass(frozen=True)
class Noted:
    """One optimizer step of the run with everybody."""

    who: Tensor  # [rows], −1 for nobody's
    rates: list[float]  # by group of the optimizer
    losses: Tensor  # [rows], at weight 1
    used: list[bool]  # by parameter: whether the step moves it
    held: list[Tensor | None]  # by parameter: the optimizer's scaling [n], where it has one

    def same(self, step: int, batch: Batch | None) -> bool:
        """Whether `batch` is this step's, as far as contributors and learning rates can tell."""
        if not isinstance(batch, Batch):
            return False
        return torch.equal(torch.as_tensor(batch.who).to(self.who), self.who) and self.rates == checked_rates(
            step, batch, self.rates
        )


def checked_who(step: int, batch: Any, contributors: int) -> Tensor:
    """The rows' contributors, a LongTensor ``[rows]``. Raises `BatchError`, naming step and row, for what is none."""
    if not isinstance(batch, Batch):
        raise BatchError(f"step {step}: batches must give Batch(who, losses, rate), not {type(batch).__name__}")
    who = torch.as_tensor(batch.who).detach()
    if who.dim() != 1 or not len(who) or who.is_floating_point() or who.dtype == torch.bool:
        raise BatchError(f"step {step}: who must be a LongTensor [rows], not {who.dtype} of shape {tuple(who.shape)}")
    if len(wrong := ((who < -1) | (who >= contributors)).nonzero().reshape(-1)):
        row = int(wrong[0])
        raise BatchError(
            f"step {step}, row {row}: contributor index {int(who[row])} is not in -1..{contributors - 1} (-1: nobody's)"
        )
    return who.long()


def checked_rates(step: int, batch: Batch, own: Sequence[float]) -> list[float]:
    """The step's learning rate for each group; the optimizer's `own` where the batch has none. Raises `BatchError`."""
    if batch.rate is None:
        return list(own)
    rates = [float(rate) for rate in batch.rate] if isinstance(batch.rate, Sequence) else [float(batch.rate)]
    rates = rates * len(own) if len(rates) == 1 else rates
    if len(rates) != len(own) or not all(0 <= rate < float("inf") for rate in rates):
        raise BatchError(f"step {step}: rate must be one finite number, or one a group, none negative: {batch.rate}")
    return rates
