"""Calls of modules as they were observed in one batch, and how to repeat them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attribution.ghost.precision import Autocast
from attribution.ghost.trees import tensors_in
from attribution.undisturbed import buffers_kept, random_state_kept


@dataclass
class ModuleCall:
    """One call of a module: its arguments, what it returned, and the gradients that came back to that."""

    module: nn.Module
    name: str
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    random_state: Tensor
    shapes: list[tuple[int, ...]] = field(default_factory=list)  # of the tensors it returned
    gradients: dict[int, Tensor] = field(default_factory=dict)  # by place among those tensors
    divide: Callable[[ModuleCall, Tensor], bool] | None = None  # takes the gradients that it can on arrival
    expanded: bool = False  # its output had no row axis, and was given one
    attached: bool = False  # what comes back to it is divided within autograd, which keeps its inputs
    autocast: Autocast = field(default_factory=Autocast.present)

    @contextmanager
    def repeated(self, model: nn.Module) -> Iterator[None]:
        """Random state and autocast as they were when the call began; all comes back afterwards, and buffers too."""
        with random_state_kept(), buffers_kept(model), self.autocast.again():
            torch.set_rng_state(self.random_state)
            yield

    def inputs(self) -> list[Tensor]:
        """The tensors among the arguments, in order."""
        return tensors_in((self.arguments, self.keywords))

    def release(self) -> None:
        """Forget arguments and gradients."""
        self.arguments, self.keywords, self.gradients, self.divide = (), {}, {}, None

    def watch_gradients(self, output: Any, came: Callable[[], None], *, keep: bool = True) -> None:
        """Keep the gradients of the tensors in `output` when they arrive, after telling `came` that one has."""

        def arrived(index: int, gradient: Tensor) -> None:
            came()
            if not keep or (self.divide is not None and self.divide(self, gradient)):
                return
            known = self.gradients.get(index)
            self.gradients[index] = gradient if known is None else known + gradient

        for index, tensor in enumerate(tensors_in(output)):
            if tensor.requires_grad:
                tensor.register_hook(partial(arrived, index))  # type: ignore[no-untyped-call]


@dataclass
class RootCall(ModuleCall):
    """A call from the user's own code, with the calls of metered modules that it made."""

    calls: list[ModuleCall] = field(default_factory=list)
    differentiable: bool = False  # something that it returned requires a gradient
    divided: bool = False  # its calls' gradients are divided on arrival
    other_random_states: tuple[Any, Any] | None = None  # Python's and numpy's, when the call began

    @contextmanager
    def repeated(self, model: nn.Module) -> Iterator[None]:
        """As for any call, with Python's and numpy's random state too."""
        with super().repeated(model):
            if self.other_random_states is not None:
                random.setstate(self.other_random_states[0])
                np.random.set_state(self.other_random_states[1])
            yield

    def received(self) -> bool:
        """Whether any gradient came back to it: not so for calls made for a metric, or repeated by checkpointing."""
        return self.divided or bool(self.gradients) or any(call.gradients for call in self.calls)

    def beginning(self) -> tuple[Any, ...]:
        """What of the signature is known when the call begins."""
        return self.name, self.module.training, tuple((tuple(t.shape), str(t.dtype)) for t in self.inputs())

    def signature(self) -> tuple[Any, ...]:
        """What must stay the same for a proof of the row axes to hold: shapes, kinds and the calls made."""
        return (
            *self.beginning(),
            tuple((call.name, tuple(call.shapes)) for call in self.calls),
        )
