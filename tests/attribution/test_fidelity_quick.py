"""The fidelity bench runs from end to end."""

from __future__ import annotations

from tests.attribution.quick_bench import quick

TITLES = [
    "What is not attributed",
    "Against enumeration of the step games",
    "Against absence",
    "Against Shapley values by retraining",
    "Finding wrong labels",
]


def test_the_bench_fills_every_table_at_its_smallest_size(tmp_path) -> None:
    lines = quick("fidelity.py", tmp_path)
    assert [line[3:] for line in lines if line.startswith("## ")] == TITLES
    rows = [line for line in lines if line.startswith("| digits")]
    assert len(rows) == 11  # each table has its one setting
    assert "nan" not in " ".join(rows)
