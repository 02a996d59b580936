"""Quadrature: exact where it should be, refined where it must be, within its budget."""

from __future__ import annotations

import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw_from

from attribution.objective import Evaluation
from attribution.path import Allowance, GapBudget, StraightPath, lobatto


@pytest.mark.parametrize("nodes", range(2, 12))
def test_the_rule_is_exact_up_to_its_degree_and_not_beyond(nodes: int) -> None:
    places, weights = lobatto(nodes)
    assert sum(weights) == pytest.approx(1)
    assert (places[0], places[-1]) == (0.0, 1.0)
    for degree in range(2 * nodes - 2):
        assert np.dot(weights, np.power(places, degree)) == pytest.approx(1 / (degree + 1), abs=1e-14)
    beyond = 2 * nodes - 2
    assert abs(np.dot(weights, np.power(places, beyond)) - 1 / (beyond + 1)) > 1e-14


def test_the_known_rules() -> None:
    assert lobatto(2) == ((0.0, 1.0), (0.5, 0.5))
    assert lobatto(3)[1] == pytest.approx((1 / 6, 4 / 6, 1 / 6))
    assert lobatto(5)[0][1] == pytest.approx((1 - math.sqrt(3 / 7)) / 2)
    assert lobatto(5)[1] == pytest.approx((1 / 20, 49 / 180, 32 / 90, 49 / 180, 1 / 20))


def path_of(loss, slope) -> StraightPath:
    """The path of a function of s alone: one parameter, displaced by 1."""

    def evaluate(s: float) -> Evaluation:
        return Evaluation(np.array([loss(s)]), torch.tensor([[slope(s)]], dtype=torch.float64))

    start, end = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    return StraightPath(evaluate(0.0), evaluate(1.0), start, end, lambda flat: evaluate(float(flat)))


@given(scale=draw_from.floats(0.1, 40), allowed=draw_from.floats(1e-8, 1e-2))
def test_refinement_meets_its_allowance(scale: float, allowed: float) -> None:
    path = path_of(lambda s: math.sin(scale * s), lambda s: scale * math.cos(scale * s))
    average = path.adaptive(Allowance(-np.array([allowed]), np.array([allowed])))
    assert abs(float(average.gradients[0, 0]) - math.sin(scale)) <= allowed * (1 + 1e-6)


def test_a_smooth_step_costs_no_more_than_its_ends() -> None:
    assert path_of(lambda s: s, lambda s: 1.0).adaptive(Allowance(np.array([-1e-9]), np.array([1e-9]))).nodes == 2


def test_however_often_a_path_is_halved_few_gradients_are_held() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def evaluate(flat: torch.Tensor) -> Evaluation:
        nonlocal most
        gradients = torch.tensor([[math.sin(400 * float(flat))]], dtype=torch.float64)
        alive.append(weakref.ref(gradients))
        most = max(most, sum(one() is not None for one in alive))
        return Evaluation(np.array([float(flat)]), gradients)

    start, end = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    path = StraightPath(evaluate(start), evaluate(end), start, end, evaluate)
    nodes = path.adaptive(Allowance(np.array([-1e-12]), np.array([1e-12])), bisections=5).nodes
    assert nodes == len(alive) == 2 + 3 * (2**6 - 1)
    assert most <= StraightPath.held(5) - 3  # two averages and the sum are not evaluations


def test_what_cannot_be_refined_any_further_stays_as_gap() -> None:
    kink = path_of(lambda s: abs(s - 1 / math.e), lambda s: math.copysign(1.0, s - 1 / math.e))
    average = kink.adaptive(Allowance(np.array([-1e-12]), np.array([1e-12])))
    assert average.nodes < 200
    assert float(average.gradients[0, 0]) == pytest.approx(1 - 2 / math.e, abs=0.01)


@given(draw_from.lists(draw_from.floats(-0.05, 0.2), min_size=2, max_size=60), draw_from.integers(0, 9))
def test_gaps_within_their_allowance_keep_the_run_within_its_tolerance(falls: list[float], seed: int) -> None:
    budget, rng = GapBudget(1e-3, 1, 0.0), np.random.default_rng(seed)
    loss, gaps, rises = 4.0, 0.0, 0.0
    for fall in [0.5, *falls]:
        before, loss = np.array([loss]), loss - fall
        allowance = budget.allowance(before, np.array([loss]))
        gap = rng.choice([allowance.least, allowance.most])
        budget.spend(gap, 2)
        gaps += float(gap[0])
        rises += max(-fall, 0.0)
        # After a rise what was spent before stays spent: the bound is on the best improvement so far.
        assert abs(gaps) <= 1e-3 * (4.0 - loss + rises) + 1e-15


def test_a_run_that_does_not_improve_does_not_cost_a_hundred_times_the_training() -> None:
    """Noise up and down, with a kink on every path, where no number of nodes is enough."""
    budget, evaluations, steps = GapBudget(1e-3, 1, 1e-16), 0, 300
    for _ in range(steps):
        kink = path_of(lambda s: abs(s - 1 / math.e), lambda s: math.copysign(1.0, s - 1 / math.e))
        average = kink.adaptive(Allowance(np.array([-1e-12]), np.array([1e-12])), budget.bisections)
        budget.spend(np.array([0.0]), average.nodes)
        evaluations += average.nodes - 1
    assert evaluations <= 512 + 4 * steps + 200
    assert evaluations > 512
