"""Which module gives contributors' gradients of which parameters, and how: by its rule or by the fallback."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attribution.errors import RowAxisError
from attribution.ghost.calls import ModuleCall
from attribution.ghost.expand import StandIns
from attribution.ghost.fallback import divisible, pull_back
from attribution.ghost.gradients import DividedGradient
from attribution.ghost.hooks import Hooks
from attribution.ghost.partition import Layout, Partition
from attribution.ghost.rows import CallFindings, Mixed
from attribution.ghost.rule import LayerCall, LayerRule, rule_for
from attribution.parameters import Place


@dataclass
class Provider:
    """A module that gives contributors' gradients of some parameters."""

    module: nn.Module
    rule: LayerRule | None  # None: by the fallback
    places: dict[str, Place]
    cut: bool = True  # the fallback may cut the call to a contributor's rows


class Providers:
    """All providers of a model: at first every module for the parameters that it owns."""

    def __init__(self, hooks: Hooks, gradient: DividedGradient, stand_ins: StandIns) -> None:
        self._hooks, self._gradient, self._stand_ins = hooks, gradient, stand_ins
        self._providers: dict[nn.Module, Provider] = {}
        for module in hooks.names:
            places = [gradient.space.place(parameter) for parameter in module._parameters.values()]
            own = {place.name: place for place in places if place is not None}
            if own:
                self._providers[module] = Provider(module, rule_for(module), own)

    def __contains__(self, module: nn.Module) -> bool:
        return module in self._providers

    def divide(
        self,
        calls: Iterable[tuple[ModuleCall, CallFindings]],
        who: Tensor,
        into: Tensor,
        only: Collection[str] | None = None,
    ) -> None:
        """Add the contributors' gradients of all `calls` to the parts `into`; `only` names the parameters wanted."""
        for call, found in calls:
            provider = self._providers.get(call.module)
            if provider is None or not call.gradients:
                continue
            if provider.rule is not None:
                self.by_rule(call, call.gradients[0], found, Partitions(who), into, only)
            else:
                self.by_fallback(provider, call, found, who, into, only)

    def by_rule(
        self,
        call: ModuleCall,
        gradient: Tensor,
        found: CallFindings,
        partitions: Partitions,
        into: Tensor,
        only: Collection[str] | None = None,
    ) -> None:
        """Add the contributors' gradients of one call of a module with a rule.

        A call without a row axis adds nothing: its parameters are then found missing from the sum, and resolved.
        """
        provider = self._providers[call.module]
        places = _wanted(provider.places, only)
        finding = found.outputs[0]
        if isinstance(finding, Mixed):
            raise RowAxisError(call.name, "no axis of its output separates the rows of the batch")
        if not places or not isinstance(finding, Layout) or provider.rule is None:
            return
        inputs = call.inputs()[0].detach()
        if call.module in self._stand_ins.axes:
            inputs = inputs.expand(gradient.shape[:-1])
        by_id = {id(place.parameter): place for place in places.values()}

        def gradient_of(contributor: int, parameter: Tensor) -> Tensor | None:
            place = by_id.get(id(parameter))
            return None if place is None else place.of(into[contributor]).view(parameter.shape)

        with torch.no_grad():
            provider.rule(call.module, LayerCall(inputs, gradient, partitions.of(finding), gradient_of))
        self._note_magnitude(places, call, gradient)

    def by_fallback(
        self,
        provider: Provider,
        call: ModuleCall,
        found: CallFindings,
        who: Tensor,
        into: Tensor,
        only: Collection[str] | None = None,
    ) -> None:
        """Add the contributors' gradients of one call of a module without a rule."""
        places = _wanted(provider.places, only)
        if places and any(isinstance(found.outputs[index], Mixed) for index in call.gradients):
            raise RowAxisError(call.name, "no axis of its output separates the rows of the batch, which mix in it")
        parameters = [place.parameter for place in places.values() if place.parameter.requires_grad]
        if not parameters or not divisible(found, call):
            return
        by_id = {id(place.parameter): place for place in places.values()}

        def add(contributor: int, parameter: nn.Parameter, gradient: Tensor) -> None:
            by_id[id(parameter)].of(into[contributor]).add_(gradient.reshape(-1))

        with self._hooks.observed_by(None):
            model = self._hooks.model
            if provider.cut and not pull_back(model, call, found, who, parameters, add, cut=True):
                provider.cut = False
            if not provider.cut:
                pull_back(model, call, found, who, parameters, add, cut=False)
        for gradient in call.gradients.values():
            self._note_magnitude(places, call, gradient)

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
        return provider is not None and provider.rule is not None

    def may_adopt(self, module: nn.Module) -> bool:
        """Whether the fallback can be used at `module`: it has no rule of its own."""
        return not self.has_rule(module)

    def _note_magnitude(self, places: Mapping[str, Place], call: ModuleCall, gradient: Tensor) -> None:
        lengths = [float(tensor.detach().norm()) for tensor in call.inputs() if tensor.is_floating_point()]
        positions = gradient.numel() / max(gradient.shape[-1] if gradient.dim() else 1, 1)
        self._gradient.note_magnitude(places.values(), float(gradient.norm()) * max([*lengths, positions**0.5]))


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
