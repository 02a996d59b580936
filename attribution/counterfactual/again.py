"""A batch's losses computed again: at other parameters, with the random numbers of the batch's own pass."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attribution.counterfactual.game import Batch
from attribution.errors import BatchError
from attribution.undisturbed import random_state_kept


@dataclass(frozen=True)
class RandomState:
    """Of Python, numpy and torch (CPU and the current accelerator)."""

    python: tuple[Any, ...]
    numpy: Any
    torch: Tensor
    cuda: list[Tensor] | None

    @classmethod
    def present(cls) -> RandomState:
        """As it is now."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda)

    @contextmanager
    def again(self) -> Iterator[None]:
        """As it was then inside; as it is now afterwards."""
        with random_state_kept():
            random.setstate(self.python)
            np.random.set_state(self.numpy)
            torch.set_rng_state(self.torch)
            if self.cuda is not None:
                torch.cuda.set_rng_state_all(self.cuda)
            yield


@dataclass(frozen=True)
class Pass:
    """A metered batch with its rows' losses, and the random state in which its block began."""

    batch: Batch
    began: RandomState


class Again:
    """Whether losses computed again had the gradient of the passes themselves, all of a step's together.

    `rounding` is the unit of rounding of the passes' gradients.
    """

    def __init__(self, rounding: float) -> None:
        # Autocast's gradients are coarse by themselves, and losses may be computed again without it.
        self._unit = 1000 * rounding if rounding < 1e-5 else 32 * rounding
        self._missing, self._size = 0.0, 0.0

    def compare(self, again: Tensor, parts: Tensor) -> None:
        """The gradient of the losses ``[n]`` beside the contributors' gradients of the passes ``[contributors, n]``."""
        self._missing += float((parts.sum(0) - again).square().sum())
        self._size += float(parts.norm(dim=1).sum()) ** 2

    def check(self) -> None:
        """Raise `BatchError` where they differ by more than rounding."""
        if not math.sqrt(self._missing) <= self._unit * math.sqrt(self._size):
            raise BatchError(
                "the losses given to meter.batch are not those of its pass: their gradient differs by "
                f"{math.sqrt(self._missing / max(self._size, 1e-300)):.1e} of its length; they must be what each row "
                "adds to the loss that backward() was called on, from the model in the same mode, with no random "
                "numbers drawn in the block before the model is called"
            )
