"""The knapsack rules against every choice there is."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribution.uses import knapsack
from attribution.uses.errors import UseError
from attribution.uses.knapsack import Filled, best_choice, fill

THINGS = st.lists(st.tuples(st.integers(-5, 40), st.integers(0, 30)), max_size=9)


def best_of_all(things: list[tuple[int, int]], budget: int) -> int:
    places = range(len(things))
    choices = chain.from_iterable(combinations(places, size) for size in range(len(things) + 1))
    return max(sum(things[p][0] for p in choice) for choice in choices if sum(things[p][1] for p in choice) <= budget)


@given(THINGS, st.integers(0, 120))
def test_no_choice_within_the_budget_is_worth_more(things: list[tuple[int, int]], budget: int) -> None:
    chosen = best_choice([v for v, _ in things], [c for _, c in things], budget)
    assert chosen == sorted(set(chosen))
    assert sum(things[p][1] for p in chosen) <= budget
    assert sum(things[p][0] for p in chosen) == best_of_all(things, budget)


def test_amounts_beyond_any_machine_word_stay_exact() -> None:
    wei = 10**30
    assert best_choice([wei + 1, wei, wei], [wei, wei, wei - 1], 2 * wei - 1) == [0, 2]


def test_the_cheaper_of_equals_is_taken_and_what_is_worth_nothing_is_not() -> None:
    assert best_choice([5, 5, 0, -3], [4, 3, 0, 0], 4) == [1]
    assert best_choice([2, 2], [3, 3], 3) == [0]
    assert best_choice([], [], 10) == []


def test_more_choices_than_memory_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knapsack, "STATES", 100)
    powers = [2**n for n in range(10)]
    with pytest.raises(UseError, match="coarser"):
        best_choice(powers, powers, 10**6)
    with pytest.raises(UseError, match="below 0"):
        best_choice([1], [-1], 5)


@given(THINGS, st.integers(0, 120))
def test_the_greedy_choice_lies_between_its_bound_and_the_best_less_one_thing(
    things: list[tuple[int, int]], budget: int
) -> None:
    ranked = sorted(((v, c) for v, c in things if v > 0), key=lambda t: -t[0] / t[1] if t[1] else float("-inf"))
    filled = Filled()
    taken = list(fill(((n, c, float(v)) for n, (v, c) in enumerate(ranked)), budget, filled))
    assert filled.spent == sum(ranked[n][1] for n in taken) <= budget
    assert filled.worth == sum(ranked[n][0] for n in taken)
    best = best_of_all(things, budget)
    assert filled.worth <= best <= filled.bound + 1e-9
    assert filled.bound - filled.worth <= max((v for v, _ in ranked), default=0)
