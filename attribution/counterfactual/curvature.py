"""The Hessian of a step's training loss, times the tangents that are carried: the interface of one form a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from attribution.parameters import Place

if TYPE_CHECKING:
    from attribution.counterfactual.again import Pass
    from attribution.ghost.factors import KeptBatch

Product = Callable[[Place, slice], Tensor]  # a stretch of a parameter -> [K, n]


class Curvature(ABC):
    """What is known of the Hessian H of the loss that the coming step descends, from the batches that it is made of."""

    needs_factors = False  # of each batch: layers' inputs and output gradients
    by_fisher = False  # made of gradients' squares: the Hessian of what is descended, also where a loss is climbed
    gradient: Tensor | None = None  # [P] of the product's losses, where they were computed again; before any clipping

    @property
    def without(self) -> list[str]:
        """The names of the parameters that this form has no curvature of."""
        return []

    @abstractmethod
    def batch(self, kept: KeptBatch | None, given: Pass | None) -> None:
        """A batch of the coming step was metered: its factors where they are needed, and its losses where given."""

    @abstractmethod
    def product(self, start: Tensor, tangents: Tensor, reach: Tensor, rows: int) -> Product:
        """H at the parameters `start` ``[P]`` times `tangents` ``[K, P]``, parameter by parameter.

        `reach` ``[P]`` is how far the optimizer moves a parameter for a unit of gradient: forms that are stable at
        every learning rate give H (I + reach · H)⁻¹ instead. `rows` were metered since the last step.
        """

    @abstractmethod
    def forget(self) -> None:
        """The step was taken, or its gradients were thrown away."""
