"""What an update rule is, and which optimizer has which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

from attribution.errors import UnsupportedOptimizerError


@dataclass(frozen=True)
class Slot:
    """One parameter of n elements in one optimizer step.

    The parts are the contributors in order, then the house. A rule may overwrite `gradient` and must keep `memory`
    up to date.
    """

    options: Mapping[str, Any]  # the parameter's group, as it was in this step
    state: Mapping[str, Any]  # the optimizer's state of this parameter, after the step
    start: Tensor  # [n], the parameter before the step
    gradient: Tensor  # [parts, n], parts of the gradient that the optimizer used; they sum to parameter.grad
    memory: Tensor | None  # [parts, n], parts of the optimizer's linear state, where the rule asked for it
    fresh: bool  # the optimizer had no linear state of this parameter before the step


@dataclass(frozen=True)
class Share:
    """How the parameter's displacement divides: part p moved it by ``linear[p] * scale``, decay by ``decay``."""

    linear: Tensor  # [parts, n]
    scale: Tensor | float  # [n] or one number for all
    decay: Tensor | None = None  # [n], the house's besides its linear part


class UpdateRule(Protocol):
    """Divides one optimizer family's step."""

    def remembers(self, options: Mapping[str, Any]) -> bool:
        """Whether the optimizer keeps a linear state (momentum) under these options."""

    def memory(self, state: Mapping[str, Any]) -> Tensor | None:
        """The optimizer's linear state of a parameter, or None where there is none yet."""

    def divide(self, slot: Slot) -> Share:
        """The division of what the optimizer really did to this parameter."""


_rules: dict[type[Optimizer], UpdateRule] = {}


def register(optimizer: type[Optimizer]) -> Callable[[type[UpdateRule]], type[UpdateRule]]:
    """Class decorator: this rule divides the steps of `optimizer` (that class, and subclasses with the same step)."""

    def add(rule: type[UpdateRule]) -> type[UpdateRule]:
        _rules[optimizer] = rule()
        return rule

    return add


def rule_for(optimizer: Optimizer) -> UpdateRule:
    """The rule of `optimizer`; raises `UnsupportedOptimizerError` by name if there is none."""
    for kind in type(optimizer).__mro__:
        if kind in _rules:
            return _rules[kind]
        if "step" in vars(kind):
            break  # a step of its own: whatever it does, no parent's rule describes it
    raise UnsupportedOptimizerError(type(optimizer).__name__, sorted(kind.__name__ for kind in _rules))
