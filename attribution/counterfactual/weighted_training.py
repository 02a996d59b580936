"""A training as a function of its contributors' weights: θ_T(w), with exact tangents ∂θ_T/∂w."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from attribution.counterfactual.adam import AdamStepping, AdamWStepping
from attribution.counterfactual.game import Batch, ReplayError, WeightedLoss
from attribution.counterfactual.sgd import SGDStepping
from attribution.counterfactual.stepping import Stepping
from attribution.errors import BatchError, OptionError, UnsupportedOptimizerError
from attribution.parameters import ParameterSpace
from attribution.steps import Integers
from attribution.undisturbed import random_state_kept

Batches = Callable[[], Iterable[Batch]] | Sequence[Batch]

STEPPINGS: Mapping[type[Optimizer], type[Stepping]] = {
    torch.optim.SGD: SGDStepping,
    torch.optim.Adam: AdamStepping,
    torch.optim.AdamW: AdamWStepping,
}


class UnreplayableOptimizerError(UnsupportedOptimizerError):
    """An optimizer whose steps have no tangents here."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind, [known.__name__ for known in STEPPINGS])
        self.args = (f"optimizer {kind} cannot be replayed: use one of {', '.join(self.known)} (no subclass)",)


@dataclass(frozen=True)
class End:
    """Where a training ends."""

    parameters: Tensor  # [P]
    tangents: Tensor  # [K, P], the change with each contributor's weight; [0, P] where not asked for


@dataclass
class _Notes:
    """What the run on everybody's data tells of each step, for the others to be the same."""

    who: list[Tensor] = field(default_factory=list)  # [rows], on the parameters' device
    used: list[list[bool]] = field(default_factory=list)  # by parameter: whether the step moves it
    held: list[list[Tensor | None]] = field(default_factory=list)  # by parameter: the optimizer's scaling [n]
    first: Tensor | None = None  # the first batch's losses [rows]


class WeightedTraining:
    """Trains `model` with weighted contributors, again and again, and leaves it and its optimizer as they are.

    Every training begins where model, optimizer and random numbers are now. The first to be done is the one with
    everybody, weight 1. `batches` must be the same each time.

    Raises `OptionError`, `UnsupportedOptimizerError`, `UnsupportedLayerError`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        batches: Batches,
        contributors: int,
        *,
        chunk: int | None = None,
        own: bool = False,
    ) -> None:
        if type(optimizer) not in STEPPINGS:
            raise UnreplayableOptimizerError(type(optimizer).__name__)
        if not callable(batches) and not isinstance(batches, Sequence):
            raise OptionError("batches must be a sequence, or a callable that gives them anew for each replay")
        if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
            raise OptionError(f"chunk must be a number of contributors from 1 on, or None for all, not {chunk!r}")
        self.space = ParameterSpace(model, optimizer)
        self.start = self.space.snapshot()
        self._loss = WeightedLoss(model, self.space)
        self._model, self._optimizer, self._batches = model, optimizer, batches
        self._contributors, self._chunk, self._own = contributors, chunk, own
        groups = {id(p): n for n, group in enumerate(optimizer.param_groups) for p in group["params"]}
        self._group_of = [groups[id(place.parameter)] for place in self.space.places]
        self._notes = _Notes()

    @cached_property
    def everybody(self) -> End:
        """The end of the training with everybody, without tangents: as the optimizer itself would have trained."""
        notes = self._notes = _Notes()
        end = self._train(np.ones(self._contributors), False, notes)
        if not notes.who:
            raise ReplayError("batches() gave no batch: there is no training to replay")
        return end

    @property
    def steps(self) -> int:
        """How many optimizer steps the training has."""
        assert self.everybody
        return len(self._notes.who)

    @property
    def rows(self) -> Integers:
        """How many rows of each contributor its batches have, int64 ``[K]``."""
        assert self.everybody
        found = torch.cat([who[who >= 0] for who in self._notes.who])
        counts: Integers = torch.bincount(found, minlength=self._contributors).cpu().numpy()
        return counts

    def end(self, weights: float | Sequence[float], *, tangents: bool = False) -> End:
        """Where training ends with `weights` ``[K]``, or one for all.

        Raises `ReplayError`, naming step and weight, for what is not finite, and for batches that are not those of
        the run with everybody; `BatchError` for indices that are no contributor's.
        """
        assert self.everybody
        return self._train(np.broadcast_to(np.asarray(weights, dtype=float), self._contributors), tangents, None)

    def _train(self, weights: np.ndarray[Any, Any], tangents: bool, recording: _Notes | None) -> End:
        level = f"{weights[0]:g}" if (weights == weights[0]).all() else str(weights.tolist())
        space, count = self.space, self._contributors if tangents else 0
        of_contributors = torch.as_tensor(np.append(weights, 1.0), dtype=space.dtype, device=space.device)
        stacked, gradient = space.zeros(1 + count), space.zeros(1 + count)
        stacked[0] = self.start
        steppings = self._steppings()
        with random_state_kept(), _modes_kept(self._model), torch.no_grad():
            for step, batch in enumerate(self._given(recording, level)):
                who = self._who(step, batch) if recording is not None else self._notes.who[step]
                rows = of_contributors[who]  # nobody's −1 is the last
                used: list[bool] | None = None
                try:
                    if tangents:
                        losses, gradient[0], gradient[1:] = self._loss.tangents(
                            stacked[0], batch, rows, who, stacked[1:], self._chunk
                        )
                    else:
                        losses, gradient[0], used = self._loss.gradient(stacked[0], batch, rows)
                except ReplayError as error:
                    raise ReplayError(f"step {step} at weight {level}: {error}") from error
                if not bool(torch.isfinite(losses.sum() + gradient.sum())):
                    raise ReplayError(
                        f"step {step} at weight {level}: a loss, its gradient or a tangent is not finite: "
                        "train with a lower learning rate"
                    )
                if recording is not None:
                    assert used is not None
                    recording.who.append(who)
                    recording.used.append(used)
                    recording.held.append([])
                    if not step:
                        recording.first = losses
                elif not step:
                    self._same_losses(losses)
                self._move(step, batch, steppings, stacked, gradient, recording)
        return End(stacked[0].clone(), stacked[1:].clone())

    def _move(
        self,
        step: int,
        batch: Batch,
        steppings: list[Stepping],
        stacked: Tensor,
        gradient: Tensor,
        recording: _Notes | None,
    ) -> None:
        rates = self._rates(step, batch)
        for n, (place, stepping, group) in enumerate(zip(self.space.places, steppings, self._group_of, strict=True)):
            held = None
            if self._notes.used[step][n]:
                known = None if recording is not None or self._own else self._notes.held[step][n]
                held = stepping.move(rates[group], place.of(stacked), place.of(gradient), known)
            if recording is not None:
                recording.held[step].append(None if self._own else held)

    def _steppings(self) -> list[Stepping]:
        optimizer, rule = self._optimizer, STEPPINGS[type(self._optimizer)]
        pairs = zip(self.space.places, self._group_of, strict=True)
        return [rule(optimizer.param_groups[g], optimizer.state.get(p.parameter, {}), self._own) for p, g in pairs]

    def _rates(self, step: int, batch: Batch) -> list[float]:
        groups = self._optimizer.param_groups
        if batch.rate is None:
            return [float(group["lr"]) for group in groups]
        rates = [float(rate) for rate in batch.rate] if isinstance(batch.rate, Sequence) else [float(batch.rate)]
        rates = rates * len(groups) if len(rates) == 1 else rates
        if len(rates) != len(groups) or not all(0 <= rate < float("inf") for rate in rates):
            raise BatchError(
                f"step {step}: rate must be one finite number, or one a group, none negative: {batch.rate}"
            )
        return rates

    def _given(self, recording: _Notes | None, level: str) -> Iterator[Batch]:
        given = self._batches() if callable(self._batches) else self._batches
        if recording is not None:
            yield from given
            return
        for step, (batch, known) in enumerate(zip_longest(given, self._notes.who)):
            same = batch is not None and known is not None
            if not same or not torch.equal(torch.as_tensor(batch.who).to(known), known):
                raise ReplayError(
                    f"step {step} at weight {level}: the batches are not those of the run with everybody: batches() "
                    "must give the same ones each time"
                )
            yield batch

    def _same_losses(self, losses: Tensor) -> None:
        first = self._notes.first
        assert first is not None
        if not torch.allclose(losses, first, rtol=1e-3, atol=1e-6):
            raise ReplayError(
                "step 0: the losses at the start are not those of the run with everybody: batches() must give the "
                "same rows each time, and the losses depend on nothing but the model and torch's random numbers"
            )

    def _who(self, step: int, batch: Any) -> Tensor:
        if not isinstance(batch, Batch):
            raise BatchError(f"step {step}: batches must give Batch(who, losses, rate), not {type(batch).__name__}")
        who = torch.as_tensor(batch.who).detach()
        if who.dim() != 1 or not len(who) or who.is_floating_point() or who.dtype == torch.bool:
            raise BatchError(
                f"step {step}: who must be a LongTensor [rows], not {who.dtype} of shape {tuple(who.shape)}"
            )
        if len(wrong := ((who < -1) | (who >= self._contributors)).nonzero().reshape(-1)):
            row, last = int(wrong[0]), self._contributors - 1
            raise BatchError(f"step {step}, row {row}: contributor index {int(who[row])} is not in -1..{last}")
        return who.to(device=self.space.device, dtype=torch.long)


@contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
