"""Parameters used outside the module that owns them, or without a row axis there.

Position tables added inside a model, a class token, a weight borrowed by ``functional.linear``: look for the smallest
module around their uses whose output has a row axis, and pull the gradient back through that.
"""

from __future__ import annotations

from torch import Tensor, nn

from attribution.ghost.calls import ModuleCall, RootCall
from attribution.ghost.expand import StandIns
from attribution.ghost.fallback import divisible
from attribution.ghost.gradients import DividedGradient
from attribution.ghost.hooks import Hooks
from attribution.ghost.parts import Parts
from attribution.ghost.proofs import Proofs
from attribution.ghost.providers import Provider, Providers
from attribution.ghost.recorder import Recorder, repeat_backward
from attribution.ghost.rows import CallFindings
from attribution.parameters import Place

Roots = list[tuple[RootCall, list[CallFindings]]]


class Resolver:
    """Finds a provider for parameters whose contributors' gradients do not sum to what autograd computed."""

    def __init__(
        self, hooks: Hooks, gradient: DividedGradient, providers: Providers, proofs: Proofs, stand_ins: StandIns
    ) -> None:
        self._hooks, self._gradient, self._providers = hooks, gradient, providers
        self._proofs, self._stand_ins = proofs, stand_ins
        self._repeated: list[Recorder] = []

    def resolve(self, wrong: list[Place], roots: Roots, who: Tensor, extra: Parts, axis: int | None) -> None:
        """Correct the parts `extra` of the parameters in `wrong`, where that can be done; keep what did it."""
        try:
            self._resolve(wrong, roots, who, extra, axis)
        finally:
            for recorder in self._repeated:
                recorder.release()
            self._repeated.clear()

    def _resolve(self, wrong: list[Place], roots: Roots, who: Tensor, extra: Parts, axis: int | None) -> None:
        for module in self._around(wrong):
            places = [place for place in wrong if any(_owns(inner, place) for inner in module.modules())]
            if not places or not self._providers.may_adopt(module):
                continue
            calls = [call for root, _ in roots for call in self._calls_of(module, root, who, axis)]
            if not calls or not all(divisible(findings, call) for call, findings in calls):
                continue
            for cut in (True, False):
                solved = self._try(module, places, cut, calls, roots, who, extra)
                if solved:
                    self._providers.adopt(module, {place.name: place for place in solved}, cut)
                places = [place for place in places if place not in solved]
                wrong = [place for place in wrong if place not in solved]
                if not places:
                    break
            if not wrong:
                return

    def _try(
        self,
        module: nn.Module,
        places: list[Place],
        cut: bool,
        calls: list[tuple[ModuleCall, CallFindings]],
        roots: Roots,
        who: Tensor,
        extra: Parts,
    ) -> list[Place]:
        trial = Parts(self._gradient.space, extra.count)
        provider = Provider(module, None, {place.name: place for place in places}, cut)
        for call, findings in calls:
            self._providers.by_fallback(provider, call, findings, who, trial)
        if provider.cut != cut:
            return []
        inside = set(module.modules())
        for root, findings_of_root in roots:
            outside = [(c, f) for c, f in zip(root.calls, findings_of_root, strict=True) if c.module not in inside]
            self._providers.divide(outside, who, trial, {place.name for place in places})
        still = {place.name for place, _ in self._gradient.unaccounted(trial, {place.name for place in places})}
        solved = [place for place in places if place.name not in still]
        for place in solved:
            extra.replace(place, trial)
        return solved

    def _around(self, wrong: list[Place]) -> list[nn.Module]:
        """The modules that hold an owner of a parameter in `wrong`, inner ones first."""
        depth: dict[nn.Module, int] = {}
        for module, name in self._hooks.names.items():
            if any(_owns(inner, place) for inner in module.modules() for place in wrong):
                depth[module] = name.count(".") + 1 if name else 0
        return sorted(depth, key=lambda module: -depth[module])

    def _calls_of(
        self, module: nn.Module, root: RootCall, who: Tensor, axis: int | None
    ) -> list[tuple[ModuleCall, CallFindings]]:
        def only(other: nn.Module) -> bool:
            return other is module

        recorder = Recorder(self._hooks, only, self._stand_ins)
        self._repeated.append(recorder)
        wanted: list[Tensor] = [p.parameter for p in self._gradient.space.places if p.parameter.requires_grad]
        repeated = repeat_backward(self._hooks.model, self._hooks, root, recorder, wanted)
        findings = self._proofs.prove(root, who, axis, only)
        if len(findings) != len(repeated.calls):
            return []
        return [(c, f) for c, f in zip(repeated.calls, findings, strict=True) if c.gradients]


def _owns(module: nn.Module, place: Place) -> bool:
    return any(parameter is place.parameter for parameter in module._parameters.values())
