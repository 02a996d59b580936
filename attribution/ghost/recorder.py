"""Records the calls of a batch: those from the user's code, and those of metered modules inside them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from attribution.ghost.attach import Detached, attach
from attribution.ghost.calls import ModuleCall, RootCall
from attribution.ghost.expand import StandIns
from attribution.ghost.hooks import Hooks
from attribution.ghost.trees import map_tensors, tensors_in


class Dividing(Protocol):
    """Who divides the gradients of a batch's calls as they arrive."""

    def expected(self, root: RootCall) -> bool:
        """Whether calls like `root`, which begins, have been divided before."""

    def at_once(self, root: RootCall) -> Callable[[ModuleCall, Tensor], bool] | None:
        """What divides the gradients of the calls in `root`, which is over; None if they are to be kept."""

    def attached(self, module: nn.Module) -> list[nn.Parameter] | None:
        """The parameters of `module` whose gradient is not autograd's to compute; None if it is only watched."""

    def in_place_of_autograd(
        self, call: ModuleCall, inputs: Tensor, gradient: Tensor, parameters: list[nn.Parameter]
    ) -> list[Tensor]:
        """Divide the gradient of a call of an attached module; the whole gradient of each of `parameters`."""

    def first_gradient(self) -> None:
        """A first gradient has come, and none is accumulated yet."""


class Recorder:
    """Observes the user's batch, or a repetition of it.

    `metered` says which modules' calls to keep. Where `dividing` is given, it takes what gradients it can as soon as
    they arrive; the others are kept.
    """

    def __init__(
        self,
        hooks: Hooks,
        metered: Callable[[nn.Module], bool],
        stand_ins: StandIns,
        dividing: Dividing | None = None,
    ) -> None:
        self.roots: list[RootCall] = []
        self.gradients_came = False
        self._dividing, self._detached = dividing, Detached()
        self._replacing: bool | None = None  # the same for all of a batch: checkpointing compares what it repeats
        self._hooks, self._metered, self._stand_ins = hooks, metered, stand_ins
        self._open: list[tuple[nn.Module, Tensor | None]] = []
        self._root: RootCall | None = None

    def before(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """A call begins; the outermost one is the user's own."""
        if not self._open:
            self._root = RootCall(module, self._hooks.names[module], arguments, keywords, torch.get_rng_state())
            self._root.other_random_states = (random.getstate(), np.random.get_state())
            self._stand_ins.begins(self._root)
            if self._replacing is None and self._dividing is not None:
                self._replacing = self._dividing.expected(self._root)
        self._open.append((module, torch.get_rng_state() if self._metered(module) else None))
        if self._replacing and self._dividing is not None and torch.is_grad_enabled():
            parameters = self._dividing.attached(module)
            if parameters is not None:
                self._detached.before(module, parameters)

    def after(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
        """A call ends: watch for the gradients of what it returned."""
        root = self._root
        assert root is not None
        random_state = None
        while self._open:  # calls that ended in an exception are still open above this one
            opened, random_state = self._open.pop()
            if opened is module:
                break
        given = output
        parameters = self._detached.after(module)
        expanded = self._stand_ins.instead_of(module, output)
        if expanded is not None:
            output = expanded[0]
        elif random_state is not None or not self._open:
            output = _apart(output)
        if random_state is not None:
            call = ModuleCall(module, self._hooks.names[module], arguments, keywords, random_state)
            call.expanded = expanded is not None
            if parameters is not None and expanded is None and (parameters or output.requires_grad):
                output = attach(output, call.inputs()[0], parameters, partial(self._take, call, parameters))
                call.attached = True
            else:
                call.watch_gradients(output, self._came)
            if call.attached or not any(tensor.requires_grad for tensor in tensors_in(output)):
                call.arguments, call.keywords = (), {}  # autograd keeps the inputs, or nobody will ask for them
            call.shapes = [tuple(tensor.shape) for tensor in tensors_in(output)]
            root.calls.append(call)
        if not self._open and torch.is_grad_enabled():
            root.shapes = [tuple(tensor.shape) for tensor in tensors_in(output)]
            root.differentiable = any(tensor.requires_grad for tensor in tensors_in(output))
            if self._dividing is not None and (divide := self._dividing.at_once(root)) is not None:
                root.divided = True
                for call in root.calls:
                    call.divide = divide
            root.watch_gradients(output, self._came, keep=not root.divided)
            self.roots.append(root)
        return None if output is given else output

    def release(self) -> None:
        """Let go of all tensors.

        The hooks on a batch's tensors lead here, and from here to its tensors: a circle through autograd's graph,
        which Python's garbage collector cannot see.
        """
        self._detached.release()
        for root in self.roots:
            for call in (root, *root.calls):
                call.release()
            root.calls = []
        self.roots, self._root = [], None

    def _came(self) -> None:
        if not self.gradients_came:
            self.gradients_came = True
            if self._dividing is not None:
                self._dividing.first_gradient()

    def _take(self, call: ModuleCall, parameters: list[nn.Parameter], inputs: Tensor, gradient: Tensor) -> list[Tensor]:
        self._came()
        assert self._dividing is not None
        return self._dividing.in_place_of_autograd(call, inputs, gradient, parameters)


def _apart(output: Any) -> Any:
    """Several outputs as views of themselves: where one was computed from another, as a model's logits from the hidden
    states that it returns too, the gradient of a view is what came from outside alone.
    """
    if sum(tensor.requires_grad for tensor in tensors_in(output)) < 2:
        return output
    return map_tensors(_itself, output)


def _itself(tensor: Tensor) -> Tensor:
    if not tensor.requires_grad:
        return tensor
    # Changing a view in place drops its hooks, and losses are divided in place.
    return tensor.view_as(tensor) if tensor.dim() else tensor.clone()


def repeat_backward(
    model: nn.Module, hooks: Hooks, root: RootCall, recorder: Recorder, wanted: list[Tensor]
) -> RootCall:
    """Repeat the call `root` forward and, with the gradients that came back to it, backward; record what it does."""
    with torch.enable_grad(), root.repeated(model), hooks.observed_by(recorder):
        outputs = tensors_in(root.module(*root.arguments, **root.keywords))
        pairs = [(outputs[i], gradient) for i, gradient in root.gradients.items() if outputs[i].requires_grad]
        torch.autograd.grad([output for output, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True)
    return recorder.roots[0]
