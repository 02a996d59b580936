"""Capture: watches the forward and backward passes of a batch and divides its gradient among contributors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from attribution.errors import BatchError, RowAxisError
from attribution.ghost.calls import ModuleCall, RootCall
from attribution.ghost.expand import StandInOnly, StandIns
from attribution.ghost.gradients import DividedGradient
from attribution.ghost.hooks import Hooks
from attribution.ghost.partition import Layout
from attribution.ghost.proofs import Proofs
from attribution.ghost.providers import Partitions, Providers
from attribution.ghost.recorder import Recorder, repeat_backward
from attribution.ghost.refused import refuse_row_mixing, refuse_unsupported
from attribution.ghost.resolve import Resolver
from attribution.ghost.rows import CallFindings, Mixed, Rowless
from attribution.ghost.trees import tensors_in


class Capture:
    """Divides the gradients of a model's batches into the parts of `gradient`; one object a meter.

    Raises `UnsupportedLayerError` for a module that no rule or fallback can divide.
    """

    def __init__(self, model: nn.Module, gradient: DividedGradient, row_axes: Mapping[str, int]) -> None:
        refuse_unsupported(model)
        self._model, self._gradient = model, gradient
        self._hooks, self._stand_ins = Hooks(model), StandIns()
        self._providers = Providers(self._hooks, gradient, self._stand_ins)
        self._repeated: list[Recorder] = []
        self._proofs = Proofs(self._hooks, self._stand_ins, self._metered, row_axes)
        self._resolver = Resolver(self._hooks, gradient, self._providers, self._proofs, self._stand_ins)

    def close(self) -> None:
        """Take all hooks off the model."""
        self._hooks.remove()

    def _metered(self, module: nn.Module) -> bool:
        return module in self._providers

    @contextmanager
    def batch(self, who: Tensor, axis: int | None, check: Callable[[], None]) -> Iterator[None]:
        """Divide the gradient of the backward passes inside among the contributors `who` ``[rows]``.

        `axis` states the axis of the rows in the model's inputs, where its length leaves that open; `check` is
        called when the passes are over, before anything is compared.
        """
        refuse_row_mixing(self._model)
        self._stand_ins.rows = len(who)
        partitions = Partitions(who)
        recorder = Recorder(
            self._hooks,
            self._metered,
            self._stand_ins,
            lambda root: self._at_once(root, partitions),
            self._gradient.synchronise,
        )
        try:
            with self._gradient.in_hand():
                with self._hooks.observed_by(recorder):
                    yield
                self._check_both_passes(recorder)
                if recorder.gradients_came:
                    check()
                    self._divide(recorder.roots, who, axis)
        finally:
            for used in (recorder, *self._repeated):
                used.release()
            self._repeated.clear()

    def _check_both_passes(self, recorder: Recorder) -> None:
        if recorder.gradients_came:
            return
        if self._gradient.arrived:
            raise BatchError(
                "gradients arrived from no call of the model inside meter.batch: "
                "make the forward pass inside the block too, by calling the model"
            )
        if any(root.differentiable for root in recorder.roots):
            raise BatchError("no gradient came back inside meter.batch: call loss.backward() inside the block too")

    def _divide(self, called: list[RootCall], who: Tensor, axis: int | None) -> None:
        roots = [root for root in called if root.received()]
        if all(root.divided for root in roots):
            for root in roots:
                findings = self._proofs.known(root) or []
                self._providers.divide(zip(root.calls, findings, strict=True), who, self._gradient.parts)
            self._gradient.verify()
        else:
            self._first_time(roots, who, axis)

    def _at_once(self, root: RootCall, partitions: Partitions) -> Callable[[ModuleCall, Tensor], bool] | None:
        findings = self._proofs.known(root)
        if findings is None:
            return None
        by_call = {id(call): found for call, found in zip(root.calls, findings, strict=True)}

        def divide(call: ModuleCall, gradient: Tensor) -> bool:
            if not self._providers.has_rule(call.module):
                return False
            self._providers.by_rule(call, gradient, by_call[id(call)], partitions, self._gradient.parts)
            return True

        return divide

    def _first_time(self, roots: list[RootCall], who: Tensor, axis: int | None) -> None:
        """The first batch of its shapes: prove the row axes, then divide the gradients that were kept."""
        proved: list[tuple[RootCall, list[CallFindings]]] = []
        for root in roots:
            findings = self._proofs.known(root) or self._proofs.prove(root, who, axis)
            _check_repeatable(root, findings)
            if self._expand(root, findings, who, axis):
                findings = self._proofs.prove(root, who, axis)
                root = self._repeat(root)
                _check_repeatable(root, findings)
            proved.append((root, findings))
        extra = torch.zeros_like(self._gradient.parts)
        for root, findings in proved:
            calls = zip(root.calls, findings, strict=True)
            if root.divided:
                self._providers.divide(calls, who, self._gradient.parts)
            else:
                self._providers.divide(calls, who, extra)
        wrong = [place for place, _ in self._gradient.unaccounted(extra)]
        if wrong:
            late = [(root, findings) for root, findings in proved if not root.divided]
            self._resolver.resolve(wrong, late, who, extra, axis)
        self._gradient.parts.add_(extra)
        self._gradient.verify()
        for root, findings in proved:
            self._proofs.keep(root, findings, len(who))

    def _repeat(self, root: RootCall) -> RootCall:
        recorder = Recorder(self._hooks, self._metered, self._stand_ins)
        self._repeated.append(recorder)
        wanted: list[Tensor] = [p.parameter for p in self._gradient.space.places if p.parameter.requires_grad]
        repeated = repeat_backward(self._model, self._hooks, root, recorder, wanted)
        repeated.gradients = root.gradients
        return repeated

    def _expand(self, root: RootCall, findings: list[CallFindings], who: Tensor, axis: int | None) -> bool:
        """Expand the embeddings in `root` that have no row axis, where that changes nothing else."""
        found_any = False
        for call, found in zip(root.calls, findings, strict=True):
            module, axes = call.module, self._stand_ins.axes
            if module in axes or not isinstance(module, nn.Embedding) or not call.gradients:
                continue
            if not isinstance(found.outputs[0], Rowless):
                continue
            plain = self._outputs(root)
            for candidate in StandIns.candidates(call.shapes[0]):
                axes[module] = candidate
                if self._changes_nothing(plain, root) and self._separates(root, call.name, who, axis):
                    found_any = True
                    break
                del axes[module]
        return found_any

    def _outputs(self, root: RootCall) -> list[Tensor]:
        observer = StandInOnly(self._stand_ins)
        with torch.no_grad(), self._hooks.observed_by(observer), root.repeated(self._model):
            return tensors_in(root.module(*root.arguments, **root.keywords))

    def _changes_nothing(self, plain: list[Tensor], root: RootCall) -> bool:
        try:
            expanded = self._outputs(root)
        except RuntimeError:
            return False  # the model needs the shape that it had
        pairs = list(zip(plain, expanded, strict=False))
        return len(plain) == len(expanded) and all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)

    def _separates(self, root: RootCall, name: str, who: Tensor, axis: int | None) -> bool:
        findings = self._proofs.prove(root, who, axis)
        if any(isinstance(finding, Mixed) for found in findings for finding in found.outputs):
            return False
        return all(isinstance(found.outputs[0], Layout) for found in findings if found.name == name)


def _check_repeatable(root: RootCall, findings: list[CallFindings]) -> None:
    """The repetition under the probes must have made the calls that the batch made."""
    if [(call.name, call.shapes) for call in root.calls] != [(found.name, found.shapes) for found in findings]:
        raise RowAxisError(root.name, "repeated on the same batch it made other calls, so its rows cannot be proved")
