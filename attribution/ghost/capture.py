"""Capture: watches the forward and backward passes of a batch and divides its gradient among contributors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from attribution.errors import BatchError, RowAxisError
from attribution.ghost.calls import ModuleCall, RootCall
from attribution.ghost.expand import StandInOnly, StandIns
from attribution.ghost.factors import KeptBatch
from attribution.ghost.gradients import DividedGradient
from attribution.ghost.hooks import Hooks
from attribution.ghost.partition import Layout, Partition
from attribution.ghost.parts import Parts
from attribution.ghost.proofs import Proofs
from attribution.ghost.providers import Partitions, Providers
from attribution.ghost.recorder import Recorder, repeat_backward
from attribution.ghost.refused import refuse_row_mixing, refuse_unsupported
from attribution.ghost.resolve import Resolver
from attribution.ghost.rows import CallFindings, Mixed, Rowless
from attribution.ghost.signed import SignedParts
from attribution.ghost.trees import tensors_in


class Capture:
    """Divides the gradients of a model's batches into the parts of `gradient`; one object a meter.

    Where it does not divide, it keeps what single rows' scores need, and sees that no parameter is missing from that.
    `signed` is where signed sums of rows' gradients go too.

    Raises `UnsupportedLayerError` for a module that no rule or fallback can divide.
    """

    def __init__(
        self,
        model: nn.Module,
        gradient: DividedGradient,
        row_axes: Mapping[str, int],
        *,
        divides: bool = True,
        signed: SignedParts | None = None,
    ) -> None:
        refuse_unsupported(model)
        self.divides = divides
        self._model, self._gradient = model, gradient
        self._hooks, self._stand_ins = Hooks(model), StandIns()
        self._providers = Providers(self._hooks, gradient)
        self._providers.signed = signed
        self._repeated: list[Recorder] = []
        self._proofs = Proofs(self._hooks, self._stand_ins, self._metered, row_axes)
        self._resolver = Resolver(self._hooks, gradient, self._providers, self._proofs, self._stand_ins)

    def close(self) -> None:
        """Take all hooks off the model."""
        self._hooks.remove()

    def _metered(self, module: nn.Module) -> bool:
        return module in self._providers

    @contextmanager
    def batch(self, who: Tensor, axis: int | None, kept: KeptBatch | None = None) -> Iterator[None]:
        """Divide the gradient of the backward passes inside among the contributors `who` ``[rows]``.

        `axis` states the axis of the rows in the model's inputs, where its length leaves that open. What single rows'
        scores need goes into `kept`.
        """
        refuse_row_mixing(self._model)
        self._stand_ins.rows = len(who)
        if self._providers.signed is not None:
            self._providers.signed.redraw(len(who))
        self._providers.factors = None if kept is None else kept.factors
        self._gradient.checks.choose()
        batch = _Batch(self._gradient, self._providers, self._proofs, who, self.divides)
        recorder = Recorder(self._hooks, self._metered, self._stand_ins, batch)
        try:
            with self._gradient.in_hand():
                with self._hooks.observed_by(recorder), self._gradient.batch():
                    yield
                self._check_both_passes(recorder)
                if not recorder.gradients_came:
                    return
                self._gradient.note()
                if self._gradient.spoilt is None:
                    self._divide(recorder.roots, who, axis)
                    if not self.divides:
                        self._gradient.credit_everybody()
        finally:
            for used in (recorder, *self._repeated):
                used.release()
            self._repeated.clear()
            self._providers.factors = None

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
        if not all(root.divided for root in roots):
            self._first_time(roots, who, axis)
            return
        for root in roots:
            rest = [(c, f) for c, f in _with(root, self._proofs.known(root)) if not self._providers.has_rule(c.module)]
            if self.divides:
                self._providers.divide(rest, who, self._gradient.parts)
                self._providers.sign(rest, who)
            self._providers.keep(rest)
        if self.divides:
            self._gradient.verify()

    def _first_time(self, roots: list[RootCall], who: Tensor, axis: int | None) -> None:
        """The first batch of its shapes: prove the row axes, then divide the gradients that were kept."""
        self._gradient.checks.choose(all_of_them=True)
        proved: list[tuple[RootCall, list[CallFindings]]] = []
        for root in roots:
            findings = self._proofs.known(root) or self._proofs.prove(root, who, axis)
            _check_repeatable(root, findings)
            if self._expand(root, findings, who, axis):
                findings = self._proofs.prove(root, who, axis)
                root = self._repeat(root)
                _check_repeatable(root, findings)
            proved.append((root, findings))
        extra = Parts(self._gradient.space, self._gradient.parts.count)
        if not self.divides:
            who = torch.zeros_like(who)  # everybody's together: it is the sum that shows what is missing
        for root, findings in proved:
            self._providers.divide(_with(root, findings), who, extra)
        wrong = [place for place, _ in self._gradient.unaccounted(extra)]
        if wrong:
            self._resolver.resolve(wrong, [(r, f) for r, f in proved if not r.divided], who, extra, axis)
        self._gradient.parts.add(extra)
        self._gradient.verify()
        for root, findings in proved:
            self._proofs.keep(root, findings, len(who))
        if self._providers.factors is not None:
            for root, findings in proved:
                self._keep_factors(root, findings, who, axis, again=bool(wrong))

    def _keep_factors(
        self, root: RootCall, findings: list[CallFindings], who: Tensor, axis: int | None, *, again: bool
    ) -> None:
        if root.divided:
            return  # they were kept on arrival
        if again:  # other modules than those observed give some of the gradients now
            root, findings = self._repeat(root), self._proofs.prove(root, who, axis)
        self._providers.keep(_with(root, findings))

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
            if call.expanded or not isinstance(call.module, nn.Embedding) or not call.gradients:
                continue
            if not isinstance(found.outputs[0], Rowless):
                continue
            self._stand_ins.begins(root)
            plain = self._outputs(root)
            for candidate in StandIns.candidates(call.shapes[0]):
                self._stand_ins.decide(call.module, call.shapes[0], candidate)
                if self._changes_nothing(plain, root) and self._separates(root, call.name, who, axis):
                    found_any = True
                    break
                self._stand_ins.decide(call.module, call.shapes[0], None)
        return found_any

    def _outputs(self, root: RootCall) -> list[Tensor]:
        observer = StandInOnly(self._stand_ins)
        with torch.no_grad(), self._hooks.observed_by(observer), root.repeated(self._model):
            return tensors_in(root.module(*root.arguments, **root.keywords))

    def _changes_nothing(self, plain: list[Tensor], root: RootCall) -> bool:
        try:
            expanded = self._outputs(root)
        except (RuntimeError, ValueError, TypeError, LookupError, AssertionError):
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


def _with(root: RootCall, findings: list[CallFindings] | None) -> list[tuple[ModuleCall, CallFindings]]:
    return list(zip(root.calls, findings or [], strict=True))


class _Batch:
    """Divides the gradients of one batch as they arrive, where calls like its own have been divided before."""

    def __init__(
        self, gradient: DividedGradient, providers: Providers, proofs: Proofs, who: Tensor, divides: bool
    ) -> None:
        self._gradient, self._providers, self._proofs = gradient, providers, proofs
        self._partitions, self._divides = Partitions(who), divides
        self._findings: dict[int, CallFindings] = {}

    def expected(self, root: RootCall) -> bool:
        return self._proofs.expected(root)

    def at_once(self, root: RootCall) -> Callable[[ModuleCall, Tensor], bool] | None:
        findings = self._proofs.known(root)
        if findings is None:
            return None
        self._findings.update((id(call), found) for call, found in _with(root, findings))
        return self._arrived

    def _arrived(self, call: ModuleCall, gradient: Tensor) -> bool:
        if not self._providers.has_rule(call.module):
            return False
        inputs, found = call.inputs()[0].detach(), self._findings[id(call)]
        self._providers.keep_rule(call, inputs, gradient, found)
        if self._divides:
            self._providers.by_rule(call, inputs, gradient, found, self._partitions, self._gradient.parts)
            self._providers.sign_rule(call, inputs, gradient, found, self._partitions)
        return True

    def attached(self, module: nn.Module) -> list[nn.Parameter] | None:
        if not self._divides or not self._providers.has_rule(module):
            return None
        parameters = self._providers.worth_replacing(module)
        # A hook is less work than a function.
        return parameters if parameters or self._gradient.checks.in_turn else None

    def in_place_of_autograd(
        self, call: ModuleCall, inputs: Tensor, gradient: Tensor, parameters: list[nn.Parameter]
    ) -> list[Tensor]:
        found = self._findings.get(id(call))
        if found is None or not isinstance(found.outputs[0], Layout):
            # Not seen before in this place: only the whole gradient is needed now, the parts come later.
            call.arguments = (inputs,)
            call.gradients[0] = gradient if 0 not in call.gradients else call.gradients[0] + gradient
            everybody = Partition(Layout(0, torch.zeros(len(gradient), dtype=torch.long)), torch.zeros(1).long())
            scratch = Parts(self._gradient.space, 1)
            return self._providers.in_place_of_autograd(call, inputs, gradient, everybody, scratch, parameters)
        self._providers.keep_rule(call, inputs, gradient, found)
        partition, parts = self._partitions.of(found.outputs[0]), self._gradient.parts
        self._providers.sign_rule(call, inputs, gradient, found, self._partitions)
        return self._providers.in_place_of_autograd(call, inputs, gradient, partition, parts, parameters)

    def first_gradient(self) -> None:
        self._gradient.begin()
