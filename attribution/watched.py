"""When the optimizer steps: the hooks on `optimizer.step()`, closures and loss scalers included."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch.optim import Optimizer


class Meterable(Protocol):
    """Who is told of steps."""

    def ready(self) -> bool:
        """Whether the step that is about to be taken is to be metered."""

    def settle(self) -> None:
        """The gradients are computed and unscaled, and not yet written over."""

    def begin(self) -> None:
        """The step begins: the parameters are as they were."""

    def end(self) -> None:
        """The step has been taken."""


class WatchedOptimizer:
    """Tells of each step of an optimizer until it is closed."""

    def __init__(self, optimizer: Optimizer, told: Meterable) -> None:
        self._told = told
        self._under_way = self._settled = False
        self._handles = [
            optimizer.register_step_pre_hook(lambda *call: self._before(*call)),
            optimizer.register_step_post_hook(lambda *_: self._after()),
        ]

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _before(
        self, optimizer: Optimizer, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """What `optimizer.step` is to be called with instead, where that is something else."""
        self._under_way = False
        if _found_infinite(optimizer) or not self._told.ready():
            return None
        closures = any(callable(argument) for argument in (*arguments, *keywords.values()))
        # Before the update, since an optimizer may write over the gradient; but a closure has yet to compute it, and a
        # fused optimizer to take a loss scaler's scale off it.
        self._settled = False
        if not closures and getattr(optimizer, "grad_scale", None) is None:
            self._settle()
        self._told.begin()
        self._under_way = True
        if not closures:
            return None
        return tuple(map(self._settling, arguments)), {k: self._settling(v) for k, v in keywords.items()}

    def _settling(self, argument: Any) -> Any:
        """A closure that settles the gradients that it has computed; anything else as it is."""
        if not callable(argument):
            return argument
        compute: Callable[[], Any] = argument

        def run() -> Any:
            loss = compute()
            self._settle()
            return loss

        return run

    def _settle(self) -> None:
        self._told.settle()
        self._settled = True

    def _after(self) -> None:
        if not self._under_way:
            return
        self._under_way = False
        if not self._settled:
            self._settle()
        self._told.end()


def _found_infinite(optimizer: Optimizer) -> bool:
    """Whether a loss scaler tells a fused optimizer to leave the parameters alone."""
    found: Any = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
