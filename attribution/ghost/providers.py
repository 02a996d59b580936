"""Which module gives contributors' gradients of which parameters, and how: by its rule or by the fallback."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from attribution.errors import RowAxisError
from attribution.ghost.calls import ModuleCall
from attribution.ghost.factors import FallbackFactor, RuleFactor
from attribution.ghost.fallback import divisible, pull_back
from attribution.ghost.gradients import DividedGradient
from attribution.ghost.hooks import Hooks
from attribution.ghost.partition import Layout, Partition
from attribution.ghost.parts import Parts
from attribution.ghost.precision import FULL_PRECISION
from attribution.ghost.rows import CallFindings, Mixed
from attribution.ghost.rule import Kind, LayerCall, kind_of
from attribution.ghost.signed import SignedParts
from attribution.parameters import Place

MIXED = (
    "no axis of its output separates the rows of the batch, which mix in it (documents packed into one sequence need a "
    "mask that keeps them from attending to one another)"
)
WORTH_REPLACING = 1 << 15  # elements of a parameter from which its gradient is not computed twice


@dataclass
class Provider:
    """A module that gives contributors' gradients of some parameters."""

    module: nn.Module
    kind: Kind | None  # None: by the fallback
    places: dict[str, Place]
    cut: bool = True  # the fallback may cut the call to a contributor's rows


class Providers:
    """All providers of a model: at first every module for the parameters that it owns.

    What single rows' scores need is kept in `factors` while that is a list.
    """

    def __init__(self, hooks: Hooks, gradient: DividedGradient) -> None:
        self._hooks, self._gradient = hooks, gradient
        self.factors: list[RuleFactor | FallbackFactor] | None = None
        self.signed: SignedParts | None = None  # where signed sums are kept too
        self._providers: dict[nn.Module, Provider] = {}
        for module in hooks.names:
            places = [gradient.space.place(parameter) for parameter in module._parameters.values()]
            own = {place.name: place for place in places if place is not None}
            if own:
                self._providers[module] = Provider(module, kind_of(module), own)

    def __contains__(self, module: nn.Module) -> bool:
        provider = self._providers.get(module)
        return provider is not None and any(p.parameter.requires_grad for p in provider.places.values())

    def divide(
        self,
        calls: Iterable[tuple[ModuleCall, CallFindings]],
        who: Tensor,
        into: Parts,
        only: Collection[str] | None = None,
    ) -> None:
        """Add the contributors' gradients of all `calls` to the parts `into`; `only` names the parameters wanted."""
        for call, found in calls:
            provider = self._providers.get(call.module)
            if provider is None or not call.gradients:
                continue
            if provider.kind is not None:
                self.by_rule(call, call.inputs()[0].detach(), call.gradients[0], found, Partitions(who), into, only)
            else:
                self.by_fallback(provider, call, found, who, into, only)

    def by_rule(
        self,
        call: ModuleCall,
        inputs: Tensor,
        gradient: Tensor,
        found: CallFindings,
        partitions: Partitions,
        into: Parts,
        only: Collection[str] | None = None,
    ) -> None:
        """Add the contributors' gradients of one call of a module with a rule.

        A call without a row axis adds nothing: its parameters are then found missing from the sum, and resolved.
        """
        provider = self._providers[call.module]
        places = _wanted(provider.places, only)
        layout = self._layout(call, found)
        if not places or layout is None or provider.kind is None:
            return
        self._rule(provider.kind, call, inputs, gradient, partitions.of(layout), into, places)
        self._gradient.rounding.note_precision(gradient.dtype)
        if any(name in self._gradient.checks.chosen for name in places):
            self._note_magnitude(places, [inputs], gradient)

    def in_place_of_autograd(
        self,
        call: ModuleCall,
        inputs: Tensor,
        gradient: Tensor,
        partition: Partition,
        into: Parts,
        parameters: Sequence[nn.Parameter],
    ) -> list[Tensor]:
        """As `by_rule`; returns the whole gradient of each of `parameters`, the sum over the contributors.

        The other parameters' are autograd's own.
        """
        provider = self._providers[call.module]
        assert provider.kind is not None
        places = {p.parameter: p for p in provider.places.values()}
        fresh = all(into.untouched(places[parameter]) for parameter in parameters)
        found = into if fresh else Parts(self._gradient.space, into.count)
        self._rule(provider.kind, call, inputs, gradient, partition, found, provider.places)
        totals = [found.total(places[parameter]).view(parameter.shape).to(parameter.dtype) for parameter in parameters]
        if not fresh:
            into.add(found)
        self._gradient.rounding.note_precision(gradient.dtype)
        ours = {name: p for name, p in provider.places.items() if not any(p.parameter is q for q in parameters)}
        if any(name in self._gradient.checks.chosen for name in ours):
            self._note_magnitude(ours, [inputs], gradient)
        return totals

    def _rule(
        self,
        kind: Kind,
        call: ModuleCall,
        inputs: Tensor,
        gradient: Tensor,
        partition: Partition,
        into: Parts,
        places: Mapping[str, Place],
    ) -> None:
        if call.expanded:
            inputs = inputs.expand(gradient.shape[:-1])
        by_id = {id(place.parameter): place for place in places.values() if place.parameter.requires_grad}
        with torch.no_grad(), FULL_PRECISION.again():
            kind.rule(call.module, LayerCall(inputs, gradient, partition, into, by_id))

    def sign_rule(
        self, call: ModuleCall, inputs: Tensor, gradient: Tensor, found: CallFindings, partitions: Partitions
    ) -> None:
        """Add the signed sums of one call of a module with a rule, where they are kept."""
        provider, layout = self._providers[call.module], self._layout(call, found)
        if self.signed is None or layout is None or provider.kind is None:
            return
        signed = self.signed.of(gradient, layout)
        self._rule(provider.kind, call, inputs, signed, partitions.of(layout), self.signed.parts, provider.places)

    def sign(self, calls: Iterable[tuple[ModuleCall, CallFindings]], who: Tensor) -> None:
        """Add the signed sums of all `calls`, where they are kept."""
        if self.signed is not None:
            self.divide(self.signed.calls(calls), who, self.signed.parts)

    def keep_rule(self, call: ModuleCall, inputs: Tensor, gradient: Tensor, found: CallFindings) -> None:
        """Keep what single rows' scores need of one call of a module with a rule."""
        provider, layout = self._providers[call.module], self._layout(call, found)
        if self.factors is None or layout is None or provider.kind is None:
            return
        if call.expanded:
            inputs = inputs.expand(gradient.shape[:-1])
        own = {id(place.parameter): place for place in provider.places.values() if place.parameter.requires_grad}
        places = {name: own[id(p)] for name, p in call.module._parameters.items() if id(p) in own}
        if places:
            self.factors.append(RuleFactor(call.module, provider.kind, inputs, gradient, layout, places))

    def keep(self, calls: Iterable[tuple[ModuleCall, CallFindings]]) -> None:
        """Keep what single rows' scores need of all `calls`."""
        for call, found in calls:
            provider = self._providers.get(call.module)
            if self.factors is None or provider is None or not call.gradients:
                continue
            if provider.kind is not None:
                self.keep_rule(call, call.inputs()[0].detach(), call.gradients[0], found)
            elif provider.places and divisible(found, call):
                kept = replace(call, gradients=dict(call.gradients))  # what was observed is released after the batch
                self.factors.append(FallbackFactor(self._hooks.model, kept, found, dict(provider.places)))

    def by_fallback(
        self,
        provider: Provider,
        call: ModuleCall,
        found: CallFindings,
        who: Tensor,
        into: Parts,
        only: Collection[str] | None = None,
    ) -> None:
        """Add the contributors' gradients of one call of a module without a rule."""
        places = _wanted(provider.places, only)
        if places and any(isinstance(found.outputs[index], Mixed) for index in call.gradients):
            raise RowAxisError(call.name, MIXED)
        parameters = [place.parameter for place in places.values() if place.parameter.requires_grad]
        if not parameters or not divisible(found, call):
            return
        by_id = {id(place.parameter): place for place in places.values()}

        def add(contributor: int, parameter: nn.Parameter, gradient: Tensor) -> None:
            into.of(contributor, by_id[id(parameter)]).add_(gradient.reshape(-1))

        with self._hooks.observed_by(None):
            model = self._hooks.model
            if provider.cut and not pull_back(model, call, found, who, parameters, add, cut=True):
                provider.cut = False
            if not provider.cut:
                pull_back(model, call, found, who, parameters, add, cut=False)
        inputs = [tensor for tensor in call.inputs() if tensor.is_floating_point()]
        for gradient in call.gradients.values():
            self._gradient.rounding.note_precision(gradient.dtype)
            if any(name in self._gradient.checks.chosen for name in places):
                self._note_magnitude(places, inputs, gradient)

    def adopt(self, module: nn.Module, places: Mapping[str, Place], cut: bool) -> None:
        """From now on the fallback at `module` gives these parameters, and nothing inside it does."""
        known = self._providers.get(module)
        if known is None:
            self._providers[module] = Provider(module, None, dict(places), cut)
        else:
            known.places.update(places)
            known.cut = known.cut and cut
        for inner in module.modules():
            if inner is not module and inner in self._providers:
                for name in places:
                    self._providers[inner].places.pop(name, None)

    def has_rule(self, module: nn.Module) -> bool:
        """Whether `module` gives its gradients by a rule."""
        provider = self._providers.get(module)
        return provider is not None and provider.kind is not None

    def may_adopt(self, module: nn.Module) -> bool:
        """Whether the fallback can be used at `module`: it has no rule of its own."""
        return not self.has_rule(module)

    def worth_replacing(self, module: nn.Module) -> list[nn.Parameter]:
        """The parameters of `module` whose gradient need not be computed by autograd too in this batch."""
        provider = self._providers.get(module)
        if provider is None or provider.kind is None or not provider.kind.dear:
            return []
        places = [place for place in provider.places.values() if place.parameter.requires_grad]
        mine = {id(place.parameter) for place in places}
        if any(p.requires_grad and id(p) not in mine for p in module._parameters.values() if p is not None):
            return []  # one of its parameters is given by another module
        large = [place for place in places if place.stop - place.start >= WORTH_REPLACING]
        if not large or any(place.name in self._gradient.checks.chosen for place in large):
            return []
        return [place.parameter for place in places]

    def _layout(self, call: ModuleCall, found: CallFindings) -> Layout | None:
        finding = found.outputs[0]
        if isinstance(finding, Mixed) and self._providers[call.module].places:
            raise RowAxisError(call.name, MIXED)
        return finding if isinstance(finding, Layout) else None

    def _note_magnitude(self, places: Mapping[str, Place], inputs: Sequence[Tensor], gradient: Tensor) -> None:
        lengths = [float(tensor.detach().norm()) for tensor in inputs if tensor.is_floating_point()]
        positions = gradient.numel() / max(gradient.shape[-1] if gradient.dim() else 1, 1)
        self._gradient.rounding.note_magnitude(
            places.values(), float(gradient.norm()) * max([*lengths, positions**0.5])
        )


class Partitions:
    """The partitions of one batch, made once for all tensors of the same layout."""

    def __init__(self, who: Tensor) -> None:
        self.who = who
        self._made: dict[tuple[int, bytes], Partition] = {}

    def of(self, layout: Layout) -> Partition:
        """The partition of a tensor with this layout."""
        if layout.key not in self._made:
            self._made[layout.key] = Partition(layout, self.who)
        return self._made[layout.key]


def _wanted(places: Mapping[str, Place], only: Collection[str] | None) -> dict[str, Place]:
    return {name: place for name, place in places.items() if only is None or name in only}
