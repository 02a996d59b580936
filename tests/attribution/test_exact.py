"""The Shapley value by definition: textbook games have textbook values; samples come near and say how near."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from attribution.errors import OptionError
from attribution.exact import enumerated_or_sampled, sampled_shapley, shapley


def glove(mask):
    left, right = mask[0], mask[1:].sum()
    return float(left and right > 0)


def random_game(players, *shape, seed=0):
    worth = np.random.default_rng(seed).normal(size=(*(2,) * players, *shape))
    return lambda mask: worth[tuple(mask.astype(int))]


def counted(utility):
    asked = []

    def count(mask):
        asked.append(tuple(mask.tolist()))
        return utility(mask)

    return count, asked


def test_the_glove_game_pays_the_scarce_side() -> None:
    assert shapley(glove, 3) == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_enumeration_is_the_mean_over_all_orders_of_joining() -> None:
    utility = random_game(4, 2)
    expected = np.zeros((4, 2))
    for order in itertools.permutations(range(4)):
        mask = np.zeros(4, dtype=bool)
        for player in order:
            before = utility(mask)
            mask[player] = True
            expected[player] += (utility(mask) - before) / math.factorial(4)
    assert shapley(utility, 4) == pytest.approx(expected, rel=1e-9)


def test_values_sum_to_the_worth_of_all_and_a_null_player_gets_nothing() -> None:
    inner = random_game(4, 3)

    def utility(mask):
        return inner(mask[:4]) - inner(np.zeros(4))

    values = shapley(utility, 5)
    assert values.sum(0) == pytest.approx(inner(np.ones(4)) - inner(np.zeros(4)))
    assert values[4] == pytest.approx(0, abs=1e-15)


def test_too_many_players_are_refused() -> None:
    with pytest.raises(OptionError, match="12"):
        shapley(lambda mask: 0.0, 13)


def test_a_sample_of_an_additive_game_is_exact_and_knows_it() -> None:
    worth = np.random.default_rng(1).normal(size=(20, 2))
    found = sampled_shapley(lambda mask: mask @ worth, 20, permutations=4)
    assert found.values == pytest.approx(worth, rel=1e-9)
    assert found.standard_errors == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", [(), (2,), (3, 2)], ids=str)
def test_sampled_values_sum_to_what_all_earn_above_none(shape) -> None:
    utility = random_game(7, *shape)
    found = sampled_shapley(utility, 7, permutations=6, seed=4)
    assert found.values.shape == found.standard_errors.shape == (7, *shape)
    assert found.values.sum(0) == pytest.approx(utility(np.ones(7)) - utility(np.zeros(7)), rel=1e-9)
    assert found.unassigned == pytest.approx(0, abs=1e-12)


def test_a_sampled_null_player_gets_exactly_nothing() -> None:
    inner = random_game(5)
    found = sampled_shapley(lambda mask: inner(mask[:5]), 6, permutations=8)
    assert found.values[5] == 0
    assert found.standard_errors[5] == 0


def test_standard_errors_tell_how_far_samples_are_from_the_enumerated_values() -> None:
    utility = random_game(6)
    exact = shapley(utility, 6)
    off = []
    for seed in range(60):
        found = sampled_shapley(utility, 6, permutations=40, seed=seed)
        off.append((found.values - exact) / found.standard_errors)
    assert np.abs(np.mean(off)) < 0.1  # unbiased
    assert 0.9 < np.sqrt(np.mean(np.square(off))) < 1.2  # a Student t with 19 degrees of freedom has 1.06


def test_reverses_cancel_all_that_is_quadratic_in_the_coalition() -> None:
    pairs = np.random.default_rng(2).normal(size=(5, 5))

    def utility(mask):
        return mask @ pairs @ mask

    found = sampled_shapley(utility, 5, permutations=4)
    assert found.values == pytest.approx(shapley(utility, 5), rel=1e-9)


def test_each_coalition_is_asked_for_once() -> None:
    utility, asked = counted(random_game(4))
    found = sampled_shapley(utility, 4, permutations=200)
    assert len(asked) == len(set(asked)) == found.coalitions == 16


def test_the_same_seed_draws_the_same_permutations_and_another_seed_others() -> None:
    utility = random_game(6)
    once, again, other = (sampled_shapley(utility, 6, permutations=4, seed=seed).values for seed in (1, 1, 2))
    assert (once == again).all()
    assert (once != other).any()


def test_truncation_gives_the_rest_nothing_and_says_what_it_kept() -> None:
    # Whoever comes first earns nearly all, the others a thousandth each.
    def utility(mask):
        return float(mask.any()) + 0.001 * mask.sum()

    whole = sampled_shapley(utility, 9, permutations=4)
    counting, asked = counted(utility)
    short = sampled_shapley(counting, 9, permutations=4, truncation=0.05)
    assert len(asked) < whole.coalitions
    assert short.unassigned == pytest.approx(0.008)
    assert short.values.sum() + short.unassigned == pytest.approx(whole.values.sum(), rel=1e-9)
    assert max(mask.count(True) for mask in asked if not all(mask)) == 1


def test_a_prefix_is_near_the_whole_only_where_every_component_is() -> None:
    def utility(mask):
        return np.array([float(mask.any()), float(mask.sum())])

    found = sampled_shapley(utility, 5, permutations=4, truncation=0.05)
    assert found.values[:, 1] == pytest.approx(1)
    assert found.unassigned == pytest.approx(0, abs=1e-12)


def test_beyond_what_can_be_enumerated_permutations_are_sampled() -> None:
    few = enumerated_or_sampled(glove, 3, permutations=4)
    assert few.values == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert (few.permutations, few.coalitions, few.standard_errors.max()) == (0, 8, 0)
    many = enumerated_or_sampled(lambda mask: float(mask.any()), 13, permutations=4)
    assert many.permutations == 4
    assert many.values.sum() == pytest.approx(1)
    assert many.standard_errors.max() > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"permutations": 5}, "even number from 4 on, not 5"),
        ({"permutations": 2}, "even number from 4 on, not 2"),
        ({"permutations": 4, "players": 0}, "at least one player"),
        ({"permutations": 4, "truncation": 1.0}, "below 1, not 1.0"),
        ({"permutations": 4, "truncation": float("nan")}, "not nan"),
    ],
)
def test_a_sample_that_makes_no_sense_is_refused(options, said) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        sampled_shapley(lambda mask: 0.0, **{"players": 3, **options})
    assert "\n" not in str(caught.value)
