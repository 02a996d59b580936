"""The Shapley value by enumeration of all coalitions: the oracle for the step game (DESIGN §3.1)."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial

import numpy as np
import numpy.typing as npt
from torch import Tensor

from attribution.errors import OptionError
from attribution.record import Floats

MOST_PLAYERS = 12


def shapley(utility: Callable[[npt.NDArray[np.bool_]], npt.ArrayLike], players: int) -> Floats:
    """Shapley values by enumeration, float64 ``[players, *shape of the utility]``.

    `utility` takes the coalition as a mask, bool ``[players]``, and is called once for each of the 2^players masks
    (Shapley 1953). Raises `OptionError` beyond `MOST_PLAYERS` players.
    """
    if not 1 <= players <= MOST_PLAYERS:
        raise OptionError(f"enumeration takes 1 to {MOST_PLAYERS} players, not {players}")
    masks = np.arange(1 << players)[:, None] >> np.arange(players) & 1
    worth = np.array([np.asarray(utility(mask.astype(bool)), dtype=np.float64) for mask in masks])
    sizes = masks.sum(axis=1)
    values = []
    for player in range(players):
        without = masks[:, player] == 0
        weights = [factorial(int(s)) * factorial(players - int(s) - 1) / factorial(players) for s in sizes[without]]
        gains = worth[np.flatnonzero(without) + (1 << player)] - worth[without]
        values.append(np.tensordot(np.array(weights), gains, axes=1))
    return np.array(values)


def step_values(losses_at: Callable[[Tensor], npt.ArrayLike], start: Tensor, displacements: Tensor) -> Floats:
    """Shapley values of one step's game ``U(S) = ℓ(θ) − ℓ(θ + Σ_{c∈S} Δ_c)``, float64 ``[players, tasks]``, nats.

    `losses_at` gives the tasks' losses ``[tasks]`` at parameters ``[P]``; `displacements` is ``[players, P]``.
    """
    before = np.asarray(losses_at(start), dtype=np.float64)

    def utility(mask: npt.NDArray[np.bool_]) -> Floats:
        moved = start + displacements[mask.nonzero()[0]].sum(0) if mask.any() else start
        return before - np.asarray(losses_at(moved), dtype=np.float64)

    return shapley(utility, len(displacements))
