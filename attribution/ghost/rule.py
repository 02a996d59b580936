"""What a layer rule is, and which module type has which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.ghost.partition import Partition
from attribution.ghost.parts import Parts
from attribution.parameters import Place


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer in a batch, with its input, the gradient of its output, and whose rows they are.

    What a rule finds goes into `into`, for the parameters in `places` (by id); the others are not trained.
    """

    inputs: Tensor
    output_gradient: Tensor
    partition: Partition
    into: Parts
    places: dict[int, Place]

    def parts(self) -> Iterator[Part]:
        """The call's contributors in turn."""
        for contributor, positions in self.partition.positions():
            yield Part(
                self.partition.select(self.inputs, positions),
                self.partition.select(self.output_gradient, positions),
                self,
                contributor,
            )

    def wants(self, parameter: Tensor | None) -> bool:
        """Whether gradients of `parameter` are needed."""
        return parameter is not None and id(parameter) in self.places

    def add_products(self, parameter: Tensor | None, left: Tensor, right: Tensor) -> None:
        """Add to each contributor's gradient of the matrix `parameter` the sum over its positions of the outer products
        of `left` ``[..., parameter.shape[0]]`` and `right` ``[..., parameter.shape[1]]``.
        """
        if parameter is None or not self.wants(parameter):
            return
        place, dtype = self.places[id(parameter)], parameter.dtype
        rows = len(self.partition.layout.rows)
        if self.partition.layout.axis or not len(left) == len(right) == rows:
            for contributor, positions in self.partition.positions():
                first, second = (flat(self.partition.select(t, positions), dtype) for t in (left, right))
                self.into.add_product(contributor, place, first.t(), second)
            return
        order, spans = self.partition.together
        if not spans:
            return
        if order is not None:
            left, right = (t.index_select(0, order.to(t.device)) for t in (left, right))
        first, second = flat(left, dtype), flat(right, dtype)
        each, turned = len(first) // len(left), first.t()
        for contributor, span in spans:
            mine = slice(span.start * each, span.stop * each)
            self.into.add_product(contributor, place, turned[:, mine], second[mine])

    def add_sums(self, parameter: Tensor | None, terms: Tensor) -> None:
        """Add to each contributor's gradient of `parameter` the sum of `terms` ``[..., *parameter.shape]`` over its
        positions, which lie along the partition's axis.
        """
        if parameter is None or not self.wants(parameter):
            return
        place = self.places[id(parameter)]
        axis, leading = self.partition.layout.axis, terms.dim() - parameter.dim()
        others = [dimension for dimension in range(leading) if dimension != axis]
        terms = terms.to(parameter.dtype)
        if axis >= leading:  # rows along what the parameter is indexed by
            for contributor, positions in self.partition.positions():
                masked = self.partition.masked(terms, positions)
                self.into.of(contributor, place).add_(masked.reshape(-1, parameter.numel()).sum(0))
            return
        by_position = (terms.sum(others) if others else terms).reshape(terms.shape[axis], -1)
        contributors, membership = self.partition.membership(by_position)
        self.into.add_rows(contributors, place, membership @ by_position)


@dataclass(frozen=True)
class Part:
    """What one contributor's rows were and did in one call of a layer."""

    inputs: Tensor  # the layer's input at the contributor's positions
    output_gradient: Tensor  # the loss's gradient with respect to the layer's output, at the same positions
    call: LayerCall
    contributor: int

    def gradient(self, parameter: Tensor | None) -> Tensor | None:
        """The contributor's gradient of `parameter`, to be added to in place; None if it is not trained."""
        if parameter is None or not self.call.wants(parameter):
            return None
        return self.call.into.of(self.contributor, self.call.places[id(parameter)]).view(parameter.shape)


LayerRule = Callable[[nn.Module, "LayerCall"], None]


@dataclass(frozen=True)
class Kind:
    """A rule and what may be made of it."""

    rule: LayerRule
    dear: bool  # its arithmetic is worth saving: autograd's own gradient is replaced by the contributors' sum
    linear: bool  # the output is linear in the parameters, all of them together


_kinds: dict[type[nn.Module] | str, Kind] = {}


def layer_rule(
    *kinds: type[nn.Module] | str, dear: bool = False, linear: bool = False
) -> Callable[[LayerRule], LayerRule]:
    """Decorator: this function adds each contributor's gradients of a call of these module types.

    A kind may be given as ``"package.module.Class"`` so that the rule needs no import of that package. A rule is
    `dear` where the weight gradient costs about as much as the layer itself, and `linear` where the output is a linear
    map of the parameters taken together (not an affine one): scores of single rows are then computed by the layer
    itself, with other numbers in place of its parameters.
    """

    def add(rule: LayerRule) -> LayerRule:
        for kind in kinds:
            _kinds[kind] = Kind(rule, dear, linear)
        return rule

    return add


def kind_of(module: nn.Module) -> Kind | None:
    """The rule of `module`, or None where only the fallback is right.

    A subclass with another ``forward``, a parametrized module, or one whose forward was replaced computes something
    else than the rule knows, so it has none.
    """
    if "forward" in vars(module) or hasattr(module, "parametrizations"):
        return None
    for base in type(module).__mro__:
        kind = _kinds.get(base) or _kinds.get(f"{base.__module__}.{base.__name__}")
        if kind is not None:
            return kind if getattr(type(module), "forward", None) is getattr(base, "forward", None) else None
    return None


def rule_for(module: nn.Module) -> LayerRule | None:
    """The rule of `module`, or None where only the fallback is right; see `kind_of`."""
    kind = kind_of(module)
    return None if kind is None else kind.rule


def flat(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` as rows of features ``[positions, features]`` in `dtype`."""
    return tensor.reshape(-1, tensor.shape[-1]).to(dtype)
