"""The Shapley value by its definition: over all coalitions, or over sampled permutations (DESIGN §3.1, §3.2).

Utilities are functions of a coalition, given as a mask, bool ``[players]``; they return a number or an array (tasks,
seeds), and each coalition is asked for once. Nothing here needs torch until a step's game is played.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from attribution.errors import OptionError
from attribution.record import Floats, Integers

if TYPE_CHECKING:
    from torch import Tensor

MOST_PLAYERS = 12

Masks = npt.NDArray[np.bool_]
Utility = Callable[[Masks], npt.ArrayLike]
# Whether prefixes of worth [n, *shape] are as good as all players, from the worth of none and of all [*shape].
Near = Callable[[Floats, Floats, Floats], Masks]


@dataclass(frozen=True)
class ShapleyValues:
    """Values by definition, and how sure they are; in the utility's unit.

    Values sum to what all players earn above none, less `unassigned`, which only truncation leaves.
    """

    values: Floats  # [players, *shape of the utility]
    standard_errors: Floats  # the same; 0 where every coalition was enumerated
    unassigned: Floats  # [*shape]
    permutations: int  # sampled, reverses included; 0 where every coalition was enumerated
    coalitions: int  # whose utility was computed


class Game:
    """A game whose utilities are computed once for each coalition, many at a time where `evaluate` can.

    `evaluate` takes masks, bool ``[n, players]``, all different, and gives n utilities.
    """

    def __init__(self, evaluate: Callable[[Masks], Sequence[npt.ArrayLike]], players: int) -> None:
        self.players = players
        self._evaluate = evaluate
        self._known: dict[bytes, Floats] = {}

    @classmethod
    def of(cls, utility: Utility, players: int) -> Game:
        """The game of a utility that takes one coalition at a time."""
        return cls(lambda masks: [utility(mask) for mask in masks], players)

    def __len__(self) -> int:
        return len(self._known)

    def worth(self, masks: Masks) -> Floats:
        """Utilities ``[n, *shape]`` of the coalitions `masks`, bool ``[n, players]``."""
        keys = [np.packbits(mask).tobytes() for mask in masks]
        new = {key: mask for key, mask in zip(keys, masks, strict=True) if key not in self._known}
        if new:
            found = self._evaluate(np.array(list(new.values())))
            for key, worth in zip(new, found, strict=True):
                self._known[key] = np.asarray(worth, dtype=np.float64)
        return np.array([self._known[key] for key in keys])


def shapley(utility: Utility, players: int) -> Floats:
    """Shapley values by enumeration, float64 ``[players, *shape of the utility]``.

    `utility` takes the coalition as a mask, bool ``[players]``, and is called once for each of the 2^players masks
    (Shapley 1953). Raises `OptionError` beyond `MOST_PLAYERS` players.
    """
    check_enumerable(players)
    return enumerated(Game.of(utility, players))


def sampled_shapley(
    utility: Utility, players: int, permutations: int, seed: int = 0, *, truncation: float = 0.0
) -> ShapleyValues:
    """Shapley values by sampled permutations of the players, each paired with its reverse.

    Castro, Gómez & Tejada, "Polynomial calculation of the Shapley value based on sampling" (2009); the reverses are
    the antithetic sampling of Mitchell et al., "Sampling permutations for Shapley value estimation" (JMLR 2022). In
    each permutation the gains telescope, so that the values sum to what all players earn above none. Standard errors
    are those of the mean over pairs.

    Args:
        utility: of a coalition, as in `shapley`; called once for each coalition that comes up.
        players: how many there are.
        permutations: how many to use, reverses included; even, and at least 4.
        seed: of the draw of permutations.
        truncation: once a prefix is within this part of what all players earn, in every component of the utility,
            the players after it get 0 (Ghorbani & Zou 2019). What they are not given is in `unassigned`.

    Raises `OptionError` for a number of players or permutations, or a truncation, that makes no sense.
    """
    orders = antithetic_orders(players, permutations, seed)
    game = Game.of(utility, players)
    gains, missed = joining_gains(game, orders, within(truncation))
    return ShapleyValues(gains.mean(0), pair_errors(gains), missed.mean(0), permutations, len(game))


def enumerated_or_sampled(utility: Utility, players: int, *, permutations: int, seed: int = 0) -> ShapleyValues:
    """Shapley values by enumeration up to `MOST_PLAYERS` players, by `sampled_shapley` beyond."""
    if players > MOST_PLAYERS:
        return sampled_shapley(utility, players, permutations, seed)
    values = shapley(utility, players)
    return ShapleyValues(values, np.zeros_like(values), np.zeros(values.shape[1:]), 0, 1 << players)


def step_values(losses_at: Callable[[Tensor], npt.ArrayLike], start: Tensor, displacements: Tensor) -> Floats:
    """Shapley values of one step's game ``U(S) = ℓ(θ) − ℓ(θ + Σ_{c∈S} Δ_c)``, float64 ``[players, tasks]``, nats.

    `losses_at` gives the tasks' losses ``[tasks]`` at parameters ``[P]``; `displacements` is ``[players, P]``.
    Raises `OptionError` beyond `MOST_PLAYERS` players.
    """
    return shapley(step_utility(losses_at, start, displacements), len(displacements))


def step_utility(losses_at: Callable[[Tensor], npt.ArrayLike], start: Tensor, displacements: Tensor) -> Utility:
    """The utility of one step's game, as `step_values` describes it."""
    before = np.asarray(losses_at(start), dtype=np.float64)

    def utility(mask: Masks) -> Floats:
        moved = start + displacements[mask.nonzero()[0]].sum(0) if mask.any() else start
        return before - np.asarray(losses_at(moved), dtype=np.float64)

    return utility


def check_enumerable(players: int) -> None:
    """Raise `OptionError` where there are too many players, or none, to enumerate their coalitions."""
    if not 1 <= players <= MOST_PLAYERS:
        raise OptionError(f"enumeration takes 1 to {MOST_PLAYERS} players, not {players}: sample permutations instead")


def all_masks(players: int) -> Masks:
    """Every coalition, bool ``[2**players, players]``; player p is in coalition i where bit p of i is set."""
    return (np.arange(1 << players)[:, None] >> np.arange(players) & 1).astype(bool)


def enumerated(game: Game) -> Floats:
    """Shapley values ``[players, *shape]`` of a game, by the worth of all its coalitions."""
    players = game.players
    masks = all_masks(players)
    worth, sizes = game.worth(masks), masks.sum(axis=1)
    weights = np.array([factorial(s) * factorial(players - s - 1) / factorial(players) for s in range(players)])
    values = []
    for player in range(players):
        without = np.flatnonzero(~masks[:, player])
        gains = worth[without + (1 << player)] - worth[without]
        values.append(np.tensordot(weights[sizes[without]], gains, axes=1))
    return np.array(values)


def antithetic_orders(players: int, permutations: int, seed: int) -> Integers:
    """Random orders ``[permutations, players]`` of the players, every second one the reverse of the one before it.

    Raises `OptionError` where there is no player, or the number of permutations is odd or below 4.
    """
    if players < 1:
        raise OptionError(f"a game needs at least one player, not {players}")
    if permutations < 4 or permutations % 2:
        raise OptionError(
            f"permutations come in pairs, each with its reverse: use an even number from 4 on, not {permutations}"
        )
    draw = np.random.default_rng(seed)
    orders = np.empty((permutations, players), dtype=np.int64)
    for pair in range(0, permutations, 2):
        orders[pair] = draw.permutation(players)
        orders[pair + 1] = orders[pair][::-1]
    return orders


def within(truncation: float) -> Near | None:
    """The test of whether a prefix is within `truncation` of what all players earn, in every component.

    Raises `OptionError` for a truncation outside [0, 1).
    """
    if not 0 <= truncation < 1:
        raise OptionError(f"truncation is a part of what all players earn, from 0 to below 1, not {truncation}")

    def near(worth: Floats, none: Floats, full: Floats) -> Masks:
        close = np.abs(full - worth) <= truncation * np.abs(full - none)
        return np.array([every.all() for every in close])

    return near if truncation else None


def joining_gains(game: Game, orders: Integers, near: Near | None = None) -> tuple[Floats, Floats]:
    """What each player adds on joining, ``[permutations, players, *shape]``, and what truncation left out of it.

    The latter is ``[permutations, *shape]``: the worth of all above that of the first prefix that is `near`, after
    which the players got 0.
    """
    count, players = orders.shape
    none, full = game.worth(np.array([[False] * players, [True] * players]))
    gains = np.zeros((count, players, *none.shape))
    worth = np.repeat(none[None], count, axis=0)
    joined = np.zeros((count, players), dtype=bool)
    walking = np.arange(count)
    # All permutations take a step together, so that the game is asked for many coalitions at a time.
    for place in range(players):
        if near is not None:
            walking = walking[~near(worth[walking], none, full)]
            if not len(walking):
                break
        player = orders[walking, place]
        joined[walking, player] = True
        after = game.worth(joined[walking])
        gains[walking, player] = after - worth[walking]
        worth[walking] = after
    return gains, full - worth


def pair_errors(gains: Floats) -> Floats:
    """Standard errors ``[players, *shape]`` of the mean of `gains`, whose pairs 0 and 1, 2 and 3, … are antithetic."""
    pairs = (gains[0::2] + gains[1::2]) / 2
    errors: Floats = pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs))
    return errors
