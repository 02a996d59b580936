"""Records the calls of a batch: those from the user's code, and those of metered modules inside them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attribution.ghost.calls import ModuleCall, RootCall
from attribution.ghost.expand import StandIns
from attribution.ghost.hooks import Hooks
from attribution.ghost.trees import map_tensors, tensors_in

AtOnce = Callable[[RootCall], Callable[[ModuleCall, Tensor], bool] | None]


class Recorder:
    """Observes the user's batch, or a repetition of it.

    `metered` says which modules' calls to keep. When a root call is done, `at_once(root)` may give what divides the
    gradients of its calls as soon as they arrive; what that does not take is kept. `first_gradient` is called before
    any gradient is accumulated.
    """

    def __init__(
        self,
        hooks: Hooks,
        metered: Callable[[nn.Module], bool],
        stand_ins: StandIns,
        at_once: AtOnce | None = None,
        first_gradient: Callable[[], None] | None = None,
    ) -> None:
        self.roots: list[RootCall] = []
        self._first_gradient = first_gradient
        self._hooks, self._metered, self._stand_ins, self._at_once = hooks, metered, stand_ins, at_once
        self._open: list[tuple[nn.Module, Tensor | None]] = []
        self._root: RootCall | None = None

    def before(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """A call begins; the outermost one is the user's own."""
        if not self._open:
            self._root = RootCall(module, self._hooks.names[module], arguments, keywords, torch.get_rng_state())
            self._root.other_random_states = (random.getstate(), np.random.get_state())
        self._open.append((module, torch.get_rng_state() if self._metered(module) else None))

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
        expanded = self._stand_ins.instead_of(module, output)
        if expanded is not None:
            output = expanded[0]
        elif random_state is not None or not self._open:
            output = _apart(output)
        if random_state is not None:
            call = ModuleCall(module, self._hooks.names[module], arguments, keywords, random_state)
            call.watch_gradients(output, self._came)
            call.shapes = [tuple(tensor.shape) for tensor in tensors_in(output)]
            root.calls.append(call)
        if not self._open and torch.is_grad_enabled():
            root.shapes = [tuple(tensor.shape) for tensor in tensors_in(output)]
            root.differentiable = any(tensor.requires_grad for tensor in tensors_in(output))
            if self._at_once is not None and (divide := self._at_once(root)) is not None:
                root.divided = True
                for call in root.calls:
                    call.divide = divide
            root.watch_gradients(output, self._came, keep=not root.divided)
            self.roots.append(root)
        return None if output is given else output

    @property
    def gradients_came(self) -> bool:
        """Whether any gradient came back to a call of the user's."""
        return self._first_gradient is None

    def release(self) -> None:
        """Let go of all tensors.

        The hooks on a batch's tensors lead here, and from here to its tensors: a circle through autograd's graph,
        which Python's garbage collector cannot see.
        """
        for root in self.roots:
            for call in (root, *root.calls):
                call.release()
            root.calls = []
        self.roots, self._root = [], None

    def _came(self) -> None:
        if self._first_gradient is not None:
            first, self._first_gradient = self._first_gradient, None
            first()


def _apart(output: Any) -> Any:
    """Several outputs as views of themselves: where one was computed from another, as a model's logits from the hidden
    states that it returns too, the gradient of a view is what came from outside alone.
    """
    if sum(tensor.requires_grad for tensor in tensors_in(output)) < 2:
        return output
    return map_tensors(lambda tensor: tensor.view_as(tensor) if tensor.requires_grad else tensor, output)


def repeat_backward(
    model: nn.Module, hooks: Hooks, root: RootCall, recorder: Recorder, wanted: list[Tensor]
) -> RootCall:
    """Repeat the call `root` forward and, with the gradients that came back to it, backward; record what it does."""
    with torch.enable_grad(), root.repeated(model), hooks.observed_by(recorder):
        outputs = tensors_in(root.module(*root.arguments, **root.keywords))
        pairs = [(outputs[i], gradient) for i, gradient in root.gradients.items() if outputs[i].requires_grad]
        torch.autograd.grad([output for output, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True)
    return recorder.roots[0]
