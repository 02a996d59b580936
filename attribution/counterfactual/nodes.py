"""Where replays look at the diagonal: Gauss-Legendre nodes, drawn by a substitution to where the worth is made.

∫₀¹ h(s) ds = ∫₀¹ h(s(u)) s′(u) du with the nodes in u. Any substitution has the same limit; a good one reaches it with
few nodes. A training's worth is made in a small part of the diagonal: with too little data it has not begun to learn,
later more data adds little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attribution.errors import OptionError
from attribution.steps import Floats, frozen_array

NARROWEST = 1e-3  # of the peaks that a substitution follows, in s
PILOTS = 12  # intervals between the weights at which losses are looked at to find the peak


@dataclass(frozen=True, eq=False)
class Nodes:
    """Weights of the data at which a training is replayed, and what each replay counts for."""

    at: Floats  # [nodes], in (0, 1), rising
    shares: Floats  # [nodes]
    substitution: Mapping[str, float]  # by which they were found

    def __len__(self) -> int:
        return len(self.at)


def power_nodes(count: int, power: float) -> Nodes:
    """Nodes for s = uᵖ, p the `power`: above 1 there are more where the data weigh little.

    Raises `OptionError` for no node, or a power below 1.
    """
    if isinstance(power, (bool, str)) or not 1 <= power < float("inf"):
        raise OptionError(f"substitution must be 'losses' or a power from 1 on, not {power!r}")
    u, lengths = _legendre(count)
    return _nodes(u**power, lengths * power * u ** (power - 1), {"power": float(power)})


def peak_nodes(count: int, centre: float, width: float) -> Nodes:
    """Nodes for s = centre + width sinh z, z linear in u: crowded around `centre`, over some `width`.

    For h with a peak there, poles at centre ± i width, the transformed integrand is smooth (Johnston & Elliott, "A
    sinh transformation for evaluating nearly singular boundary element integrals", 2005). Raises `OptionError` for no
    node.
    """
    u, lengths = _legendre(count)
    low, high = np.arcsinh(-centre / width), np.arcsinh((1 - centre) / width)
    z = low + (high - low) * u
    shares = lengths * width * (high - low) * np.cosh(z)
    return _nodes(centre + width * np.sinh(z), shares, {"centre": centre, "width": width})


def pilot_weights() -> Floats:
    """Weights from 0 to 1 at which to look at losses, closer together where the data weigh little."""
    return frozen_array(np.linspace(0, 1, PILOTS + 1) ** 2, np.float64)


def steepest(at: Floats, losses: Floats) -> tuple[float, float]:
    """Centre and width of the part of the diagonal where losses ``[n, tasks]``, known `at` ``[n]`` weights, change.

    The median, and half the distance between the quartiles, of where change happens, whether up or down, tasks alike.
    """
    changes = np.abs(np.diff(losses, axis=0))
    totals = changes.sum(axis=0)
    moving = totals > 0
    if not moving.any():
        return 0.5, 1.0
    travelled = np.concatenate([[0], np.cumsum((changes[:, moving] / totals[moving]).mean(axis=1))])
    quarter, centre, three = (float(np.interp(part, travelled, at)) for part in (0.25, 0.5, 0.75))
    return centre, max((three - quarter) / 2, NARROWEST)


def checked_count(count: int) -> int:
    """So many nodes. Raises `OptionError` for none."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise OptionError(f"nodes must be a whole number from 1 on, not {count!r}")
    return count


def _legendre(count: int) -> tuple[Floats, Floats]:
    places, lengths = np.polynomial.legendre.leggauss(checked_count(count))
    return (places + 1) / 2, lengths / 2


def _nodes(at: Floats, shares: Floats, substitution: Mapping[str, float]) -> Nodes:
    return Nodes(frozen_array(at, np.float64), frozen_array(shares, np.float64), substitution)
