"""How much memory metering takes, known before it is taken (DESIGN §3.5)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attribution.parameters import ParameterSpace

logger = logging.getLogger("attribution")


@dataclass(frozen=True)
class Footprint:
    """Bytes that the meter will hold, besides what the training itself needs."""

    gradients: int  # contributors' parts of the gradient, and the house's
    momentum: int  # the same of the optimizer's linear state
    displacements: int  # the same of the way since a path began, where it covers several steps
    evaluations: int  # the objective's gradients at both ends of a path and between, their average, and parameters
    rows: int = 0  # what scores of single rows need of a step's batches: known when the first of them are over

    @classmethod
    def of(
        cls,
        space: ParameterSpace,
        parts: int,
        momentum: int,
        displacements: int,
        tasks: Sequence[str],
        evaluations: int,
    ) -> Footprint:
        """Of `parts` parts of every parameter, `momentum` and `displacements` of them held besides.

        `evaluations` is how many gradients of each task are held at once.
        """
        vector = space.size * space.zeros(0).element_size()
        held = (evaluations * len(tasks) + 4) * vector
        return cls(parts * vector, momentum * parts * vector, displacements * parts * vector, held)

    def with_rows(self, taken: int) -> Footprint:
        """With `taken` bytes that scores of single rows need; told where that is more than was known."""
        if taken <= self.rows:
            return self
        found = replace(self, rows=taken)
        found.announce()
        return found

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.gradients + self.momentum + self.displacements + self.evaluations + self.rows

    def announce(self) -> None:
        """Log what will be taken, and warn where that is more than is free."""
        logger.info("metering will take %.0f MB besides training", self.total / 1e6)
        free = _free()
        if free is not None and self.total > free:
            warnings.warn(
                f"metering will take {self.total / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: "
                "use memory='ghost', which keeps no buffers by contributor",
                RuntimeWarning,
                stacklevel=4,
            )


def _free() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None  # another system than Linux
    available = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return None if available is None else int(available.split()[1]) * 1024
