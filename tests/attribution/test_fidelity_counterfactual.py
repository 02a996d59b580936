"""The bench of counterfactual values runs from end to end, and its own yardsticks are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.attribution.quick_bench import BENCH, quick

TITLES = [
    "Random halves",
    "Leaving one out",
    "Amounts",
    "Luck",
    "Who is paid what",
    "Costs",
    "Sums",
    "Tangents of AdamW",
]


@pytest.fixture(autouse=True)
def _bench(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))


def test_the_bench_fills_every_table_at_its_smallest_size(tmp_path) -> None:
    lines = quick("counterfactual.py", tmp_path)
    assert [line[4:] for line in lines if line.startswith("### ")] == TITLES
    rows = [line for line in lines if line.startswith("| digits")]
    assert len(rows) == 13  # each table of cases has its one case
    assert [line.split(" | ")[0][2:] for line in lines if line.startswith(("| large", "| all of 9"))] == [
        "large",
        "all of 9",
    ]
    assert "nan" not in " ".join(rows)


def test_the_copies_of_a_scenario_are_of_rows_that_others_hold() -> None:
    from fidelity.materials import HANDFUL, KINDS, materials

    found = materials("digits", "kinds")
    rows = {name: found.inputs[found.owner == c] for c, name in enumerate(KINDS)}
    assert torch.equal(rows["its twin"], rows["even"])
    assert len(rows["freeloader"]) == len(rows["even"]) == len(rows["half an even"]) + len(rows["other half"])
    different = rows["freeloader"].unique(dim=0)
    assert len(different) == HANDFUL
    assert len(torch.cat([rows["large"], different]).unique(dim=0)) == len(rows["large"].unique(dim=0))
    nines = found.clean == 9
    assert set(found.owner[nines].tolist()) == {KINDS.index("all of 9")}


def test_a_game_that_is_a_sum_is_fitted_by_its_terms() -> None:
    from fidelity.counterfactual_truth import additive_fit

    values, members = np.array([3.0, -1.0, 0.5]), np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=float)
    assert additive_fit(members, members @ values) == pytest.approx(values)


def test_only_effects_beyond_doubt_count_for_signs() -> None:
    from fidelity.counterfactual_halves import clear_effects

    missed, harmful = clear_effects(np.array([[1.0, 0.1, -2.0, -0.1], [1.1, -0.1, -2.1, 0.2], [0.9, 0.1, -1.9, -0.2]]))
    assert missed.tolist() == [True, False, False, False]
    assert harmful.tolist() == [False, False, True, False]


@pytest.mark.parametrize("setting", ["digits", "text"])
def test_rows_losses_sum_to_the_batches_mean(setting) -> None:
    from fidelity.models import mean_loss
    from fidelity.training import Case

    case = Case(setting, "domains" if setting == "text" else "few", "SGD", 0.1, 1, 16)
    model, rows = case.start()[0], torch.arange(5)
    found = case.row_losses(rows)(model)
    assert found.shape == (5,)
    assert found.sum().item() == pytest.approx(
        mean_loss(model, case.materials.inputs[rows], case.materials.targets[rows]).item(), rel=1e-5
    )
