"""Choosing in rounds: repetitions are seen once what is chosen has been metered anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from attribution.uses.errors import UseError
from attribution.uses.rounds import select_in_rounds

GROUPS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
WORTH = np.array([5.0, 4.9, 4.8, 3.0, 2.9, 1.0, -1.0, 0.5])


def covering(chosen: np.ndarray) -> np.ndarray:
    """Only the first of each group teaches anything new."""
    return np.where(np.isin(GROUPS, GROUPS[chosen]), 0.01, WORTH)


def test_one_round_takes_what_repeats_itself_and_more_rounds_do_not() -> None:
    at_once = select_in_rounds(covering, [1] * 8, 3, rounds=1)
    assert at_once.chosen.tolist() == [0, 1, 2]
    found = select_in_rounds(covering, [1] * 8, 3, rounds=3)
    assert found.chosen.tolist() == [0, 3, 5]
    assert found.round.tolist() == [0, 1, 2]
    assert found.scores.tolist() == [5.0, 3.0, 1.0]


def test_each_round_is_told_what_is_chosen_and_spends_its_part() -> None:
    told: list[list[int]] = []

    def rescore(chosen: np.ndarray) -> np.ndarray:
        told.append(chosen.tolist())
        return WORTH

    found = select_in_rounds(rescore, [2, 1, 1, 3, 1, 1, 1, 1], 5, rounds=2)
    assert told == [[], [1, 2]]  # most for its cost first; 2 of 5 in the first round
    assert found.chosen.tolist() == [1, 2, 4, 0]
    assert found.spent == 5


def test_what_harms_is_left_unless_asked_for() -> None:
    scores = [1.0, -1.0, 0.0, -2.0]
    assert select_in_rounds(lambda chosen: scores, [1] * 4, 4, rounds=2).chosen.tolist() == [0]
    filled = select_in_rounds(lambda chosen: scores, [1] * 4, 3, rounds=1, fill_up=True)
    assert filled.chosen.tolist() == [0, 2, 1]


def test_rounds_near_the_best_subset_of_a_linear_model_where_scores_in_one_go_do_not() -> None:
    """Least squares in float64 with every row three times: the best subset holds no copy."""
    draw = torch.Generator().manual_seed(0)
    base = torch.randn(6, 3, generator=draw, dtype=torch.float64)
    rows, truth = base.repeat_interleave(3, dim=0), torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)

    def loss(chosen: np.ndarray) -> float:
        picked = rows[torch.as_tensor(chosen)]
        weights = torch.linalg.pinv(picked) @ (picked @ truth) if len(chosen) else torch.zeros(3, dtype=torch.float64)
        return float(((base @ (weights - truth)) ** 2).mean())

    def rescore(chosen: np.ndarray) -> list[float]:
        return [loss(chosen) - loss(np.append(chosen, place)) for place in range(len(rows))]

    in_rounds = select_in_rounds(rescore, [1] * 18, 3, rounds=3)
    at_once = select_in_rounds(rescore, [1] * 18, 3, rounds=1)
    assert len(set((in_rounds.chosen // 3).tolist())) == 3
    assert loss(in_rounds.chosen) == pytest.approx(0.0, abs=1e-12)
    assert loss(at_once.chosen) > 0.1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"costs": [1.5], "budget": 1}, "a cost"),
        ({"costs": [-1], "budget": 1}, "a cost"),
        ({"costs": [1], "budget": -1}, "the budget"),
        ({"costs": [1], "budget": 1, "rounds": 0}, "one round"),
        ({"costs": [1, 1], "budget": 1}, "each of 2 candidates"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UseError, match=said):
        select_in_rounds(lambda chosen: [1.0], **arguments)
    with pytest.raises(UseError, match="finite"):
        select_in_rounds(lambda chosen: [np.nan], [1], 1)
