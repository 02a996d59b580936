"""A valuation: the values of a run by one path, beside others of the same run (DESIGN §3.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from attribution.errors import RecordError
from attribution.steps import Floats, frozen_array

ROUNDING = 1e-9  # of the largest number in a sum, in float64


@dataclass(frozen=True)
class Valuation:
    """Who did what to the run's improvement, by another path than the record's own. In nats, unweighted.

    Raises `RecordError` when the parts do not fit together; `RunRecord` refuses one that does not sum to the run's
    improvement.
    """

    values: Floats  # [contributors, tasks]; positive = lowered the loss
    house: Floats  # [tasks]
    gap: Floats  # [tasks]
    standard_errors: Floats | None = None  # [contributors, tasks], of sampled values
    nodes: int = 0  # validation gradients used
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON: how it was made, such as {"every": "run"}

    def __post_init__(self) -> None:
        for name in ("values", "house", "gap"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.float64))
        object.__setattr__(self, "details", dict(self.details))
        tasks = self.values.shape[1:]
        if self.values.ndim != 2 or self.house.shape != tasks or self.gap.shape != tasks:
            raise RecordError(
                f"a valuation's values {self.values.shape}, house {self.house.shape} and gap {self.gap.shape} "
                "do not fit: they are [contributors, tasks], [tasks] and [tasks]"
            )
        object.__setattr__(self, "standard_errors", checked_errors(self.standard_errors, self.values.shape))

    def missing(self, improvement: Floats) -> Floats:
        """``improvement - values.sum(0) - house - gap``, float64 [tasks], nats: zero but for rounding."""
        missing: Floats = improvement - self.values.sum(axis=0) - self.house - self.gap
        return missing

    def accounts_for(self, improvement: Floats, losses: Floats) -> bool:
        """Whether values, house and gap sum to `improvement` [tasks], a difference of `losses` [tasks], to rounding."""
        parts = [np.abs(losses), np.abs(self.values).sum(axis=0), np.abs(self.house), np.abs(self.gap)]
        return bool((np.abs(self.missing(improvement)) <= ROUNDING * np.maximum.reduce(parts)).all())


def checked_errors(errors: Floats | None, shape: tuple[int, ...]) -> Floats | None:
    """Standard errors as a read-only array of `shape`, or None. Raises `RecordError` for what are none."""
    if errors is None:
        return None
    errors = frozen_array(errors, np.float64)
    if errors.shape != shape or not (errors >= 0).all():
        raise RecordError(f"standard errors must be one a value, {shape}, and none negative: {errors.shape}")
    return errors
