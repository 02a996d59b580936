"""A training as a function of its contributors' weights: θ_T(w), with exact tangents ∂θ_T/∂w."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from attribution.counterfactual.adam import AdamStepping, AdamWStepping
from attribution.counterfactual.game import Batch, ReplayError, WeightedLoss
from attribution.counterfactual.noted import Noted, checked_rates, checked_who
from attribution.counterfactual.sgd import SGDStepping
from attribution.counterfactual.stepping import Stepping
from attribution.errors import OptionError, UnsupportedOptimizerError
from attribution.parameters import ParameterSpace, Place
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


class WeightedTraining:
    """Trains `model` with weighted contributors, again and again, and leaves it and its optimizer as they are.

    Every training begins where model, optimizer and random numbers are now. The first to be done is the one with
    everybody, weight 1. `batches` must be the same each time.

    Raises `OptionError`, `UnsupportedOptimizerError`, `ReplayError`, and `BatchError` for indices that are no
    contributor's.
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

    @property
    def everybody(self) -> End:
        """The end of the training with everybody, without tangents: as the optimizer itself would have trained."""
        return self._recorded[0]

    @property
    def steps(self) -> int:
        """How many optimizer steps the training has."""
        return len(self._recorded[1])

    @property
    def rows(self) -> Integers:
        """How many rows of each contributor its batches have, int64 ``[K]``."""
        found = torch.cat([noted.who[noted.who >= 0] for noted in self._recorded[1]])
        counts: Integers = torch.bincount(found, minlength=self._contributors).cpu().numpy()
        return counts

    def end(self, weights: float | Sequence[float], *, tangents: bool = False) -> End:
        """Where training ends with `weights` ``[K]``, or one for all.

        Raises `ReplayError`, naming step and weight, for what is not finite, and for batches that are not those of
        the run with everybody.
        """
        wanted = np.broadcast_to(np.asarray(weights, dtype=float), self._contributors)
        level = f"weight {wanted[0]:g}" if (wanted == wanted[0]).all() else f"weights {wanted.tolist()}"
        table = torch.as_tensor(np.append(wanted, 1.0), dtype=self.space.dtype, device=self.space.device)
        steps = self._recorded[1]
        with self._walk(self._contributors if tangents else 0) as walk:
            for step, (batch, noted) in enumerate(zip_longest(self._given(), steps)):
                if noted is None or not noted.same(step, batch):
                    raise ReplayError(
                        f"step {step} at {level}: the batches are not those of the run with everybody: batches() "
                        "must give the same ones each time"
                    )
                rows = table[noted.who]  # nobody's −1 is the last
                with _placed(step, level):
                    if tangents:
                        losses, walk.gradient[0], walk.gradient[1:] = self._loss.tangents(
                            walk.stacked[0], batch, rows, noted.who, walk.stacked[1:], self._chunk
                        )
                    else:
                        losses, walk.gradient[0], _ = self._loss.gradient(walk.stacked[0], batch, rows)
                    walk.check(losses)
                if not step and not torch.allclose(losses, noted.losses, rtol=1e-3, atol=1e-6):
                    raise ReplayError(
                        "step 0: the losses at the start are not those of the run with everybody: batches() must give "
                        "the same rows each time, and losses depend on nothing but the model and torch's random numbers"
                    )
                walk.move(noted.rates, noted.used, noted.held)
            return walk.end

    @cached_property
    def _recorded(self) -> tuple[End, list[Noted]]:
        """The run with everybody."""
        steps: list[Noted] = []
        own = [float(group["lr"]) for group in self._optimizer.param_groups]
        with self._walk(0) as walk:
            for step, batch in enumerate(self._given()):
                who = checked_who(step, batch, self._contributors).to(self.space.device)
                rates = checked_rates(step, batch, own)
                with _placed(step, "weight 1"):
                    ones = torch.ones(len(who), dtype=self.space.dtype, device=self.space.device)
                    losses, walk.gradient[0], used = self._loss.gradient(walk.stacked[0], batch, ones)
                    walk.check(losses)
                held = walk.move(rates, used, [None] * len(used))
                steps.append(Noted(who, rates, losses, used, [None] * len(used) if self._own else held))
        if not steps:
            raise ReplayError("batches() gave no batch: there is no training to replay")
        return walk.end, steps

    def _given(self) -> Iterable[Batch]:
        return self._batches() if callable(self._batches) else self._batches

    @contextmanager
    def _walk(self, tangents: int) -> Iterator[_Walk]:
        """A training's parameters at their start, with so many tangents; random numbers and modes come back after."""
        optimizer, rule = self._optimizer, STEPPINGS[type(self._optimizer)]
        groups = {id(p): n for n, group in enumerate(optimizer.param_groups) for p in group["params"]}
        steppings = []
        for place in self.space.places:
            group, state = groups[id(place.parameter)], optimizer.state.get(place.parameter, {})
            steppings.append((group, place, rule(optimizer.param_groups[group], state, self._own)))
        walk = _Walk(steppings, self.space.zeros(1 + tangents), self.space.zeros(1 + tangents))
        walk.stacked[0] = self.start
        with random_state_kept(), _modes_kept(self._model), torch.no_grad():
            yield walk


@dataclass(frozen=True)
class _Walk:
    """The parameters on their way through a training, and with them their tangents."""

    steppings: list[tuple[int, Place, Stepping]]  # each parameter's group, place and rule
    stacked: Tensor  # [1 + K, P]: the parameters, then their tangents
    gradient: Tensor  # [1 + K, P]: of the present step

    def check(self, losses: Tensor) -> None:
        """Raise `ReplayError` for what is not finite."""
        if not bool(torch.isfinite(losses.sum() + self.gradient.sum())):
            raise ReplayError("a loss, its gradient or a tangent is not finite: train with a lower learning rate")

    def move(self, rates: list[float], used: list[bool], held: list[Tensor | None]) -> list[Tensor | None]:
        """Take a step with each parameter that is used; returns the scalings that were."""
        found: list[Tensor | None] = []
        for (group, place, stepping), moves, scaling in zip(self.steppings, used, held, strict=True):
            mine = place.of(self.stacked), place.of(self.gradient)
            found.append(stepping.move(rates[group], *mine, scaling) if moves else None)
        return found

    @property
    def end(self) -> End:
        """Where it has come to."""
        return End(self.stacked[0].clone(), self.stacked[1:].clone())


@contextmanager
def _placed(step: int, level: str) -> Iterator[None]:
    try:
        yield
    except ReplayError as error:
        raise ReplayError(f"step {step} at {level}: {error}") from error


@contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
