"""What an update rule is, and which optimizer has which."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from attribution.errors import UnsupportedOptimizerError

Linear = Tensor | float | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Slot:
    """n elements in one optimizer step: consecutive ones of a parameter, all of it where the rule asks for the `whole`,
    or otherwise several small parameters of a group, one after another.

    The parts are the contributors in order, then the house. A rule must keep `memory` up to date, and leave `gradient`
    as it is: where the user does not zero it, the next step's is accumulated on top.
    """

    options: Mapping[str, Any]  # the parameter's group, as it was in this step
    shape: tuple[int, ...]  # the whole parameter's; of several, [n]
    start: Tensor  # [n], the parameter before the step
    end: Tensor  # [n], after it; a rule needs it only where the optimizer rounds more coarsely than the parameter
    gradient: Tensor  # [parts, n], parts of the gradient that the optimizer used; they sum to parameter.grad
    memory: Tensor | None  # [parts, n], parts of the optimizer's linear state, where the rule asked for it
    fresh: bool  # the optimizer had no linear state of this parameter before the step
    span: slice  # which elements of the flattened parameter these are
    after: Mapping[str, Any]  # the optimizer's state of the whole parameter, or of all of them, after the step
    earlier: Mapping[str, Any]  # what the rule `keeps` of the state from before the step

    @property
    def uphill(self) -> bool:
        """Whether the optimizer maximises."""
        return bool(self.options.get("maximize", False))

    def direction(self, weight_decay: float = 0.0) -> Tensor:
        """The parts of what the optimizer descends along, ``[parts, n]``; not to be overwritten.

        As the optimizers of torch do it: turned round where it maximises, L2 decay added after that, to the house's.
        """
        found = self.gradient.neg() if self.uphill else self.gradient
        if weight_decay != 0:
            # In `gradient` itself this is made good before anything is accumulated: its sum is not .grad any more.
            found[-1].add_(self.start, alpha=weight_decay)
        return found

    def shrinkage(self, rate: float) -> Tensor | None:
        """What decoupled weight decay of `rate` (learning rate times decay) did to the parameter; None if nothing."""
        return self.start * -rate if rate != 0 else None

    def state(self, name: str) -> Tensor:
        """These elements of a state tensor of the optimizer, after the step, ``[n]``; not to be overwritten."""
        return self._of(self.after[name])

    def before(self, name: str) -> Tensor:
        """The same before the step, for a name that the rule `keeps`; zeros ``[n]`` where there was no state yet."""
        known = self.earlier.get(name)
        return torch.zeros_like(self.start) if known is None else self._of(known)

    def number(self, name: str) -> float:
        """A state that is one number, such as ``"step"``, after the step."""
        return float(self.after[name])

    def number_before(self, name: str, otherwise: float) -> float:
        """The same before the step, for a name that the rule `keeps`; `otherwise` where there was no state yet."""
        known = self.earlier.get(name)
        return otherwise if known is None else float(known)

    def _of(self, tensor: Tensor) -> Tensor:
        return tensor.detach().reshape(-1)[self.span].to(self.start.dtype)


@dataclass(frozen=True)
class Share:
    """How the displacement divides: part p moved it by ``linear[p] * scale``, decay besides by ``decay``.

    `life` is what one unit of this step's gradient adds to displacements over its whole life in the momentum, while
    everything else stays as it is: a number, one an element ``[n]``, or, where it is no product by elements, the
    adjoint of that linear map, from ``[tasks, n]`` to ``[tasks, n]``.
    """

    linear: Tensor  # [parts, n]
    scale: Tensor | float  # [n] or one number for all
    decay: Tensor | None = None  # [n], the house's besides its linear part
    life: Linear = 0.0

    def credited(self, gradients: Tensor) -> Tensor:
        """`gradients` ``[tasks, n]`` of the objective as gradients with respect to this step's training gradient."""
        return self.life(gradients) if callable(self.life) else gradients * self.life


class UpdateRule:
    """Divides one optimizer family's step; a rule overrides what it needs."""

    whole = False  # divide a parameter at once; otherwise it may come in several slots, element by element

    def remembers(self, options: Mapping[str, Any]) -> bool:
        """Whether the optimizer keeps a linear state (momentum) under these options."""
        return False

    def memory(self, state: Mapping[str, Any]) -> Tensor | None:
        """The optimizer's linear state of a parameter, or None where there is none yet."""
        return None

    def keeps(self, options: Mapping[str, Any]) -> Sequence[str]:
        """Names of the optimizer's state whose values from before the step `divide` needs."""
        return ()

    def divide(self, slot: Slot) -> Share:
        """The division of what the optimizer really did to this parameter."""
        raise NotImplementedError

    def refuses(self, optimizer: Optimizer) -> str | None:
        """An option of `optimizer`, as ``"name=value"``, under which this rule does not hold, or None."""
        return None


_rules: dict[type[Optimizer] | str, UpdateRule] = {}


def register(*optimizers: type[Optimizer] | str) -> Callable[[type[UpdateRule]], type[UpdateRule]]:
    """Class decorator: this rule divides the steps of `optimizers` (those classes, and subclasses with the same step).

    A class may be given as ``"package.module.Class"`` so that the rule needs no import of that package.
    """

    def add(rule: type[UpdateRule]) -> type[UpdateRule]:
        for optimizer in optimizers:
            _rules[optimizer] = rule()
        return rule

    return add


def rule_for(optimizer: Optimizer) -> UpdateRule:
    """The rule of `optimizer`.

    Raises `UnsupportedOptimizerError`, by name, if there is none, or an option is set under which it does not hold.
    """
    what = type(optimizer).__name__
    rule = _known(type(optimizer))
    if rule is not None:
        option = rule.refuses(optimizer)
        # A step that autograd follows writes into no leaf, so what it moves are not the model's parameters.
        if option is None and any(group.get("differentiable", False) for group in optimizer.param_groups):
            option = "differentiable=True"
        if option is None:
            return rule
        what = f"{what} with {option}"
    names = {kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__ for kind in _rules}
    raise UnsupportedOptimizerError(what, sorted(names))


def _known(optimizer: type[Optimizer]) -> UpdateRule | None:
    for kind in optimizer.__mro__:
        rule = _rules.get(kind) or _rules.get(f"{kind.__module__}.{kind.__qualname__}")
        if rule is not None:  # with a step of its own it does something else, and no parent's rule describes it
            return rule if _step(optimizer) is _step(kind) else None
    return None


def _step(optimizer: type[Optimizer]) -> Any:
    # The first instance of a class gives it a wrapper of torch's, so it may look like a step of its own.
    step: Any = getattr(optimizer, "step", None)
    return step.__wrapped__ if getattr(step, "hooked", False) and hasattr(step, "__wrapped__") else step


@lru_cache(maxsize=4096)
def lifetime(beta: float, step: int) -> float:
    """``Σ_{t ≥ step} (1 − β) β^(t − step) / (1 − β^t)``: the weight of one gradient in all bias-corrected averages.

    Tends to 1; more for the first gradients, of which the average holds too few to be small.
    """
    total, weight, power = 0.0, 1 - beta, beta**step
    while power > 1e-12 and weight > 1e-15:
        total += weight / (1 - power)
        weight, power = weight * beta, power * beta
    return total + weight / (1 - beta) if beta else total + weight
