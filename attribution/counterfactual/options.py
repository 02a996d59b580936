"""How values that know about absence are carried along one run: what the meter is asked for, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from attribution.errors import BatchError, OptionError

CURVATURES = ("sketch", "kronecker", "companions", "exact")
REDUCTIONS = ("mean", "sum")


@dataclass(frozen=True)
class Counterfactual:
    """Counterfactual values beside the in-run ones, ``InRunShapley(..., counterfactual=Counterfactual(...))``.

    Args:
        curvature: where the Hessian of the training loss is taken from. ``"sketch"``: one signed sum of rows' gradients
            a contributor, free of further passes; ``"kronecker"``: Kronecker factors of each linear layer;
            ``"companions"``: a gradient a contributor and step at a companion model a little way along its tangent;
            ``"exact"``: a Hessian-vector product a contributor and step. The last two need
            ``meter.batch(..., losses=...)``.
        reduction: whether the training loss is the mean of its rows' losses or their sum, which a sketch and Kronecker
            factors cannot tell from gradients.
        reach: of ``"companions"``: how far from the model they are, as a part of the length of its parameters. By
            default it is the square root of their unit of rounding, 3.5e-4 in single precision.
        seed: of the sketch's signs.

    Raises `OptionError` for what makes no sense.
    """

    curvature: str = "sketch"
    reduction: str = "mean"
    reach: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.curvature not in CURVATURES:
            raise OptionError(f"curvature {self.curvature!r} is not one of {', '.join(CURVATURES)}")
        if self.reduction not in REDUCTIONS:
            raise OptionError(f"reduction {self.reduction!r} is not one of {', '.join(REDUCTIONS)}")
        if self.reach is not None and not 0 < self.reach < 1:
            raise OptionError(f"reach must be a part above 0 and below 1, not {self.reach}")

    @property
    def needs_losses(self) -> bool:
        """Whether batches must be given with their rows' losses, to be computed again elsewhere."""
        return self.curvature in ("companions", "exact")


def checked_counterfactual(given: Any) -> Counterfactual | None:
    """The options, the default ones for True. Raises `OptionError` for anything else."""
    if given in (None, False):
        return None
    if given is True:
        return Counterfactual()
    if not isinstance(given, Counterfactual):
        raise OptionError(f"counterfactual is True, False or attribution.Counterfactual(...), not {given!r}")
    return given


def refuse_float16(rounding: float) -> None:
    """Raise `BatchError` for gradients of this unit of `rounding` whose loss a scaler may have scaled."""
    if rounding == torch.finfo(torch.float16).eps:
        raise BatchError(
            "counterfactual values cannot tell a loss scaler's scale from clipping, and these gradients are float16: "
            "train in float32 or bfloat16, or without counterfactual"
        )
