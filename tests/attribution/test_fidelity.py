"""The fidelity bench runs, and its own yardsticks are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attribution.exact import shapley

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"


@pytest.fixture(autouse=True)
def _bench(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.mark.parametrize(("rows", "neighbours"), [(6, 1), (6, 3), (3, 5)])
def test_the_recursion_of_nearest_neighbours_is_the_shapley_value_of_their_votes(rows, neighbours) -> None:
    from fidelity.statistics import knn_shapley

    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(rows, 2)), draw.integers(0, 2, rows)
    held, held_labels = draw.normal(size=(4, 2)), draw.integers(0, 2, 4)

    def votes(mask):
        found = []
        for row, label in zip(held, held_labels, strict=True):
            order = np.argsort(((features - row) ** 2).sum(axis=1))
            nearest = [i for i in order if mask[i]][:neighbours]
            found.append((labels[nearest] == label).sum() / neighbours)
        return np.mean(found)

    assert knn_shapley(features, labels, held, held_labels, neighbours) == pytest.approx(shapley(votes, rows), rel=1e-9)


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order() -> None:
    from fidelity.statistics import area_under_curve

    suspicion, guilty = np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, False, True, False])
    assert area_under_curve(suspicion, guilty) == (1 + 1 + 1 + 0.5) / 4


def test_luck_is_told_from_differences() -> None:
    from fidelity.statistics import luck

    draw = np.random.default_rng(0)
    values = draw.normal(scale=0.5, size=400) + draw.normal(scale=0.2, size=(50, 400))
    assert luck(values) == pytest.approx((0.2, 0.5), rel=0.1)


@pytest.mark.parametrize(
    "scenario", ["equal", "quality", "mixed", "class mix", "class alone", "few", "kinds", "flipped"]
)
def test_every_contributor_of_a_scenario_owns_rows_and_every_row_has_an_owner(scenario) -> None:
    from fidelity.materials import materials

    found = materials("digits", scenario)
    assert np.bincount(found.owner, minlength=len(found.contributors)).min() > 0
    assert len(found.owner) == len(found.inputs) == len(found.targets) == len(found.clean)
