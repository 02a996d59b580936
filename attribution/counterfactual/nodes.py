"""Where a replay looks at the diagonal: Gauss-Legendre nodes, drawn towards s = 0 by a substitution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attribution.errors import OptionError
from attribution.steps import Floats, frozen_array


@dataclass(frozen=True, eq=False)
class Nodes:
    """Weights of the data at which a training is replayed, and what each replay counts for."""

    at: Floats  # [nodes], in (0, 1), rising
    shares: Floats  # [nodes]

    def __len__(self) -> int:
        return len(self.at)


def diagonal_nodes(count: int, power: float) -> Nodes:
    """Nodes for ∫₀¹ h(s) ds = ∫₀¹ h(uᵖ) p uᵖ⁻¹ du, with p = `power` and Gauss-Legendre in u.

    A training changes fastest where the data weigh least, so a power above 1 puts more nodes there.

    Raises `OptionError` for no node, or a power below 1.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise OptionError(f"nodes must be a whole number from 1 on, not {count!r}")
    if not 1 <= power < float("inf"):
        raise OptionError(f"power must be a number from 1 on, not {power!r}")
    found, lengths = np.polynomial.legendre.leggauss(count)
    u = (found + 1) / 2
    return Nodes(
        at=frozen_array(u**power, np.float64),
        shares=frozen_array(lengths / 2 * power * u ** (power - 1), np.float64),
    )
