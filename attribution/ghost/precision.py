"""Autocast: the state that a call was made in, for its repetition, and full precision for our own arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class Autocast:
    """Whether autocast was on, and to which type, for each kind of device."""

    states: tuple[tuple[str, bool, torch.dtype], ...]

    @classmethod
    def present(cls) -> Autocast:
        """As it is now."""
        return cls(tuple((d, torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in DEVICES))

    @contextmanager
    def again(self) -> Iterator[None]:
        """As it was then; weights cast meanwhile are not kept, since some are cast without gradients."""
        if not any(enabled or torch.is_autocast_enabled(device) for device, enabled, _ in self.states):
            yield
            return
        now = Autocast.present()
        with ExitStack() as stack:
            for state, then in zip(now.states, self.states, strict=True):
                if state[1] or then[1]:
                    device, enabled, dtype = then
                    stack.enter_context(torch.autocast(device, dtype=dtype, enabled=enabled, cache_enabled=False))
            yield


FULL_PRECISION = Autocast(tuple((device, False, torch.bfloat16) for device in DEVICES))
