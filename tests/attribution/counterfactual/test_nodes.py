"""Nodes on the diagonal: whatever the substitution, the same integral; a peak needs few where it was looked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from attribution.counterfactual.nodes import NARROWEST, Nodes, peak_nodes, pilot_weights, power_nodes, steepest

CENTRE, WIDTH = 0.12, 0.05
SUBSTITUTIONS: dict[str, Callable[[int], Nodes]] = {
    "none": lambda count: power_nodes(count, 1),
    "square": lambda count: power_nodes(count, 2),
    "root of a fifth power": lambda count: power_nodes(count, 2.5),
    "peak": lambda count: peak_nodes(count, CENTRE, WIDTH),
    "narrow peak": lambda count: peak_nodes(count, 0.4, 0.01),
    "peak at nobody": lambda count: peak_nodes(count, 0.0, 0.2),
}


def worth(s: np.ndarray) -> np.ndarray:
    """What training on so much data is worth, as a sigmoid: its slope has poles at CENTRE ± i WIDTH."""
    return np.arctan((s - CENTRE) / WIDTH)


def slope(s: np.ndarray) -> np.ndarray:
    return WIDTH / (WIDTH**2 + (s - CENTRE) ** 2)


def error(nodes: Nodes) -> float:
    whole = worth(np.array(1.0)) - worth(np.array(0.0))
    return float(abs((nodes.shares * slope(nodes.at)).sum() / whole - 1))


@pytest.mark.parametrize("substitution", SUBSTITUTIONS)
def test_all_substitutions_have_the_same_integral(substitution: str) -> None:
    nodes = SUBSTITUTIONS[substitution](120)
    assert (nodes.shares * np.exp(nodes.at)).sum() == pytest.approx(np.e - 1, rel=1e-9)
    assert error(nodes) < 1e-6
    assert (np.diff(nodes.at) > 0).all()
    assert 0 < nodes.at[0] < nodes.at[-1] < 1


def test_without_substitution_polynomials_are_exact() -> None:
    nodes = power_nodes(4, 1)
    assert (nodes.shares * nodes.at**7).sum() == pytest.approx(1 / 8, rel=1e-14)


def test_a_peak_that_was_looked_for_needs_few_nodes() -> None:
    at = pilot_weights()
    centre, width = steepest(at, -worth(at)[:, None])
    first, last = worth(np.array(0.0)), worth(np.array(1.0))
    quartiles = CENTRE + WIDTH * np.tan(first + np.array([0.25, 0.5, 0.75]) * (last - first))
    assert centre == pytest.approx(quartiles[1], abs=0.01)
    assert width == pytest.approx((quartiles[2] - quartiles[0]) / 2, abs=0.01)
    assert error(peak_nodes(8, centre, width)) < 1e-3
    assert min(error(power_nodes(8, power)) for power in (1, 1.5, 2, 3)) > 1e-2


def test_the_steepest_part_counts_ways_up_too_and_tasks_alike() -> None:
    at = np.linspace(0, 1, 101)
    dip = np.where(at < 0.5, 1 - at, at)  # down by a half, up by a half
    assert steepest(at, dip[:, None]) == pytest.approx((0.5, 0.25))
    early, late = 1000 * np.minimum(at, 0.2), np.maximum(at, 0.8)
    assert steepest(at, np.stack([early, late], axis=1)) == pytest.approx((0.2, 0.4), abs=0.02)


def test_where_nothing_changes_or_all_at_once_there_still_are_nodes() -> None:
    at = pilot_weights()
    assert steepest(at, np.ones((len(at), 2))) == (0.5, 1.0)
    sudden = steepest(np.linspace(0, 1, 100001), (np.linspace(0, 1, 100001) < 0.3)[:, None].astype(float))
    assert sudden == pytest.approx((0.3, NARROWEST), abs=1e-4)
    assert error(peak_nodes(5, *sudden)) < 1
