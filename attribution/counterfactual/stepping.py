"""How an optimizer moves one parameter and its tangents: the interface of one rule a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Stepping(ABC):
    """One parameter of n numbers and its K tangents, stacked ``[1 + K, n]``: the parameter first.

    Where a step is linear in parameter, gradient and memory, the same lines move all of them alike.
    """

    def __init__(self, options: Mapping[str, Any], state: Mapping[str, Any], own: bool) -> None:
        """`options` are the group's, `state` the optimizer's for this parameter before the first step.

        With `own`, scaling that is not linear is differentiated too; else it is held fixed at every weight.
        """
        self.options, self.own = options, own

    @abstractmethod
    def move(self, rate: float, place: Tensor, gradient: Tensor, held: Tensor | None) -> Tensor | None:
        """Step from `place` ``[1 + K, n]``, in it, with `gradient` ``[1 + K, n]``.

        Returns the scaling ``[n]`` that it used, where there is one: what another replay is to be given as `held`.
        """

    def uphill(self, gradient: Tensor) -> Tensor:
        """The gradient of what is descended."""
        return -gradient if self.options["maximize"] else gradient


def remembered(state: Mapping[str, Any], name: str, like: Tensor) -> Tensor:
    """The optimizer's memory `name` before the first step, with tangents that are zero, shaped as `like`."""
    stacked = torch.zeros_like(like)
    if name in state:
        stacked[0] = state[name].detach().reshape(-1)
    return stacked
