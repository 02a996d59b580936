"""What a layer rule is, and which module type has which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from attribution.ghost.partition import Partition


@dataclass(frozen=True)
class Part:
    """What one contributor's rows were and did in one call of a layer."""

    inputs: Tensor  # the layer's input at the contributor's positions
    output_gradient: Tensor  # the loss's gradient with respect to the layer's output, at the same positions
    _gradient: Callable[[Tensor], Tensor | None]

    def gradient(self, parameter: Tensor | None) -> Tensor | None:
        """The contributor's gradient of `parameter`, to be added to in place; None if it is not trained."""
        return None if parameter is None or not parameter.requires_grad else self._gradient(parameter)


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer in a batch, with its input, the gradient of its output, and whose rows they are."""

    inputs: Tensor
    output_gradient: Tensor
    partition: Partition
    gradient_of: Callable[[int, Tensor], Tensor | None]

    def parts(self) -> Iterator[Part]:
        """The call's contributors in turn."""
        for contributor, positions in self.partition.positions():
            yield Part(
                self.partition.select(self.inputs, positions),
                self.partition.select(self.output_gradient, positions),
                partial(self.gradient_of, contributor),
            )


LayerRule = Callable[[nn.Module, "LayerCall"], None]

_rules: dict[type[nn.Module], LayerRule] = {}
_by_name: dict[tuple[str, str], LayerRule] = {}


def layer_rule(*kinds: type[nn.Module] | str) -> Callable[[LayerRule], LayerRule]:
    """Decorator: this function adds each contributor's gradients of a call of these module types.

    A kind may be given as ``"package.module.Class"`` so that the rule needs no import of that package.
    """

    def add(rule: LayerRule) -> LayerRule:
        for kind in kinds:
            if isinstance(kind, str):
                module, _, name = kind.rpartition(".")
                _by_name[module, name] = rule
            else:
                _rules[kind] = rule
        return rule

    return add


def rule_for(module: nn.Module) -> LayerRule | None:
    """The rule of `module`, or None where only the fallback is right.

    A subclass with another ``forward``, a parametrized module, or one whose forward was replaced computes something
    else than the rule knows, so it has none.
    """
    if "forward" in vars(module) or hasattr(module, "parametrizations"):
        return None
    for kind in type(module).__mro__:
        rule = _rules.get(kind) or _by_name.get((kind.__module__, kind.__name__))
        if rule is not None:
            return rule if getattr(type(module), "forward", None) is getattr(kind, "forward", None) else None
    return None


def flat(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` as rows of features ``[positions, features]`` in `dtype`."""
    return tensor.reshape(-1, tensor.shape[-1]).to(dtype)
