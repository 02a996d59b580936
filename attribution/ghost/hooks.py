"""Forward hooks on every module of a model, handed to whoever observes at the moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from torch import nn
from torch.utils.hooks import RemovableHandle


class Observer(Protocol):
    """Sees every module call; may replace what a module returns."""

    def before(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """A module is about to run."""

    def after(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
        """A module has run; returns what it is to return instead, or None."""


class Hooks:
    """The hooks of one model; silent unless an observer is set."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.names = {module: name for name, module in model.named_modules()}
        self._observer: Observer | None = None
        self._handles: list[RemovableHandle] = []
        for module in self.names:
            self._handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
            # First among the forward hooks: later ones may change the output, which no rule would know.
            self._handles.append(module.register_forward_hook(self._after, prepend=True, with_kwargs=True))

    def remove(self) -> None:
        """Take every hook off the model."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._observer = None

    @contextmanager
    def observed_by(self, observer: Observer | None) -> Iterator[None]:
        """Let `observer` see the calls inside; the one before it again afterwards."""
        previous, self._observer = self._observer, observer
        try:
            yield
        finally:
            self._observer = previous

    def _before(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if self._observer is not None:
            self._observer.before(module, arguments, keywords)

    def _after(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> Any:
        return None if self._observer is None else self._observer.after(module, arguments, keywords, output)
