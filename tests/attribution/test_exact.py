"""Enumeration: the textbook's games have the textbook's values."""

from __future__ import annotations

import numpy as np
import pytest

from attribution.errors import OptionError
from attribution.exact import shapley


def test_the_glove_game_pays_the_scarce_side() -> None:
    def utility(mask):
        left, right = mask[0], mask[1:].sum()
        return float(left and right > 0)

    assert shapley(utility, 3) == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_values_sum_to_the_worth_of_all_and_a_null_player_gets_nothing() -> None:
    worth = np.random.default_rng(0).normal(size=(2, 2, 2, 2, 3))

    def utility(mask):
        return worth[tuple(mask[:4].astype(int))] - worth[0, 0, 0, 0]

    values = shapley(utility, 5)
    assert values.sum(0) == pytest.approx(worth[1, 1, 1, 1] - worth[0, 0, 0, 0])
    assert values[4] == pytest.approx(0, abs=1e-15)


def test_too_many_players_are_refused() -> None:
    with pytest.raises(OptionError, match="12"):
        shapley(lambda mask: 0.0, 13)
